"""A message is decoded as AMQP writes it, whatever a client wrote; what cannot be read costs nobody else anything."""

import struct
from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout_core.amqp import APPLICATION_PROPERTIES, DATA, PROPERTIES, VALUE, NotAmqp, decode, end_of
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
from servicebus_sandbox.encode import encode
from tests.adapters.function import amqp, data, section


def value_of(encoded):
    """Decode one encoded value, as the body of a message."""
    [(code, content)] = decode(b"\x00\x53\x77" + encoded).body
    assert code == VALUE
    return content


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (None, None),
        (True, True),
        (False, False),
        (Ubyte(200), 200),
        (Byte(-100), -100),
        (Ushort(60_000), 60_000),
        (Short(-30_000), -30_000),
        (Uint(0), 0),
        (Uint(255), 255),
        (Uint(2**32 - 1), 2**32 - 1),
        (Int(-1), -1),
        (Int(-(2**31)), -(2**31)),
        (Ulong(0), 0),
        (Ulong(255), 255),
        (Ulong(2**64 - 1), 2**64 - 1),
        (Long(-1), -1),
        (Long(-(2**63)), -(2**63)),
        (Float(0.5), 0.5),
        (1.1, 1.1),
        (Timestamp(-5), -5),
        (UUID(int=5), UUID(int=5)),
        (b"\xff", b"\xff"),
        (b"\xff" * 300, b"\xff" * 300),
        ("ä", "ä".encode()),
        ("ä" * 300, ("ä" * 300).encode()),
        (Symbol("s"), b"s"),
        (Symbol("s" * 300), b"s" * 300),
        ([], []),
        ([1, "a", [None]], [1, b"a", [None]]),
        ([1] * 300, [1] * 300),
        ({"a": {"b": 1}}, {b"a": {b"b": 1}}),
        ({str(n): n for n in range(300)}, {str(n).encode(): n for n in range(300)}),
        (Array([1, 2]), [1, 2]),
        (Array(["a"] * 300), [b"a"] * 300),
        (Array([]), []),
        (Described(Symbol("com.microsoft:timespan"), 36), 36),
        (Described(Symbol("a"), Described(Ulong(1), ["x"])), [b"x"]),
        (Array([Described(Symbol("a"), 1), Described(Symbol("a"), 2)]), [1, 2]),
    ],
)
def test_every_type_that_an_event_may_have_is_read(written, read):
    assert value_of(encode(written)) == read
    assert type(value_of(encode(written))) is type(read)


def test_a_boolean_of_one_byte_is_read():
    assert [value_of(b"\x56\x01"), value_of(b"\x56\x00")] == [True, False]


def test_a_message_is_read_section_by_section():
    message = decode(
        amqp(data(b"a", b"b"), message_id="m", correlation_id="c", properties={"x": 1}, number=7, delivery_count=3)
    )

    assert message.header == [None, None, None, None, 3]
    assert message.annotations[b"x-opt-sequence-number"] == 7
    assert message.properties == [b"m", None, None, None, None, b"c", None]
    assert message.application_properties == {b"x": 1}
    assert message.body == [(DATA, b"a"), (DATA, b"b")]
    assert message.left_out == {}


def test_a_message_begins_where_it_is_said_to():
    assert decode(b"lock token" + data(b"a"), len(b"lock token")).body == [(DATA, b"a")]


def nested(levels):
    """Encode a list in a list in a list."""
    inner = b"\x45"
    for _ in range(levels - 1):
        content = struct.pack(">I", 1) + inner
        inner = b"\xd0" + struct.pack(">I", len(content)) + content
    return inner


UNREADABLE = {
    "a decimal": encode(DecimalBits(bytes(16))),
    "a char": encode(Char("x")),
    "a list with a char": encode([1, Char("x")]),
    "a list that says less than it holds": b"\xc0\x03\x00\x52\x07",
    "a list that says more than it holds": b"\xc0\x03\x02\x52\x07",
    "a list whose last text is longer than the list": b"\xc0\x03\x01\xa1\x05",
    "a map with a name and no value": b"\xc1\x02\x01\x40",
    "a map whose name is a list": b"\xc1\x03\x02\x45\x40",
    "more levels than .NET reads": nested(66),
    "an array of nulls": b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40",
    "a type that AMQP does not know": b"\xc0\x02\x01\x4f",
    "a description of a description of one": b"\x00\x40" * 70 + b"\x40",
}


@pytest.mark.parametrize("encoded", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_left_out_with_its_bytes_and_hides_nothing_else(encoded):
    odd = b"\x00\x53\x77" + encoded

    message = decode(section(PROPERTIES, ["m"]) + odd + section(APPLICATION_PROPERTIES, {"x": 1}))

    assert message.left_out == {VALUE: odd}
    assert (message.properties, message.application_properties, message.body) == ([b"m"], {b"x": 1}, [])


def test_64_levels_are_read():
    assert value_of(nested(64))


@pytest.mark.parametrize(
    "odd",
    [section(0x70, {}), section(0x72, []), section(0x73, "text"), section(0x74, ["a", 1])],
    ids=["header", "annotations", "properties", "application properties"],
)
def test_a_section_of_another_type_than_amqp_gives_it_is_left_out(odd):
    message = decode(odd + data(b"a"))

    assert message.left_out == {odd[2]: odd}
    assert message.body == [(DATA, b"a")]


@pytest.mark.parametrize(
    "content",
    [
        b"no message",
        b"\x00\x53\x75",
        data(b"whole") + b"\x00",
        data(b"cut")[:-1],
        b"\x00\x53\x75\xb0\xff\xff\xff\xff",
        b"\x00\x53\x77\x00\x40",
        b"\x00\x53\x77\x1f",
    ],
)
def test_bytes_that_are_no_message_are_refused(content):
    with pytest.raises(NotAmqp):
        decode(content)


def test_nothing_is_an_empty_message():
    assert decode(b"").body == []


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_bytes_do_harm(garbage, tail):
    for content in (garbage, data(garbage) + tail, b"\x00\x53\x77" + garbage, b"\x00\x53\x74\xc1" + garbage):
        with suppress(NotAmqp):
            message = decode(content)
            assert sum(map(len, message.left_out.values())) <= len(content)


@given(st.lists(st.sampled_from(list(UNREADABLE.values())) | st.binary(max_size=9).map(encode), max_size=6))
def test_the_end_of_a_value_is_found_without_reading_it(values):
    content, ends = b"".join(values), []
    position = 0
    while position < len(content):
        position = end_of(content, position)
        ends.append(position)

    assert ends == [sum(map(len, values[: number + 1])) for number in range(len(values))]
