"""The AMQP 1.0 type system in Python: one class for each AMQP type that Python has no type of its own for.

Null, boolean, double, binary, string, uuid, list and map are None, bool, float, bytes, str, UUID, list and dict.
Numbers keep their AMQP type by being one of the subclasses below, so that what we pass on is what we were given.

Source: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-types-v1.0-os.html
"""

from typing import Any, NamedTuple


class DecodeError(ValueError):
    """Bytes that are not AMQP 1.0."""


class Symbol(str):
    """A name from a constrained set, ASCII on the wire."""

    __slots__ = ()


class Char(str):
    """One Unicode character."""

    __slots__ = ()


class Ubyte(int):
    """0 to 2**8 - 1."""


class Ushort(int):
    """0 to 2**16 - 1."""


class Uint(int):
    """0 to 2**32 - 1."""


class Ulong(int):
    """0 to 2**64 - 1."""


class Byte(int):
    """-2**7 to 2**7 - 1."""


class Short(int):
    """-2**15 to 2**15 - 1."""


class Int(int):
    """-2**31 to 2**31 - 1."""


class Long(int):
    """-2**63 to 2**63 - 1. A plain ``int`` is encoded as one, and decodes as one."""


class Timestamp(int):
    """Milliseconds since 1970 in UTC, signed 64 bits."""


class Float(float):
    """A 32-bit float; a plain ``float`` is a 64-bit double."""


class DecimalBits(bytes):
    """An IEEE 754 decimal as its 4, 8 or 16 bytes: passed on, never calculated with."""

    __slots__ = ()


class Array(list[Any]):
    """Values of one type, which is named once on the wire."""


class Described(NamedTuple):
    """A value with a descriptor that says what it means: performatives, message sections, outcomes, filters."""

    descriptor: Any
    value: Any
