"""Where AMQP values end, found without decoding them.

Source: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-types-v1.0-os.html, section 1.2
"""

import struct

from servicebus_sandbox.amqp import DecodeError

_FIXED_WIDTHS = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
_SIZE_IN_ONE_BYTE = frozenset({0xA, 0xC, 0xE})
_SIZE_IN_FOUR_BYTES = frozenset({0xB, 0xD, 0xF})
_U32 = struct.Struct(">I")


def end_of(buffer: bytes, position: int) -> int:
    """Find the position behind a value without decoding it.

    Raises:
        DecodeError: The value is of an unknown type, or the buffer ends before it.
    """
    try:
        while buffer[position] == 0:
            # A descriptor and the value itself. .NET describes a Uri, a TimeSpan, a DateTimeOffset.
            position = _end_of_plain(buffer, position + 1)
    except IndexError:
        raise DecodeError("the bytes end in the middle of a value") from None
    return _end_of_plain(buffer, position)


def _end_of_plain(buffer: bytes, position: int) -> int:
    try:
        kind = buffer[position] >> 4
        if kind in _FIXED_WIDTHS:
            end = position + 1 + _FIXED_WIDTHS[kind]
        elif kind in _SIZE_IN_ONE_BYTE:
            end = position + 2 + buffer[position + 1]
        elif kind in _SIZE_IN_FOUR_BYTES:
            end = position + 5 + _U32.unpack_from(buffer, position + 1)[0]
        else:
            raise DecodeError(f"unknown type code 0x{buffer[position]:02x}")
    except (IndexError, struct.error):
        end = len(buffer) + 1
    if end > len(buffer):
        raise DecodeError("the bytes end in the middle of a value")
    return end
