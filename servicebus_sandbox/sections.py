"""The sections of an encoded message, taken apart without reading what is in them.

Source: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-messaging-v1.0-os.html, section 3.2
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from servicebus_sandbox.amqp import DecodeError, Ulong
from servicebus_sandbox.decode import decode_at, map_entries
from servicebus_sandbox.encode import compound, encode
from servicebus_sandbox.skip import end_of

#: The message format that says: each data section is a whole encoded message (as all Service Bus clients send it).
BATCH_FORMAT = 0x80013700

HEADER, DELIVERY_ANNOTATIONS, ANNOTATIONS, PROPERTIES, APPLICATION_PROPERTIES, DATA = range(0x70, 0x76)
VALUE = 0x77
_FOOTER = 0x78

#: What stands before each section's value, by its code.
PREFIXES = {code: b"\x00\x53" + bytes((code,)) for code in range(HEADER, _FOOTER + 1)}
_CODES = {prefix: code for code, prefix in PREFIXES.items()}


class Entries(NamedTuple):
    """The content of a map, still encoded: how many pairs, and the bytes of their keys and values."""

    pairs: int = 0
    encoded: bytes = b""

    def with_(self, extra: Mapping[Any, object]) -> Entries:
        """Return the entries with others added; an existing key is replaced."""
        kept = [pair for key, _, pair in map_entries(self.as_map()) if key not in extra]
        added = [encode(key) + encode(value) for key, value in extra.items()]
        return Entries(len(kept) + len(added), b"".join(kept + added))

    def as_map(self) -> bytes:
        """Encode the map."""
        return compound(0xC1, self.pairs * 2, self.encoded)


NO_ENTRIES = Entries()


def split_batch(payload: bytes) -> list[bytes]:
    """Split a transfer of format `BATCH_FORMAT` into its encoded messages.

    Raises:
        DecodeError: The bytes are no message.
    """
    return list(data_sections(payload))


def data_sections(payload: bytes) -> Iterator[bytes]:
    """Yield the content of each data section.

    Raises:
        DecodeError: The bytes are no sections of a message.
    """
    for code, _, value_at, _ in sections(payload):
        if code == DATA:
            content, _ = decode_at(payload, value_at)
            if not isinstance(content, bytes):
                raise DecodeError("a data section holds no binary")
            yield content


def sections(payload: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield each section's code, its start, where its value starts, and its end."""
    position = 0
    while position < len(payload):
        if payload[position] != 0:
            raise DecodeError("a message section must be described")
        value_at = position + 3
        code = _CODES.get(payload[position:value_at])
        if code is None:
            # Not in the short form that everybody writes.
            code, value_at = decode_at(payload, position + 1)
            if type(code) is not Ulong or code not in PREFIXES:
                raise DecodeError("an unknown message section")
        end = end_of(payload, value_at)
        yield code, position, value_at, end
        position = end


def with_fields(section: bytes, changes: Mapping[int, object]) -> bytes:
    """Encode a section of properties anew, with some of its fields changed."""
    fields = decode_at(section, 0)[0].value if section else []
    fields = [*fields, *[None] * (max(changes) + 1 - len(fields))]
    for place, value in changes.items():
        fields[place] = value
    return PREFIXES[PROPERTIES] + encode(fields)
