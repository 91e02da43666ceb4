"""A decoder for azure-servicebus that no message can stop, and that keeps the bytes of each.

The library decodes a page of peeked messages as a whole, and lets one that it cannot decode break the link over which
it came: one property of a type that it does not know would hide every other message. It has no place for a decoder of
one's own, so this one takes the place of its function; where that function succeeds the result is the same.
"""

from contextlib import suppress

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus._pyamqp.aio import _receiver_async
from azure.servicebus._pyamqp.message import Message as Decoded
from azure.servicebus._transport import _pyamqp_transport

from optout_core.adapters import received
from optout_core.amqp import APPLICATION_PROPERTIES, Message, NotAmqp, decode
from optout_ops.queues import amqp

_original = _receiver_async.decode_payload  # type: ignore[attr-defined]
#: A value section that holds null.
_NOTHING = b"\x00\x53\x77\x40"


class _Kept(Decoded):
    """A decoded message that knows its bytes."""

    encoded: bytes


def install() -> None:
    """Let azure-servicebus decode by this module, for as long as the process lives."""
    for module in (_receiver_async, _pyamqp_transport):
        module.decode_payload = decode_payload  # type: ignore[attr-defined]


def decode_payload(buffer: memoryview) -> Decoded:
    """Decode a message, without what cannot be decoded, and keep its bytes."""
    content = bytes(buffer)
    try:
        message = _original(memoryview(content))
    except Exception:  # noqa: BLE001 - whatever a client wrote, the library may raise
        message = _decoded(content)
    kept = _Kept(*message)
    kept.encoded = content
    return kept


def encoded(message: ServiceBusReceivedMessage) -> bytes:
    """Give the bytes of a message that came from the library; b"" where they were not kept."""
    return getattr(message._message, "encoded", b"")


def decoded(message: ServiceBusReceivedMessage) -> Message:
    """Decode a message as the function does; what the library decoded of it where that cannot be."""
    with suppress(NotAmqp):
        if content := encoded(message):
            return decode(content)
    return received.within(message)


def unread_properties(message: Message) -> tuple[dict[str, object], dict[str, str]]:
    """Read application properties one by one, where they cannot be read as a whole.

    Returns:
        Those that can be read, and the types of those that cannot, by their names.
    """
    read: dict[str, object] = {}
    unread: dict[str, str] = {}
    try:
        found = amqp.sections(message.left_out.get(APPLICATION_PROPERTIES, b""))
        pairs = [pair for section in found for pair in amqp.entries(section.value)]
    except ValueError:
        return read, unread
    for name, value in pairs:
        single = decode(amqp.Section(APPLICATION_PROPERTIES, amqp.as_map([(name, value)])).encoded())
        if single.left_out:
            unread[amqp.texts(name) or f"({amqp.kind(name)})"] = amqp.kind(value)
        read |= received.read_properties(single.application_properties)
    return read, unread


def _decoded(content: bytes) -> Decoded:
    kept: list[bytes] = []
    with suppress(NotAmqp):
        for section in amqp.sections(content):
            with suppress(Exception):
                _original(memoryview(section.encoded()))
                kept.append(section.encoded())
    return _original(memoryview(b"".join(kept) or _NOTHING))
