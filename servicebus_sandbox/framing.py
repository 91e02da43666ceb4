"""The bytes of a connection, cut into protocol headers and frames.

Source: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-transport-v1.0-os.html, section 2.3
"""

from collections.abc import Iterator

from servicebus_sandbox.frames import AMQP_HEADER, FRAME_HEAD


class ProtocolError(Exception):
    """The client does not speak the protocol; the connection is closed."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(description)
        self.condition = condition


class FrameBuffer:
    """What has been received and not yet been taken.

    Attributes:
        in_header: Whether a protocol header comes next, and no frame.
    """

    def __init__(self, max_frame_size: int) -> None:
        """Take the bytes that a frame may have."""
        self.in_header = True
        self._max_frame_size = max_frame_size
        self._received = bytearray()

    def cut(self, received: bytes) -> Iterator[bytes]:
        """Yield the headers and frames that are whole now; the rest waits for more bytes.

        Raises:
            ProtocolError: A frame says a size that none may have.
        """
        self._received += received
        buffer, position = bytes(self._received), 0
        while (end := self._end_of_next(buffer, position)) is not None:
            yield buffer[position:end]
            position = end
        self._received = bytearray(buffer[position:])

    def _end_of_next(self, buffer: bytes, position: int) -> int | None:
        """Find where the next header or frame ends; None when it is not all there yet."""
        if len(buffer) - position < FRAME_HEAD.size:
            return None
        if self.in_header:
            return position + len(AMQP_HEADER)
        size: int = FRAME_HEAD.unpack_from(buffer, position)[0]
        if not FRAME_HEAD.size <= size <= self._max_frame_size:
            raise ProtocolError("amqp:connection:framing-error", f"a frame of {size:,} bytes")
        return position + size if len(buffer) - position >= size else None
