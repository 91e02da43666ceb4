"""The AMQP type system: what is encoded is decoded, and what is not AMQP is refused, whatever it is."""

import math
import string
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from servicebus_sandbox.decode import MAX_DEPTH, decode, decode_at, map_entries
from servicebus_sandbox.encode import encode
from servicebus_sandbox.frames import FRAME_HEAD, Attach, Flow, Open, decode_performative, encode_frame
from servicebus_sandbox.messages import decode_message
from servicebus_sandbox.sections import Entries, split_batch
from servicebus_sandbox.skip import end_of

BITS = {Ubyte: 8, Ushort: 16, Uint: 32, Ulong: 64}
SIGNED_BITS = {Byte: 8, Short: 16, Int: 32, Long: 64, Timestamp: 64}

numbers = st.one_of(
    *[st.integers(0, 2**bits - 1).map(kind) for kind, bits in BITS.items()],
    *[st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).map(kind) for kind, bits in SIGNED_BITS.items()],
    st.floats(allow_nan=False),
    st.floats(allow_nan=False, width=32).map(Float),
)
texts = st.one_of(
    st.text(max_size=300),
    st.binary(max_size=300),
    st.text(string.ascii_letters + ":-", max_size=300).map(Symbol),
    st.characters(exclude_categories=["Cs"]).map(Char),
    st.sampled_from([4, 8, 16]).flatmap(lambda size: st.binary(min_size=size, max_size=size)).map(DecimalBits),
)
scalars = st.one_of(st.none(), st.booleans(), st.uuids(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.text(max_size=5), inner, max_size=5),
        st.builds(Described, st.integers(0, 255).map(Ulong), inner),
        st.lists(st.integers(-5, 5).map(Int)).map(Array),
        st.lists(st.uuids()).map(Array),
        st.lists(st.booleans()).map(Array),
        st.lists(st.text(max_size=300)).map(Array),
        st.lists(st.lists(inner, max_size=3), max_size=3).map(Array),
        st.lists(st.builds(Described, st.just(Symbol("d")), st.binary(max_size=300)), max_size=3).map(Array),
    ),
    max_leaves=20,
)


def shape(value):
    """Return the value with its types, which equality alone does not compare."""
    if isinstance(value, Described):
        return Described, shape(value.descriptor), shape(value.value)
    if isinstance(value, list):
        return type(value), [shape(one) for one in value]
    if isinstance(value, dict):
        return dict, {key: shape(one) for key, one in value.items()}
    return type(value), value


@given(values)
def test_what_is_encoded_is_decoded_with_its_types(value):
    assert shape(decode(encode(value))) == shape(value)


@given(values)
def test_the_end_of_a_value_is_found_without_decoding_it(value):
    encoded = encode(value)

    assert end_of(b"xx" + encoded + b"yy", 2) == len(encoded) + 2


@given(st.binary(max_size=200))
def test_bytes_that_are_not_amqp_are_a_decode_error_and_nothing_else(garbage):
    for read in (decode, decode_message, split_batch, decode_performative, lambda it: list(map_entries(it))):
        try:
            read(garbage)
        except DecodeError:
            continue


@given(values, st.data())
def test_a_damaged_value_is_a_decode_error_or_another_value(value, data):
    encoded = bytearray(encode(value))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(encoded[: data.draw(st.integers(0, len(encoded)))]))
    except DecodeError:
        return


def test_a_plain_int_is_a_long_and_nan_stays_nan():
    assert type(decode(encode(7))) is Long
    assert math.isnan(decode(encode(math.nan)))


@pytest.mark.parametrize("value", [Ubyte(256), Uint(-1), Int(2**31), 2**63])
def test_a_number_out_of_range_is_a_value_error(value):
    with pytest.raises(ValueError, match="out of range"):
        encode(value)


def test_a_value_without_an_amqp_type_is_a_type_error():
    with pytest.raises(TypeError, match="no AMQP type for set"):
        encode([{1, 2}])
    with pytest.raises(TypeError, match="one type"):
        encode(Array([1, "two"]))


def test_values_nested_too_deeply_are_refused_before_the_stack_ends():
    deep = b"\x45"
    for _ in range(MAX_DEPTH + 1):
        deep = b"\xd0" + (len(deep) + 4).to_bytes(4, "big") + b"\0\0\0\1" + deep

    with pytest.raises(DecodeError, match="deeper"):
        decode(deep)
    with pytest.raises(DecodeError, match="deeper"):
        decode(b"\x00" * 5000)


def test_a_count_that_the_bytes_do_not_hold_costs_no_memory():
    with pytest.raises(DecodeError):
        decode(b"\xd0\x00\x00\x00\x05\xff\xff\xff\xff\x40")
    with pytest.raises(DecodeError, match="more than 100,000"):
        decode(b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40")


@pytest.mark.parametrize(
    "malformed",
    [
        b"",
        b"\x10",
        b"\x40\x40",
        b"\xa1",
        b"\xa1\x05ab",
        b"\xa1\x01\xff",
        b"\xa3\x01\xff",
        b"\xb1\x00",
        b"\x73\xff\xff\xff\xff",
        b"\xc0\x02\x00\x40",
        b"\xc0\x00\x00",
        b"\xc1\x02\x01\x40",
        b"\xe0\x03\x01\x40\x40",
        b"\xe0\x02\x01\x10",
    ],
)
def test_a_malformed_value_is_refused(malformed):
    with pytest.raises(DecodeError):
        decode(malformed)


@pytest.mark.parametrize(
    "malformed", [b"", b"\x10", b"\xa1", b"\xa1\x05ab", b"\xb1\x00", b"\x00\x40", b"\x00\x00\x40\x40"]
)
def test_a_value_without_an_end_has_none(malformed):
    with pytest.raises(DecodeError):
        end_of(malformed, 0)


@pytest.mark.parametrize("malformed", [b"", b"\xc1", b"\xc0\x01\x00", b"\xc1\x02\x01\x40", b"\xc1\x02\x00\x40"])
def test_what_is_no_map_has_no_entries(malformed):
    with pytest.raises(DecodeError):
        list(map_entries(malformed))


@pytest.mark.parametrize(
    ("section", "content", "fault"),
    [
        (0x70, "text", "header is no list"),
        (0x70, [None, None, "soon"], "a str where a Uint belongs"),
        (0x72, {Symbol("x-opt-scheduled-enqueue-time"): "soon"}, "is no timestamp"),
        (0x72, [], "expected a map"),
        (0x73, {}, "properties are no list"),
        (0x73, [True], "message id is no"),
        (0x74, [], "expected a map"),
        (0x79, b"", "unknown message section"),
    ],
)
def test_a_message_with_a_malformed_section_is_refused(section, content, fault):
    with pytest.raises(DecodeError, match=fault):
        decode_message(encode(Described(Ulong(section), content)))


def test_a_batch_holds_binary_and_nothing_else():
    with pytest.raises(DecodeError, match="no binary"):
        split_batch(encode(Described(Ulong(0x75), "text")))
    with pytest.raises(DecodeError, match="must be described"):
        split_batch(b"\x40")


def test_a_message_with_a_value_or_without_anything_can_be_read():
    empty = decode_message(b"")

    assert (empty.body, empty.value, empty.properties, empty.application_properties) == (b"", None, {}, {})
    assert decode_message(encode(Described(Ulong(0x77), [1, "two"]))).value == [1, "two"]


def test_map_entries_give_back_the_bytes_of_each_pair():
    encoded = encode({"a": Uint(1), Symbol("b"): b"two"})

    pairs = list(map_entries(encoded))

    assert [(key, value) for key, value, _ in pairs] == [("a", 1), ("b", b"two")]
    assert b"".join(pair for _, _, pair in pairs) == encoded[3:]


def test_a_map_with_a_list_as_a_key_is_refused():
    odd = b"\xc1\x03\x02\x45\x40"

    with pytest.raises(DecodeError, match="key"):
        decode(odd)
    with pytest.raises(DecodeError, match="key"):
        list(map_entries(odd))


def test_entries_are_added_and_replaced():
    first = Entries().with_({"kept": Uint(1), "old": 2})

    assert decode(first.with_({"old": "new", "more": True}).as_map()) == {"kept": 1, "old": "new", "more": True}


def test_a_frame_says_its_size_and_leaves_out_absent_fields():
    frame = encode_frame(3, Attach("link", Uint(1), role=True))
    size, offset, kind, channel = FRAME_HEAD.unpack_from(frame)

    assert (size, offset, kind, channel) == (len(frame), 2, 0, 3)
    assert decode_performative(frame[8:]) == (Attach("link", Uint(1), role=True), b"")


def test_a_field_of_the_wrong_type_is_refused():
    wrong = encode(Described(Ulong(0x13), [None, "window", Uint(0), Uint(0)]))
    missing = encode(Described(Ulong(0x13), [None]))

    with pytest.raises(DecodeError, match="Flow is of the wrong type: str"):
        decode_performative(wrong)
    with pytest.raises(DecodeError, match="too few"):
        decode_performative(missing)


def test_a_symbolic_descriptor_or_an_unknown_performative_is_refused():
    with pytest.raises(DecodeError, match="unknown performative"):
        decode_performative(encode(Described(Ulong(0x99), [])))
    assert isinstance(decode_performative(encode_frame(0, Open("me"))[8:])[0], Open)
    assert isinstance(decode_performative(encode_frame(0, Flow(None, Uint(1), Uint(1), Uint(1)))[8:])[0], Flow)


def test_a_uuid_is_sixteen_bytes():
    assert decode_at(b"\x98" + bytes(range(16)), 0) == (UUID(bytes=bytes(range(16))), 17)
