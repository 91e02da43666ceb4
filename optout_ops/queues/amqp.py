"""An encoded AMQP message, taken apart and put together without decoding its values. Pure.

Whatever a client of another language wrote stays as it is, to the byte: types that azure-servicebus cannot read or
write, and those that it takes for one another. https://docs.oasis-open.org/amqp/core/v1.0/os/
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from optout_core.amqp import APPLICATION_PROPERTIES, BODY, HEADER, PROPERTIES, SIZES, NotAmqp, end_of

#: What the sender wrote, without what the broker and the way to it added.
_BARE = frozenset({HEADER, PROPERTIES, APPLICATION_PROPERTIES}) | BODY
_EMPTY_LIST = 0x45
_KINDS = {
    0x40: "null", 0x41: "boolean", 0x42: "boolean", 0x56: "boolean", 0x50: "ubyte", 0x51: "byte", 0x60: "ushort",
    0x61: "short", 0x70: "uint", 0x52: "uint", 0x43: "uint", 0x71: "int", 0x54: "int", 0x80: "ulong", 0x53: "ulong",
    0x44: "ulong", 0x81: "long", 0x55: "long", 0x72: "float", 0x82: "double", 0x74: "decimal32", 0x84: "decimal64",
    0x94: "decimal128", 0x73: "char", 0x83: "timestamp", 0x98: "uuid", 0xA0: "binary", 0xB0: "binary",
    0xA1: "string", 0xB1: "string", 0xA3: "symbol", 0xB3: "symbol", 0x45: "list", 0xC0: "list", 0xD0: "list",
    0xC1: "map", 0xD1: "map", 0xE0: "array", 0xF0: "array", 0x00: "described value",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Section:
    """One section of a message.

    Attributes:
        code: What it is, such as `PROPERTIES`.
        value: The encoded value in it.
    """

    code: int
    value: bytes

    def encoded(self) -> bytes:
        """Write it as it stands in a message."""
        return b"\x00\x53" + bytes([self.code]) + self.value


def sections(content: bytes) -> list[Section]:
    """Take an encoded message apart.

    Raises:
        NotAmqp: It is none.
    """
    found, position = [], 0
    while position < len(content):
        if content[position : position + 2] != b"\x00\x53":
            raise NotAmqp("a section begins with its code")
        end = end_of(content, position + 3)
        found.append(Section(content[position + 2], content[position + 3 : end]))
        position = end
    return found


def kind(value: bytes) -> str:
    """Name the type of an encoded value."""
    return _KINDS.get(value[0], f"type 0x{value[0]:02x}")


def entries(value: bytes) -> list[tuple[bytes, bytes]]:
    """Give the names and values of an encoded map, encoded.

    Raises:
        NotAmqp: It is no map.
    """
    if kind(value) != "map":
        raise NotAmqp("the application properties are no map")
    items = list(_items(value))
    return list(zip(items[::2], items[1::2], strict=True))


def fields(value: bytes) -> list[bytes]:
    """Give the items of an encoded list, encoded.

    Raises:
        NotAmqp: It is no list.
    """
    if kind(value) != "list":
        raise NotAmqp("the properties are no list")
    return [] if value[0] == _EMPTY_LIST else list(_items(value))


def texts(value: bytes) -> str | None:
    """Read an encoded text; None where it is none."""
    if kind(value) not in {"string", "symbol"}:
        return None
    return value[1 + SIZES[value[0] >> 4] :].decode(errors="replace")


def binary(value: bytes) -> bytes:
    """Read an encoded binary; b"" where it is none."""
    if kind(value) != "binary":
        return b""
    return value[1 + SIZES[value[0] >> 4] :]


def bare(content: bytes) -> bytes:
    """Give what the sender of a message wrote; b"" where the bytes are no message."""
    try:
        return b"".join(each.encoded() for each in sections(content) if each.code in _BARE)
    except (NotAmqp, IndexError, struct.error):
        return b""


def renewed(content: bytes, message_id: str, facts: Mapping[str, object]) -> bytes:
    """Give an encoded message another id, and set some of its application properties; all else stays to the byte.

    Args:
        content: What `bare` gave.
        message_id: The id.
        facts: The properties to set; texts and integers.

    Raises:
        NotAmqp: The bytes are no message.
    """
    parts: dict[int, bytes] = {PROPERTIES: _list([]), APPLICATION_PROPERTIES: as_map([])}
    try:
        found = sections(content)
        parts |= {each.code: each.value for each in found}
        kept = fields(parts[PROPERTIES])[1:]
        named = [each for each in entries(parts[APPLICATION_PROPERTIES]) if texts(each[0]) not in facts]
    except (IndexError, struct.error) as error:
        raise NotAmqp("the bytes end too early") from error
    added = [(_text(name), _text(fact) if isinstance(fact, str) else _long(fact)) for name, fact in facts.items()]
    head = [each for each in found if each.code == HEADER]
    body = [each for each in found if each.code in BODY]
    written = [
        *head,
        Section(PROPERTIES, _list([_text(message_id), *kept])),
        Section(APPLICATION_PROPERTIES, as_map([*named, *added])),
        *body,
    ]
    return b"".join(each.encoded() for each in written)


def _items(value: bytes) -> Iterator[bytes]:
    position = 1 + 2 * SIZES[value[0] >> 4]
    while position < len(value):
        end = end_of(value, position)
        yield value[position:end]
        position = end


def _text(text: object) -> bytes:
    raw = str(text).encode(errors="replace")
    return b"\xb1" + struct.pack(">I", len(raw)) + raw


def _long(number: object) -> bytes:
    return b"\x81" + struct.pack(">q", number)


def _list(items: list[bytes]) -> bytes:
    content = struct.pack(">I", len(items)) + b"".join(items)
    return b"\xd0" + struct.pack(">I", len(content)) + content


def as_map(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """Write an encoded map of encoded names and values."""
    content = struct.pack(">I", 2 * len(pairs)) + b"".join(name + value for name, value in pairs)
    return b"\xd1" + struct.pack(">I", len(content)) + content
