"""AMQP values to bytes, each in its shortest form.

Source: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-types-v1.0-os.html
"""

import struct
from collections.abc import Callable
from typing import Any
from uuid import UUID

from servicebus_sandbox.amqp import (
    Array,
    Byte,
    Char,
    DecimalBits,
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


def encode(value: object) -> bytes:
    """Encode a value in its shortest form.

    Raises:
        TypeError: The value, or one inside it, has no AMQP type.
        ValueError: An integer is out of its type's range.
    """
    try:
        compact = _COMPACT[type(value)]
    except KeyError:
        raise TypeError(f"there is no AMQP type for {type(value).__name__}") from None
    try:
        return compact(value)
    except struct.error as error:
        raise ValueError(f"{type(value).__name__} out of range: {error}") from None


_U32 = struct.Struct(">I")
_SMALL = 256


def _variable(code: int, content: bytes) -> bytes:
    """Encode binary, string or symbol; `code` is that of the form with a one-byte size."""
    size = len(content)
    if size < _SMALL:
        return bytes((code, size)) + content
    return bytes((code + 0x10,)) + _U32.pack(size) + content


def compound(code: int, count: int, content: bytes) -> bytes:
    """Frame encoded elements as a list (code 0xc0) or a map (0xc1) of `count` elements, keys counted too."""
    size = len(content)
    if size < _SMALL - 1 and count < _SMALL:
        return bytes((code, size + 1, count)) + content
    return bytes((code + 0x10,)) + _U32.pack(size + 4) + _U32.pack(count) + content


def _encode_list(values: list[Any]) -> bytes:
    return compound(0xC0, len(values), b"".join(map(encode, values))) if values else b"\x45"


def _encode_map(values: dict[Any, Any]) -> bytes:
    return compound(0xC1, len(values) * 2, b"".join(encode(key) + encode(value) for key, value in values.items()))


def _encode_array(values: Array) -> bytes:
    constructors, contents = zip(*map(_constructor_and_content, values), strict=True) if values else ((b"\x40",), ())
    if len(set(constructors)) > 1:
        raise TypeError("the values of an array must be of one type")
    content = b"".join((constructors[0], *contents))
    return b"\xf0" + _U32.pack(len(content) + 4) + _U32.pack(len(values)) + content


def _constructor_and_content(value: object) -> tuple[bytes, bytes]:
    """Split a value's widest form, the one that all values of an array can share."""
    if isinstance(value, Described):
        constructor, content = _constructor_and_content(value.value)
        return b"\x00" + encode(value.descriptor) + constructor, content
    if isinstance(value, bool):
        return b"\x56", bytes((value,))
    if type(value) in _PACKED:
        code, form = _PACKED[type(value)]
        return bytes((code,)), form.pack(value)
    compact = encode(value)
    code = compact[0]
    if code == _EMPTY_LIST:
        code, content = 0xD0, _U32.pack(4) + _U32.pack(0)
    elif code >> 4 == _VARIABLE:
        code, content = code + 0x10, _U32.pack(compact[1]) + compact[2:]
    elif code >> 4 == _COMPOUND:
        code, content = code + 0x10, _U32.pack(compact[1] + 3) + _U32.pack(compact[2]) + compact[3:]
    else:
        content = compact[1:]
    return bytes((code,)), content


_EMPTY_LIST, _VARIABLE, _COMPOUND = 0x45, 0xA, 0xC

_PACKED: dict[type, tuple[int, struct.Struct]] = {
    Ubyte: (0x50, struct.Struct(">B")),
    Byte: (0x51, struct.Struct(">b")),
    Ushort: (0x60, struct.Struct(">H")),
    Short: (0x61, struct.Struct(">h")),
    Uint: (0x70, struct.Struct(">I")),
    Int: (0x71, struct.Struct(">i")),
    Float: (0x72, struct.Struct(">f")),
    Ulong: (0x80, struct.Struct(">Q")),
    Long: (0x81, struct.Struct(">q")),
    int: (0x81, struct.Struct(">q")),
    float: (0x82, struct.Struct(">d")),
    Timestamp: (0x83, struct.Struct(">q")),
}


def _fixed(kind: type) -> Callable[[Any], bytes]:
    code, form = _PACKED[kind]
    prefix = bytes((code,))
    return lambda value: prefix + form.pack(value)


def _signed(kind: type, small: int) -> Callable[[Any], bytes]:
    wide = _fixed(kind)
    form = struct.Struct(">Bb")
    return lambda value: form.pack(small, value) if -0x80 <= value < 0x80 else wide(value)  # noqa: PLR2004 - one byte


def _unsigned(kind: type, small: int, zero: bytes) -> Callable[[Any], bytes]:
    wide = _fixed(kind)

    def compact(value: Any) -> bytes:
        if value == 0:
            return zero
        return bytes((small, value)) if 0 < value < _SMALL else wide(value)

    return compact


_COMPACT: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"\x40",
    bool: lambda value: b"\x41" if value else b"\x42",
    Ubyte: _fixed(Ubyte),
    Byte: _fixed(Byte),
    Ushort: _fixed(Ushort),
    Short: _fixed(Short),
    Uint: _unsigned(Uint, 0x52, b"\x43"),
    Ulong: _unsigned(Ulong, 0x53, b"\x44"),
    Int: _signed(Int, 0x54),
    Long: _signed(Long, 0x55),
    int: _signed(int, 0x55),
    Float: _fixed(Float),
    float: _fixed(float),
    Timestamp: _fixed(Timestamp),
    Char: lambda value: b"\x73" + value.encode("utf-32-be"),
    DecimalBits: lambda value: {4: b"\x74", 8: b"\x84", 16: b"\x94"}[len(value)] + value,
    UUID: lambda value: b"\x98" + value.bytes,
    bytes: lambda value: _variable(0xA0, value),
    str: lambda value: _variable(0xA1, value.encode()),
    Symbol: lambda value: _variable(0xA3, value.encode("ascii")),
    list: _encode_list,
    dict: _encode_map,
    Array: _encode_array,
    Described: lambda value: b"\x00" + encode(value.descriptor) + encode(value.value),
}
