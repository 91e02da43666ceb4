"""Decodes a message as AMQP 1.0 encodes it. Pure.

azure-servicebus decodes as well, but in a module that is not public, whose import costs a tenth of a second before the
first message. What both can read comes out alike, and a test holds one against the other: texts and binaries as bytes,
timestamps as milliseconds, what is described without its description. A decimal and a char are not read: no event has
one, and the host sends beside the message what .NET makes of them.

Source: https://docs.oasis-open.org/amqp/core/v1.0/os/, types 1.6 and messaging 3.2.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct

#: Sections of a message.
HEADER, MESSAGE_ANNOTATIONS, PROPERTIES, APPLICATION_PROPERTIES = 0x70, 0x72, 0x73, 0x74
DATA, SEQUENCE, VALUE = 0x75, 0x76, 0x77
BODY = frozenset({DATA, SEQUENCE, VALUE})

#: Constructors of the values that are most of a message: null, and a binary, string or symbol of at most 255 bytes.
_NULL, _SHORT = 0x40, frozenset({0xA0, 0xA1, 0xA3})
#: In front of the code of a section: a description, which is a small ulong.
_DESCRIBED = b"\x00\x53"
#: What a section has to be, where AMQP says it.
_LISTS, _MAPS = frozenset({0x45, 0xC0, 0xD0}), frozenset({0xC1, 0xD1})
_KINDS = {HEADER: _LISTS, PROPERTIES: _LISTS, MESSAGE_ANNOTATIONS: _MAPS, APPLICATION_PROPERTIES: _MAPS}
#: Bytes of a value by the upper half of its constructor, and of the size in front of one that varies.
_WIDTHS = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
SIZES = {0xA: 1, 0xC: 1, 0xE: 1, 0xB: 4, 0xD: 4, 0xF: 4}

#: Deepest nesting, that of the .NET client and of azure-servicebus.
_DEEPEST = 64

#: From the bytes, the position behind the constructor and the depth to the value and the position behind it.
_Decoder = Callable[[bytes, int, int], tuple[Any, int]]


class NotAmqp(ValueError):
    """The bytes are not what they should be."""


class Message(Struct, frozen=True, gc=False):
    """A decoded message.

    Attributes:
        header: Its fields; the last ones may be missing.
        annotations: What the broker wrote, by name.
        properties: The standard properties in their order; the last ones may be missing.
        application_properties: By name.
        body: Code and content of each section of the body.
        left_out: The sections that cannot be read, by code.
    """

    header: Sequence[Any] = ()
    annotations: Mapping[Any, Any] = {}
    properties: Sequence[Any] = ()
    application_properties: Mapping[Any, Any] = {}
    body: Sequence[tuple[int, Any]] = ()
    left_out: Mapping[int, bytes] = {}

    def __repr__(self) -> str:
        """Show nothing that a client wrote."""
        return f"<Message with a body of {len(self.body)} sections>"


def decode(content: bytes, position: int = 0) -> Message:
    """Decode the message from a position on.

    Raises:
        NotAmqp: The bytes are no message.
    """
    size = len(content)
    found: dict[int, Any] = {}
    body: list[tuple[int, Any]] = []
    left_out: dict[int, bytearray] = {}
    while position < size:
        start = position
        if content[start : start + 2] != _DESCRIBED or start + 4 > size:
            raise NotAmqp("a section begins with its code")
        code, constructor = content[start + 2], content[start + 3]
        try:
            if code in _KINDS and constructor not in _KINDS[code]:
                raise NotAmqp("a section of another type than AMQP gives it")
            value, position = _DECODERS[constructor](content, start + 4, 0)
            if position > size:
                raise NotAmqp("the bytes end early")
        except (KeyError, IndexError, TypeError, ValueError, struct.error):
            position = end_of(content, start + 3)
            left_out.setdefault(code, bytearray()).extend(content[start:position])
            continue
        if code in BODY:
            body.append((code, value))
        else:
            found[code] = value
    get = found.get
    return Message(
        get(HEADER, ()),
        get(MESSAGE_ANNOTATIONS, {}),
        get(PROPERTIES, ()),
        get(APPLICATION_PROPERTIES, {}),
        body,
        {code: bytes(sections) for code, sections in left_out.items()} if left_out else {},
    )


def end_of(content: bytes, position: int) -> int:
    """Say where the value ends that begins at a position.

    Raises:
        NotAmqp: Nothing of that type is known, or the bytes end before.
    """
    try:
        while content[position] == 0:
            # A description, and behind it what is described.
            position = _end_of_plain(content, position + 1)
        end = _end_of_plain(content, position)
    except IndexError:
        end = len(content) + 1
    if end > len(content):
        raise NotAmqp("the bytes end early")
    return end


def _end_of_plain(content: bytes, position: int) -> int:
    constructor = content[position]
    kind = constructor >> 4
    if kind in _WIDTHS:
        return position + 1 + _WIDTHS[kind]
    if kind in SIZES:
        start = position + 1 + SIZES[kind]
        return start + int.from_bytes(content[position + 1 : start])
    raise NotAmqp(f"0x{constructor:02x} is no type of AMQP")


def _values(content: bytes, position: int, count: int, depth: int) -> tuple[list[Any], int]:
    values: list[Any] = []
    add = values.append
    for _ in range(count):
        # Two short cuts: this loop is most of what decoding costs.
        constructor = content[position]
        if constructor == _NULL:
            add(None)
            position += 1
        elif constructor in _SHORT:
            start = position + 2
            position = start + content[position + 1]
            add(content[start:position])
        else:
            value, position = _DECODERS[constructor](content, position + 1, depth + 1)
            add(value)
    return values, position


def _constant(value: object) -> _Decoder:
    return lambda _content, position, _depth: (value, position)


def _number(code: str) -> _Decoder:
    form = struct.Struct(">" + code)
    unpack, width = form.unpack_from, form.size
    return lambda content, position, _depth: (unpack(content, position)[0], position + width)


def _uuid(content: bytes, position: int, _depth: int) -> tuple[UUID, int]:
    end = position + 16
    return UUID(bytes=content[position:end]), end


def _bytes(code: str) -> _Decoder:
    form = struct.Struct(">" + code)
    unpack, width = form.unpack_from, form.size

    def decoder(content: bytes, position: int, _depth: int) -> tuple[bytes, int]:
        start = position + width
        end = start + unpack(content, position)[0]
        return content[start:end], end

    return decoder


def _compound(code: str, values_of: Callable[[bytes, int, int, int], tuple[Any, int]]) -> _Decoder:
    form = struct.Struct(">" + 2 * code)
    unpack, width = form.unpack_from, form.size
    beside = width // 2

    def decoder(content: bytes, position: int, depth: int) -> tuple[Any, int]:
        size, count = unpack(content, position)
        # An array of nulls takes no bytes for them: a few bytes could fill the memory.
        if count > size or depth >= _DEEPEST:
            raise NotAmqp("more values than bytes, or nested too deep")
        values, end = values_of(content, position + width, count, depth)
        # The size counts from behind itself. Whatever a value took beyond the bytes shows here as well.
        if end != position + beside + size:
            raise NotAmqp("a size and what it counts differ")
        return values, end

    return decoder


def _entries(content: bytes, position: int, count: int, depth: int) -> tuple[dict[Any, Any], int]:
    values, end = _values(content, position, count, depth)
    return dict(zip(values[::2], values[1::2], strict=True)), end


def _alike(content: bytes, position: int, count: int, depth: int) -> tuple[list[Any], int]:
    while content[position] == 0:
        _, position = _DECODERS[content[position + 1]](content, position + 2, depth + 1)
    decoder, position = _DECODERS[content[position]], position + 1
    values = []
    for _ in range(count):
        value, position = decoder(content, position, depth + 1)
        values.append(value)
    return values, position


def _described(content: bytes, position: int, depth: int) -> tuple[Any, int]:
    if depth >= _DEEPEST:
        raise NotAmqp("nested too deep")
    _, position = _DECODERS[content[position]](content, position + 1, depth + 1)
    return _DECODERS[content[position]](content, position + 1, depth + 1)


_DECODERS: dict[int, _Decoder] = {
    0x00: _described,
    _NULL: _constant(None),
    0x41: _constant(value=True),
    0x42: _constant(value=False),
    0x43: _constant(0),
    0x44: _constant(0),
    0x45: lambda _content, position, _depth: ([], position),
    0x50: _number("B"),
    0x51: _number("b"),
    0x52: _number("B"),
    0x53: _number("B"),
    0x54: _number("b"),
    0x55: _number("b"),
    0x56: _number("?"),
    0x60: _number("H"),
    0x61: _number("h"),
    0x70: _number("I"),
    0x71: _number("i"),
    0x72: _number("f"),
    0x80: _number("Q"),
    0x81: _number("q"),
    0x82: _number("d"),
    0x83: _number("q"),
    0x98: _uuid,
    0xA0: _bytes("B"),
    0xA1: _bytes("B"),
    0xA3: _bytes("B"),
    0xB0: _bytes("I"),
    0xB1: _bytes("I"),
    0xB3: _bytes("I"),
    0xC0: _compound("B", _values),
    0xC1: _compound("B", _entries),
    0xD0: _compound("I", _values),
    0xD1: _compound("I", _entries),
    0xE0: _compound("B", _alike),
    0xF0: _compound("I", _alike),
}
