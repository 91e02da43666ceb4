"""Any message of AMQP is read: the function takes it whole from the host, `optout` from the client library."""

import json
import struct
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from azure.servicebus import ServiceBusReceivedMessage
from azurefunctions.extensions.base import Datum
from hypothesis import given, reject
from hypothesis import strategies as st

from optout_core.adapters import received
from optout_core.amqp import decode as amqp_message
from optout_core.arrivals import read_lineage
from optout_core.errors import EventError, MalformedEvent
from optout_core.events import OptIn, OptOut, decode
from optout_core.messages import undecodable
from servicebus_sandbox.amqp import Array, Char, DecimalBits, Described, Float, Symbol, Timestamp, Uint, Ulong
from tests.adapters.function import amqp, converted, data, handed_over, section, sequence, value, whole
from tests.build import MINUTE, NOW, bare, canonical, wire

EVENT = wire(canonical())
#: 33802.4489 as .NET writes it, IEEE 754 in its binary integer encoding.
DECIMAL = DecimalBits(bytes.fromhex("3038000000000000000000001425d829"))


def read(content, **metadata):
    """Read one message that the host handed over."""
    [message] = whole(content, **metadata)
    return message.arrival(NOW)


def without_metadata(content):
    """Read one message beside which the host sent nothing."""
    handed, _ = handed_over(amqp())
    handed.value.model_binding_data[0].content = bytes(16) + content
    [message] = converted(handed, {})
    return message.arrival(NOW)


def test_a_message_is_taken_as_it_came():
    content = amqp(
        data(b"\xff", b"bytes"),
        message_id="m-1",
        content_type="application/json",
        correlation_id="c-1",
        enqueued_at=NOW - MINUTE,
        properties={"tenant": "contoso", "score": 1.5, "tries": Uint(3), "test": True, "none": None},
    )

    taken = read(content)

    assert (taken.body, taken.message_id, taken.id) == (b"\xffbytes", "m-1", "m-1")
    assert (taken.content_type, taken.correlation_id, taken.enqueued_at) == ("application/json", "c-1", NOW - MINUTE)
    assert taken.properties == {"tenant": "contoso", "score": 1.5, "tries": 3, "test": True, "none": None}
    assert taken.unreadable is None


def test_what_the_publisher_left_out_is_none():
    taken = read(amqp(value(None)))

    assert (taken.message_id, taken.content_type, taken.correlation_id, taken.properties) == (None, None, None, {})
    assert taken.body == b""


@pytest.mark.parametrize(
    "body",
    [
        data(EVENT),
        data(EVENT[:9], EVENT[9:]),
        value(EVENT.decode()),
        value(EVENT),
        sequence(EVENT),
        sequence(EVENT.decode()),
    ],
    ids=["data", "two data sections", "text", "binary", "sequence of a binary", "sequence of a text"],
)
def test_a_body_in_any_form_that_is_one_text_or_binary_is_the_event(body):
    [event] = decode(read(amqp(body)))

    assert isinstance(event, OptIn)


@pytest.mark.parametrize(
    ("body", "said", "kept"),
    [
        (value(bare()), "the body is an AMQP map", bare()),
        (value([1, "a", b"\xff", UUID(int=5)]), "the body is an AMQP list", [1, "a", "FF", str(UUID(int=5))]),
        (value({Symbol("deep"): [{"x": None}]}), "the body is an AMQP map", {"deep": [{"x": None}]}),
        (value(7), "the body is an AMQP number", 7),
        (value(False), "the body is an AMQP boolean", False),
        (value(UUID(int=5)), "the body is an AMQP uuid", str(UUID(int=5))),
        (sequence(EVENT.decode(), "b"), "the body is an AMQP sequence of 2 values", [EVENT.decode(), "b"]),
        (sequence(), "the body is an AMQP sequence of 0 values", []),
    ],
)
def test_a_body_that_is_no_text_is_malformed_by_name_and_its_content_is_kept_as_json(body, said, kept):
    taken = read(amqp(body))

    with pytest.raises(MalformedEvent, match=said):
        decode(taken)
    assert json.loads(taken.body) == kept


@pytest.mark.parametrize("body", [value({"price": DECIMAL}), value(Char("x")), data(EVENT) + value(DECIMAL)])
def test_a_body_that_is_not_read_is_malformed_with_its_bytes_kept(body):
    taken = read(amqp(body, message_id="m-1"))

    with pytest.raises(MalformedEvent, match="a decimal, a char or broken bytes"):
        decode(taken)
    assert taken.body
    assert body.endswith(taken.body)
    assert taken.message_id == "m-1"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Ulong(7), "7"),
        (Ulong(2**64 - 1), "18446744073709551615"),
        (b"\x01\xff", "01FF"),
        ("text", "text"),
        (b"text", "text"),
    ],
)
def test_an_id_of_another_type_than_text_is_shown_as_dotnet_shows_it(given, shown):
    taken = read(amqp(data(EVENT), message_id=given, correlation_id=given))

    assert (taken.message_id, taken.correlation_id) == (shown, shown)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (2**31, 2**31),
        (-(2**63), -(2**63)),
        (Ulong(2**64 - 1), 2**64 - 1),
        (Float(0.5), 0.5),
        (UUID(int=5), UUID(int=5)),
        (Symbol("s"), "s"),
        (b"\x00\xff", "AP8="),
        (Timestamp(1_769_162_400_000), 1_769_162_400_000),
        (Described(Symbol("com.microsoft:uri"), "urn:x"), "urn:x"),
        (Described(Symbol("com.microsoft:timespan"), 36_000_000_000), 36_000_000_000),
        (["a", {"b": None}, b"\xff"], '["a", {"b": null}, "FF"]'),
        (Array([1, 2]), "[1, 2]"),
        ({"a": UUID(int=5)}, '{"a": "00000000-0000-0000-0000-000000000005"}'),
    ],
)
def test_a_property_keeps_its_type_or_becomes_text_that_can_be_sent_on(given, kept):
    found = ServiceBusReceivedMessage.from_bytes(amqp(data(EVENT), properties={"x": given}))

    taken = received.read(received.within(found), NOW)

    assert taken.properties == {"x": kept}
    assert type(taken.properties["x"]) is type(kept)


@pytest.mark.parametrize(
    ("odd", "from_the_host"),
    [(DECIMAL, 33802.4489), (Char("x"), "x")],
)
def test_properties_that_are_not_read_are_those_that_the_host_sends_beside(odd, from_the_host):
    properties = {"odd": odd, "optout-attempt": 2, "cloudEvents:type": "x", "when": Timestamp(1_769_162_400_000)}
    neighbour = amqp(data(EVENT), properties={"tenant": "contoso"})

    first, second = whole(amqp(data(EVENT), message_id="m-1", properties=properties), neighbour)

    assert first.arrival(NOW).properties == {
        "odd": from_the_host,
        "optout-attempt": 2,
        "cloudEvents:type": "x",
        "when": "2026-01-23T10:00:00Z",
    }
    assert (first.arrival(NOW).body, first.arrival(NOW).message_id) == (EVENT, "m-1")
    assert second.arrival(NOW).properties == {"tenant": "contoso"}


@pytest.mark.parametrize("array", [[{}, {}], [7], "no array", None], ids=str)
def test_without_those_the_message_is_malformed_since_they_may_be_the_attributes_of_an_opt_out(array):
    taken = read(
        amqp(data(wire(bare())), properties={"odd": DECIMAL}, message_id="m-1"),
        ApplicationPropertiesArray=Datum(json.dumps(array), "json"),
    )

    with pytest.raises(MalformedEvent, match="an application property is a decimal"):
        decode(taken)
    assert (taken.body, taken.message_id) == (wire(bare()), "m-1")


def test_bytes_that_are_no_message_are_malformed_and_kept():
    taken = without_metadata(b"no message")

    with pytest.raises(MalformedEvent, match="no AMQP message"):
        decode(taken)
    assert taken.body == b"no message"


@pytest.mark.parametrize("milliseconds", [2**62, -(2**62)])
def test_a_date_that_cannot_be_read_is_now_for_that_message_alone_and_said(milliseconds, caplog):
    odd = amqp(data(EVENT), enqueued_at=NOW - MINUTE)
    stamp = struct.pack(">q", int((NOW - MINUTE).timestamp() * 1000))
    handed, metadata = handed_over(odd, odd)
    handed.value.model_binding_data[0].content = handed.value.model_binding_data[0].content.replace(
        stamp, struct.pack(">q", milliseconds)
    )
    del metadata["EnqueuedTimeUtcArray"]

    first, second = (message.arrival(NOW) for message in converted(handed, metadata))

    assert (first.enqueued_at, second.enqueued_at) == (NOW, NOW - MINUTE)
    assert isinstance(decode(first)[0], OptIn)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_time_of_arrival_that_cannot_be_read_is_the_one_that_the_host_sends_beside():
    odd = amqp(data(EVENT), enqueued_at=NOW - MINUTE)
    handed, metadata = handed_over(odd)
    stamp = struct.pack(">q", int((NOW - MINUTE).timestamp() * 1000))
    one = handed.value.model_binding_data[0]
    one.content = one.content.replace(stamp, struct.pack(">q", 2**62))

    [message] = converted(handed, metadata)

    assert message.arrival(NOW).enqueued_at == NOW - MINUTE


def test_a_delivery_count_that_is_no_number_is_none():
    assert without_metadata(section(0x70, [None] * 4 + ["many"]) + data(EVENT)).delivery_count == 0


def test_sections_of_another_type_than_amqp_gives_them_are_empty():
    content = section(0x72, ["x"]) + section(0x74, ["y"]) + data(EVENT)

    by_library = received.read(received.within(ServiceBusReceivedMessage.from_bytes(content)), NOW)
    by_function = without_metadata(content)

    assert (by_library.body, by_library.properties) == (by_function.body, by_function.properties) == (EVENT, {})
    assert by_function.unreadable == "an application property is a decimal, a char or broken"


def test_nobodys_metadata_is_anothers():
    """The host leaves empty entries out of its arrays of texts, so that entry i is not message i's."""
    batch = [
        amqp(data(EVENT), message_id="g0"),
        amqp(data(EVENT)),
        amqp(data(EVENT), message_id="g2", content_type="text/last", correlation_id="c2"),
    ]
    _, metadata = handed_over(*batch)

    taken = [message.arrival(NOW) for message in whole(*batch)]

    assert metadata["MessageIdArray"].python_value == ["g0", "g2"]
    assert metadata["CorrelationIdArray"].python_value == ["c2"]
    assert [(each.message_id, each.content_type, each.correlation_id) for each in taken] == [
        ("g0", None, None),
        (None, None, None),
        ("g2", "text/last", "c2"),
    ]


STRANGE = {
    "an id": amqp(data(b"garbled"), message_id="m-1", number=4, enqueued_at=NOW),
    "no id": amqp(data(b"garbled"), number=4, enqueued_at=NOW),
    "a decimal property": amqp(data(b"garbled"), properties={"d": DECIMAL}, number=4, enqueued_at=NOW),
    "a decimal property and an id": amqp(
        data(b"x"), message_id="m", properties={"d": DECIMAL}, number=4, enqueued_at=NOW
    ),
    "a decimal body": amqp(value(DECIMAL), number=4, enqueued_at=NOW),
}


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE)
def test_the_id_of_a_dead_letter_is_the_same_at_every_delivery_whatever_batch_it_comes_in(content):
    def letter(position, delivery_count, neighbours, now):
        again = content.replace(
            section(0x70, [None, None, None, None, Uint(0)]), section(0x70, [None] * 4 + [Uint(delivery_count)])
        ).replace(
            struct.pack(">q", int(NOW.timestamp() * 1000) + 300_000),
            struct.pack(">q", int(NOW.timestamp() * 1000) + 300_000 * (delivery_count + 1)),
        )
        batch = [*neighbours[:position], again, *neighbours[position:]]
        taken = whole(*batch)[position].arrival(now)
        with pytest.raises(EventError) as raised:
            decode(taken)
        return undecodable(taken, read_lineage(taken), raised.value).message_id

    others = [amqp(data(EVENT), message_id=f"other-{number}", correlation_id="c", number=9) for number in range(3)]

    ids = {
        letter(0, 0, [], NOW),
        letter(2, 1, others, NOW + MINUTE),
        letter(1, 2, others[:1], NOW + timedelta(hours=1)),
    }

    assert len(ids) == 1


def test_the_time_of_a_binary_mode_event_may_be_a_timestamp_or_a_date_of_dotnet():
    ticks = Described(
        Symbol("com.microsoft:datetime-offset"),
        int((NOW - MINUTE - datetime(1, 1, 1, tzinfo=UTC)).total_seconds()) * 10**7,
    )
    attributes = {"cloudEvents:specversion": "1.0", "cloudEvents:type": "sms.opt-out.v1", "cloudEvents:source": "s"}

    events = [
        decode(
            read(
                amqp(
                    data(wire(bare())),
                    properties=attributes | {"cloudEvents:id": UUID(int=5), "cloudEvents:time": time},
                )
            )
        )[0]
        for time in (Timestamp(int((NOW - MINUTE).timestamp() * 1000)), ticks, (NOW - MINUTE).isoformat())
    ]

    assert [event.time for event in events if isinstance(event, OptOut)] == [NOW - MINUTE] * 3
    assert {event.id.raw for event in events} == {str(UUID(int=5))}


@pytest.mark.parametrize("change", [{"source": "other"}, {"version": "2.0"}])
def test_a_host_that_hands_over_something_else_fails_the_invocation_and_judges_no_message(change):
    handed, metadata = handed_over(amqp(data(EVENT)))
    vars(handed.value.model_binding_data[0]).update(change)

    [message] = converted(handed, metadata)

    with pytest.raises(ValueError, match="nothing is lost"):
        message.arrival(NOW)


def test_a_host_that_does_not_know_whole_messages_is_told_of():
    with pytest.raises(ValueError, match="collection_bytes"):
        converted(Datum(None, "collection_bytes"), {})


_SIMPLE = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(0, 2**64 - 1).map(Ulong)
    | st.integers(0, 2**32 - 1).map(Uint)
    | st.floats(allow_nan=False)
    | st.floats(width=32, allow_nan=False).map(Float)
    | st.integers(-(2**63), 2**63 - 1).map(Timestamp)
    | st.uuids()
    | st.text(max_size=300)
    | st.binary(max_size=300)
    | st.text("abc-:", max_size=300).map(Symbol)
)
_ANY = st.recursive(
    _SIMPLE | st.builds(Described, st.text("abc:").map(Symbol), _SIMPLE),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=9), inner, max_size=4)
        | st.lists(st.integers(0, 9), max_size=4).map(Array)
    ),
    max_leaves=9,
)
_IDS = st.none() | st.text(max_size=130) | st.binary(max_size=130) | st.uuids() | st.integers(0, 2**64 - 1).map(Ulong)
_TEXTS = st.none() | st.text("abc/+", max_size=300).map(Symbol)
_BODIES = (
    st.lists(st.binary(max_size=300), max_size=3).map(lambda each: data(*each))
    | _ANY.map(value)
    | st.lists(st.lists(_ANY, max_size=3), max_size=2).map(lambda each: b"".join(sequence(*one) for one in each))
)


@given(
    body=_BODIES,
    properties=st.dictionaries(st.text(max_size=300), _ANY, max_size=4),
    message_id=_IDS,
    correlation_id=_IDS,
    content_type=_TEXTS,
)
def test_what_the_client_library_reads_is_read_alike(body, **facts):
    content = amqp(body, **facts)

    try:
        by_library = ServiceBusReceivedMessage.from_bytes(content)
    except ValueError:
        reject()
    assert received.read(amqp_message(content), NOW) == received.read(received.within(by_library), NOW)
    assert received.enqueued_at(amqp_message(content)) == received.enqueued_at(received.within(by_library))


REAL = amqp(
    data(EVENT),
    message_id="m-1",
    content_type="application/json",
    correlation_id="c",
    properties={"a": 1, "b": "text", "c": Timestamp(5), "d": b"\xff", "e": UUID(int=5)},
)


@given(
    cuts=st.lists(
        st.tuples(st.integers(0, len(REAL) - 1), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=4
    )
)
def test_bent_bytes_end_as_event_or_dead_letter_and_never_raise(cuts):
    content = bytearray(REAL)
    for position, length, instead in cuts:
        content[position : position + length] = instead

    taken = without_metadata(bytes(content))

    with suppress(EventError):
        decode(taken)
    letter = undecodable(taken, read_lineage(taken), MalformedEvent("bent"))
    assert letter.body == taken.body
