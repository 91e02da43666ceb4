"""Bytes to AMQP values.

Rules:

1. ``decode(encode(value)) == value``, types included.
2. Whatever is wrong with bytes from outside is a `DecodeError`, never another exception.
3. Bounds before allocation: sizes, counts and nesting come from the peer.

Source: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-types-v1.0-os.html
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from servicebus_sandbox.amqp import (
    Array,
    Byte,
    Char,
    DecimalBits,
    DecodeError,
    Described,
    Float,
    Int,
    Long,
    Short,
    Symbol,
    Timestamp,
    Ubyte,
    Uint,
    Ulong,
    Ushort,
)

Decoder = Callable[[bytes, int, int], tuple[Any, int]]

#: Deepest nesting we read. Service Bus messages need four; Python's own stack would end near a thousand.
MAX_DEPTH = 32

#: Most values we read in one array: an array of nulls takes no bytes, so its count alone must not cost memory.
MAX_COUNT = 100_000


def decode(buffer: bytes) -> Any:
    """Decode the one value that fills the buffer.

    Raises:
        DecodeError: The bytes are no AMQP value, or more than one.
    """
    value, end = decode_at(buffer, 0)
    if end != len(buffer):
        raise DecodeError(f"{len(buffer) - end} bytes left after the value")
    return value


def decode_at(buffer: bytes, position: int, depth: int = 0) -> tuple[Any, int]:
    """Decode the value that starts at a position.

    Returns:
        The value, and the position behind it.

    Raises:
        DecodeError: There is no whole AMQP value at that position.
    """
    try:
        return _DECODERS[buffer[position]](buffer, position + 1, depth)
    except KeyError:
        raise DecodeError(f"unknown type code 0x{buffer[position]:02x}") from None
    except (IndexError, struct.error):
        raise DecodeError("the bytes end in the middle of a value") from None
    except UnicodeDecodeError:
        raise DecodeError("a text is not in its encoding") from None


def map_entries(buffer: bytes, position: int = 0) -> Iterator[tuple[Any, Any, bytes]]:
    """Yield each key, its value and the bytes of both, of the map at a position.

    Raises:
        DecodeError: There is no map at that position.
    """
    try:
        head = _MAP_HEADS[buffer[position]]
        end, count, position = head(buffer, position + 1)
    except (KeyError, IndexError, struct.error):
        raise DecodeError("expected a map") from None
    if count % 2:
        raise DecodeError("a map's last key has no value")
    for _ in range(count // 2):
        start = position
        key, position = decode_at(buffer, position, 1)
        value, position = decode_at(buffer, position, 1)
        if not isinstance(key, str | bytes | int):
            raise DecodeError("a key of a message's map is no text and no number")
        yield key, value, buffer[start:position]
    if position != end:
        raise DecodeError("a map's size and content differ")


_U8, _U32 = struct.Struct(">B"), struct.Struct(">I")


def _constant(value: object) -> Decoder:
    return lambda _buffer, position, _depth: (value, position)


def _number(code: str, kind: Callable[[Any], Any]) -> Decoder:
    form = struct.Struct(">" + code)
    unpack, size = form.unpack_from, form.size
    return lambda buffer, position, _depth: (kind(unpack(buffer, position)[0]), position + size)


def _fixed(size: int, kind: Callable[[bytes], Any]) -> Decoder:
    return lambda buffer, position, _depth: (kind(_slice(buffer, position, position + size)), position + size)


def _sized(size_form: struct.Struct, kind: Callable[[bytes], Any]) -> Decoder:
    unpack, width = size_form.unpack_from, size_form.size

    def decoder(buffer: bytes, position: int, _depth: int) -> tuple[Any, int]:
        start = position + width
        end = start + unpack(buffer, position)[0]
        return kind(_slice(buffer, start, end)), end

    return decoder


def _slice(buffer: bytes, start: int, end: int) -> bytes:
    if end > len(buffer):
        raise DecodeError("the bytes end in the middle of a value")
    return buffer[start:end]


def _head(code: str) -> Callable[[bytes, int], tuple[int, int, int]]:
    """Make a reader of a compound's size and count: returns its end, its count and where its values start."""
    form = struct.Struct(">" + code)

    def head(buffer: bytes, position: int) -> tuple[int, int, int]:
        size, count = form.unpack_from(buffer, position)
        end = position + form.size // 2 + size
        if end > len(buffer) or end < position + form.size:
            raise DecodeError("a size reaches behind the bytes")
        return end, count, position + form.size

    return head


_HEAD_8, _HEAD_32 = _head("BB"), _head("II")
_MAP_HEADS = {0xC1: _HEAD_8, 0xD1: _HEAD_32}


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise DecodeError(f"nested deeper than {MAX_DEPTH} levels")
    return depth + 1


def _list(head: Callable[[bytes, int], tuple[int, int, int]]) -> Decoder:
    def decoder(buffer: bytes, position: int, depth: int) -> tuple[Any, int]:
        end, count, position = head(buffer, position)
        depth = _deeper(depth)
        values = []
        for _ in range(count):
            value, position = decode_at(buffer, position, depth)
            values.append(value)
        if position != end:
            raise DecodeError("a list's size and content differ")
        return values, end

    return decoder


def _map(head: Callable[[bytes, int], tuple[int, int, int]]) -> Decoder:
    def decoder(buffer: bytes, position: int, depth: int) -> tuple[Any, int]:
        values, end = _list(head)(buffer, position, depth)
        if len(values) % 2:
            raise DecodeError("a map's last key has no value")
        try:
            return dict(zip(values[::2], values[1::2], strict=True)), end
        except TypeError:
            raise DecodeError("a map's key is a list, a map or an array") from None

    return decoder


def _array(head: Callable[[bytes, int], tuple[int, int, int]]) -> Decoder:
    def decoder(buffer: bytes, position: int, depth: int) -> tuple[Any, int]:
        end, count, position = head(buffer, position)
        if count > MAX_COUNT:
            raise DecodeError(f"an array of more than {MAX_COUNT:,} values")
        decode_one, position = _constructor(buffer, position, _deeper(depth))
        values = Array()
        for _ in range(count):
            value, position = decode_one(buffer, position, depth + 1)
            values.append(value)
        if position != end:
            raise DecodeError("an array's size and content differ")
        return values, end

    return decoder


def _constructor(buffer: bytes, position: int, depth: int) -> tuple[Decoder, int]:
    if buffer[position] != 0:
        return _DECODERS[buffer[position]], position + 1
    descriptor, position = decode_at(buffer, position + 1, depth)
    inner, position = _constructor(buffer, position, _deeper(depth))

    def decoder(buffer: bytes, position: int, depth: int) -> tuple[Any, int]:
        value, position = inner(buffer, position, depth)
        return Described(descriptor, value), position

    return decoder, position


def _described(buffer: bytes, position: int, depth: int) -> tuple[Any, int]:
    depth = _deeper(depth)
    descriptor, position = decode_at(buffer, position, depth)
    value, position = decode_at(buffer, position, depth)
    return Described(descriptor, value), position


_DECODERS: dict[int, Decoder] = {
    0x00: _described,
    0x40: _constant(None),
    0x41: _constant(value=True),
    0x42: _constant(value=False),
    0x43: _constant(Uint(0)),
    0x44: _constant(Ulong(0)),
    0x45: lambda _buffer, position, _depth: ([], position),
    0x50: _number("B", Ubyte),
    0x51: _number("b", Byte),
    0x52: _number("B", Uint),
    0x53: _number("B", Ulong),
    0x54: _number("b", Int),
    0x55: _number("b", Long),
    0x56: _number("B", bool),
    0x60: _number("H", Ushort),
    0x61: _number("h", Short),
    0x70: _number("I", Uint),
    0x71: _number("i", Int),
    0x72: _number("f", Float),
    0x73: _fixed(4, lambda content: Char(content.decode("utf-32-be"))),
    0x74: _fixed(4, DecimalBits),
    0x80: _number("Q", Ulong),
    0x81: _number("q", Long),
    0x82: _number("d", float),
    0x83: _number("q", Timestamp),
    0x84: _fixed(8, DecimalBits),
    0x94: _fixed(16, DecimalBits),
    0x98: _fixed(16, lambda content: UUID(bytes=content)),
    0xA0: _sized(_U8, bytes),
    0xA1: _sized(_U8, bytes.decode),
    0xA3: _sized(_U8, lambda content: Symbol(content.decode("ascii"))),
    0xB0: _sized(_U32, bytes),
    0xB1: _sized(_U32, bytes.decode),
    0xB3: _sized(_U32, lambda content: Symbol(content.decode("ascii"))),
    0xC0: _list(_HEAD_8),
    0xC1: _map(_HEAD_8),
    0xD0: _list(_HEAD_32),
    0xD1: _map(_HEAD_32),
    0xE0: _array(_HEAD_8),
    0xF0: _array(_HEAD_32),
}
