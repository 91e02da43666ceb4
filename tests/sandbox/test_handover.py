"""What the host hands over is what the real one was seen to hand over (docs/sandbox.md, "The host")."""

import json
import math
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.dotnet import LEFT_OUT, Undecodable, json_of, text_of
from servicebus_sandbox import Limits
from servicebus_sandbox.amqp import Array, Char, DecimalBits, Described, Float, Long, Symbol, Timestamp, Ulong
from servicebus_sandbox.errors import Refused
from servicebus_sandbox.messages import Stamps, decode_message, encode_message
from servicebus_sandbox.tests.test_codec import values
from tests.adapters.function import amqp, data, handed_over, section

ARRIVED = datetime(2026, 11, 28, 15, 45, 16, 112_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("text", "text"),
        (Symbol("symbol"), "symbol"),
        (Char("c"), "c"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Described(Symbol("com.microsoft:uri"), "https://x"), "https://x"),
        (True, True),
        (Ulong(2**64 - 1), 2**64 - 1),
        (Long(2**53 + 1), 2**53 + 1),
        (Float(0.5), 0.5),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (DecimalBits(bytes.fromhex("3038000000000000000000001425d829")), 33802.4489),
        (DecimalBits(bytes.fromhex("3008000000000000000000000000000c")), 12e-28),
        (DecimalBits(bytes.fromhex("b0400000000000000000000000000007")), -7),
        (Timestamp(1_795_578_089_404), "2026-11-25T03:41:29.404Z"),
        (Timestamp(1_795_578_089_000), "2026-11-25T03:41:29Z"),
        (Timestamp(2**62), "9999-12-31T23:59:59.9999999"),
        (Timestamp(-(2**62)), "1970-01-01T00:00:00Z"),
        (b"\x00\xff", "AP8="),
        (None, None),
        (Described(Symbol("com.microsoft:datetime-offset"), 638_979_432_000_000_000), "2025-11-05T12:40:00+00:00"),
        (Described(Symbol("com.microsoft:timespan"), 36_000_000_000), "01:00:00"),
        (Described(Symbol("com.microsoft:timespan"), -864_000_000_001), "-1.00:00:00.0000001"),
        (["a", [1]], ["a", [1]]),
        (Array([1, 2]), [1, 2]),
    ],
)
def test_a_property_in_the_json_of_the_host(sent, shown):
    found = json_of(sent)

    assert found == shown
    assert json.loads(json.dumps(found)) == shown


@pytest.mark.parametrize("sent", [Described(Symbol("app:color"), "red"), Described(Ulong(7), 1)])
def test_a_described_property_that_dotnet_does_not_know_is_left_out(sent):
    assert json_of(sent) is LEFT_OUT

    _, metadata = handed_over(amqp(data(b"x"), properties={"odd": sent, "even": 2}))

    assert metadata["ApplicationPropertiesArray"].python_value == [{"even": 2}]


@pytest.mark.parametrize("sent", [{"a": 1}, ["a", {"b": 1}], Char("\U0001f600"), DecimalBits(4), DecimalBits(8)])
def test_a_property_that_dotnet_cannot_decode_fails_the_receive(sent):
    with pytest.raises(Undecodable):
        handed_over(amqp(data(b"x")), amqp(data(b"x"), properties={"odd": sent}))


_DESCRIBED = st.builds(
    Described,
    st.sampled_from([Symbol(f"com.microsoft:{name}") for name in ("uri", "datetime-offset", "timespan")]),
    st.one_of(values, st.integers(-(2**63), 2**63 - 1).map(Long)),
)
_ANY = st.one_of(values, _DESCRIBED, st.lists(_DESCRIBED, max_size=2))


@pytest.mark.parametrize("odd_types", [False, True])
@given(
    properties=st.dictionaries(st.one_of(st.text(max_size=5), st.binary(max_size=3), st.integers(0, 9)), _ANY),
    header=st.lists(_ANY, max_size=6),
    standard=st.lists(_ANY, max_size=14),
    annotations=st.dictionaries(
        st.sampled_from(["x-opt-partition-key", "x-opt-deadletter-source", "x-opt-sequence-number", "x"]).map(Symbol),
        _ANY,
    ),
)
def test_whatever_the_broker_lets_in_is_handed_over_or_fails_the_receive(
    odd_types, properties, header, standard, annotations
):
    """Anything else would end the host."""
    sections = ((0x70, header), (0x72, annotations), (0x73, standard), (0x74, properties))
    for left_out in range(1 << len(sections)):
        parts = [section(code, value) for number, (code, value) in enumerate(sections) if not left_out >> number & 1]
        try:
            message = decode_message(b"".join(parts) + data(b"x"), Limits(odd_types=odd_types))
        except (Refused, ValueError):
            continue
        stamps = Stamps(sequence_number=1, enqueued_ms=1_700_000_000_000, state=0, delivery_count=0)
        try:
            _, metadata = handed_over(encode_message(message, stamps))
        except Undecodable:
            continue
        assert json.dumps([datum.python_value for datum in metadata.values()])


@pytest.mark.parametrize(
    ("sent", "shown"), [(uuid.UUID(int=5), str(uuid.UUID(int=5))), (Ulong(7), "7"), (b"\x01\xff", "01FF"), (None, None)]
)
def test_an_id_as_dotnet_shows_it(sent, shown):
    assert text_of(sent) == shown


def test_the_message_is_its_lock_token_as_dotnet_writes_it_and_the_bytes_as_they_came():
    content = amqp(data(b"x"), properties={"d": DecimalBits(bytes.fromhex("3040" + 28 * "0")), "c": Char("c")})

    handed, _ = handed_over(amqp(), content)

    second = handed.value.model_binding_data[1]
    assert uuid.UUID(bytes_le=second.content[:16]) == uuid.UUID(int=1)
    assert second.content[16:] == content
    assert (second.version, second.source) == ("1.0", "AzureServiceBusReceivedMessage")
    assert second.content_type == "application/octet-stream"


def test_the_metadata_of_a_batch_is_in_the_forms_of_the_host():
    partition = section(0x72, {Symbol("x-opt-partition-key"): "p"})
    batch = [
        amqp(data(b"x"), message_id="a", number=7, delivery_count=2, enqueued_at=ARRIVED),
        partition + amqp(data(b"x"), number=8, enqueued_at=ARRIVED, content_type="text/plain"),
    ]

    _, metadata = handed_over(*batch)

    kinds = {name: datum.type for name, datum in metadata.items()}
    values = {name: datum.python_value for name, datum in metadata.items()}
    texts = ("MessageId", "ContentType", "CorrelationId", "Subject", "Label", "To", "ReplyTo", "SessionId", "LockToken")
    assert {kinds[f"{name}Array"] for name in texts} == {"collection_string"}
    assert kinds["SequenceNumberArray"] == "collection_sint64"
    assert values["MessageIdArray"] == ["a"]
    assert values["ContentTypeArray"] == ["text/plain"]
    assert values["CorrelationIdArray"] == []
    assert values["SequenceNumberArray"] == [7, 8]
    assert values["DeliveryCountArray"] == [3, 1]
    assert values["EnqueuedTimeUtcArray"] == ["2026-11-28T15:45:16.112"] * 2
    assert values["EnqueuedTimeArray"] == ["2026-11-28T15:45:16.112+00:00"] * 2
    assert values["ExpiresAtUtcArray"] == ["9999-12-31T23:59:59.9999999"] * 2
    assert values["LockTokenArray"] == [str(uuid.UUID(int=0)), str(uuid.UUID(int=1))]
    assert values["ApplicationPropertiesArray"] == values["UserPropertiesArray"] == [{}, {}]
    assert values["MessageActions"] == {}
    assert values["Client"]["FullyQualifiedNamespace"] == "namespace.example"
    assert metadata["TransactionPartitionKeyArray"] is metadata["PartitionKeyArray"]
