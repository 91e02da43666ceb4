"""Nothing an event contains may raise anything but EventError: bytes, JSON and properties that mean harm."""

import asyncio
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout_core.arrivals import Arrival, read_lineage
from optout_core.errors import EventError, MalformedEvent
from optout_core.events import OptIn, OptOut, decode, encode
from optout_core.messages import undecodable
from tests.build import NOW, OTHER, SENDER, arrival, bare, canonical, decoded, text_message, wire
from tests.core.job import Job
from tests.core.strategies import json_values, mutated, opt_ins, times

binary_properties = {
    "cloudEvents:specversion": "1.0",
    "cloudEvents:type": "sms.opt-in.v1",
    "cloudEvents:source": "shop",
    "cloudEvents:id": "1",
    "cloudEvents:time": "2026-01-23T10:00:00Z",
}
ours = ["optout-attempt", "optout-hop", "optout-first-enqueued", "optout-of", "optout-replay-id", "traceparent"]
odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(2**63),
    st.floats(),
    st.text(max_size=20),
    st.uuids(),
)
odd_properties = st.dictionaries(st.text(max_size=20) | st.sampled_from([*binary_properties, *ours]), odd_values)


def open_as_the_processor_does(message: Arrival):
    """Decode and make the dead letter of what cannot be; give the events."""
    lineage = read_lineage(message)
    try:
        events = decode(message)
    except EventError as error:
        letter = undecodable(message, lineage, error)
        assert letter.body == message.body
        assert len(letter.message_id) <= 128
        return ()
    assert events
    for event in events:
        if isinstance(event, OptIn | OptOut):
            assert isinstance(NOW - event.time, timedelta)
            assert event.sender.is_clear
            assert event.recipients
        if isinstance(event, OptIn):
            assert decode(arrival(encode(event), enqueued_at=message.enqueued_at)) == (event,)
    return events


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"\xef\xbb\xbf",
        b"null",
        b"true",
        b"42",
        b'"START"',
        b"[]",
        b"{}",
        b"[[]]",
        b"[null]",
        b"{]",
        b'{"from":',
        b"\xff\xfe",
        b"\x00" * 100,
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"data":' * 900 + b"1" + b"}" * 900,
        b"-Infinity",
        b'{"from": "\x01"}',
        b'{"from": "\\x"}',
        b"1" * 100_000,
    ],
    ids=lambda body: f"{body[:12]!r} ({len(body)} bytes)",
)
def test_what_is_no_event_is_malformed(body):
    with pytest.raises(MalformedEvent):
        decode(arrival(body))


def test_a_field_named_twice_is_malformed_wherever_it_stands():
    body = wire(canonical()).replace(b'"consent"', b'"x"').replace(b'"to":', b'"to": "+1", "to":', 1)

    with pytest.raises(MalformedEvent, match="twice"):
        decode(arrival(body))


@pytest.mark.parametrize("number", ["1" * 5000, "-" + "9" * 400, "1e999", "-1e-999", "12345678901234567890"])
def test_a_huge_number_that_nobody_reads_does_no_harm(number):
    body = wire(bare() | {"x": 0}).replace(b'"x": 0', b'"x": ' + number.encode())

    assert isinstance(decoded(body), OptIn)


@pytest.mark.parametrize("number", ["1" * 5000, "1e999", "1.5", "NaN"])
def test_a_huge_number_that_somebody_reads_is_malformed(number):
    body = wire(bare("+1")).replace(b'"+1"', number.encode())

    with pytest.raises(MalformedEvent):
        decode(arrival(body))


@pytest.mark.parametrize("escaped", ["", "\\u003c"])
def test_an_integer_that_is_no_number_is_refused_by_itself(escaped):
    body = wire(bare("+1", "+15555555551") | {"x": ""}).replace(b'"+1"', b"9" * 400)

    event = decoded(body.replace(b'"x": ""', f'"x": "{escaped}"'.encode()))

    assert [to.is_clear for to in event.recipients] == [False, True]


def test_deep_nesting_in_a_field_nobody_reads_is_tolerated():
    body = wire(bare() | {"x": 0}).replace(b'"x": 0', b'"x": ' + b"[" * 300 + b"]" * 300)

    assert isinstance(decoded(body), OptIn)


def test_the_error_text_never_holds_the_document():
    for body in (f'{{"from": {SENDER}}}', f'{{"from": "{SENDER}", "recipients": 15555555551}}', f'"{SENDER}'):
        with pytest.raises(MalformedEvent) as refused:
            decode(arrival(body.encode()))
        assert "5555" not in str(refused.value)
        assert SENDER not in str(refused.value)


@given(body=st.binary(max_size=200))
def test_arbitrary_bytes_end_as_event_or_dead_letter(body):
    open_as_the_processor_does(arrival(body))


@given(document=json_values)
def test_arbitrary_json_ends_as_event_or_dead_letter(document):
    open_as_the_processor_does(arrival(json.dumps(document).encode()))


@given(
    document=mutated(
        st.sampled_from(
            [
                canonical(data=bare() | {"consent": {"capturedAt": "2026-01-23T10:00:00Z", "method": "web"}}),
                canonical(type="sms.opt-out.v1"),
                bare(),
                text_message("START"),
                text_message("STOP"),
                [text_message("START"), canonical()],
                {"specVersion": "1.0", "source": "s", "id": "1", "type": "Microsoft.Communication.SMSReceived"}
                | {"data": {"From": "15555555551", "To": "18001234567", "Message": "Start"}},
            ]
        )
    )
)
def test_a_bent_event_ends_as_event_or_dead_letter(document):
    open_as_the_processor_does(arrival(json.dumps(document).encode()))


@given(properties=odd_properties, message_id=st.none() | st.text(max_size=128))
def test_arbitrary_properties_end_as_event_or_dead_letter(properties, message_id):
    for body in (wire(bare()), wire(canonical()), b"\xff"):
        open_as_the_processor_does(arrival(body, properties=properties, message_id=message_id))


@given(properties=mutated(st.just(binary_properties)).filter(lambda value: isinstance(value, dict)))
def test_bent_attributes_of_binary_mode_end_as_event_or_dead_letter(properties):
    open_as_the_processor_does(arrival(bare(), properties=properties, message_id=None))


@given(said=times, captured=times, arrived=times)
def test_any_three_times_are_compared_and_written_down(said, captured, arrived):
    consent = {"capturedAt": captured.isoformat()}
    body = canonical(time=said.isoformat(), data=bare() | {"consent": consent})

    (event,) = open_as_the_processor_does(arrival(body, enqueued_at=arrived))

    assert event.time == min(said, captured, arrived)


@given(opt_in=opt_ins())
def test_encoding_and_decoding_an_opt_in_gives_the_same_opt_in(opt_in):
    assert decoded(encode(opt_in)) == opt_in


@given(opt_in=opt_ins(), choose=st.data())
def test_encoding_some_recipients_gives_the_opt_in_of_those(opt_in, choose):
    some = choose.draw(st.lists(st.sampled_from(opt_in.recipients), min_size=1, unique=True))

    event = decoded(encode(opt_in, some))

    assert event.recipients == tuple(some)
    assert encode(event) == encode(opt_in, some)


@pytest.mark.parametrize("name", ["sender", "From"])
def test_only_the_published_name_of_a_field_is_read(name):
    body = {name: SENDER, **{key: value for key, value in bare().items() if key != "from"}}

    with pytest.raises(MalformedEvent):
        decoded(canonical(data=body))


@given(
    document=json_values
    | mutated(st.sampled_from([canonical(), text_message("STOP"), [text_message("START"), bare()]])),
    properties=st.dictionaries(
        st.sampled_from(["ce-specversion", "ce-type", "ce_id", "cloudEvents:time", "type", "DeadLetterReason", *ours]),
        st.sampled_from(["1.0", "sms.opt-in.v1", "sms.opt-out.v1", "NewerOptOut"]) | odd_values,
        max_size=6,
    ),
    texts=st.tuples(*[st.none() | st.text(st.characters(codec=None), max_size=20)] * 3),
)
def test_any_message_passes_through_the_whole_job_and_its_neighbour_is_applied(document, properties, texts):
    message_id, content_type, subject = texts
    body = json.dumps(document).encode()
    odd = arrival(body, properties=properties, message_id=message_id, content_type=content_type, subject=subject)
    job = Job()

    report = asyncio.run(job.process([arrival(bare(OTHER)), odd]))

    assert OTHER in job.endpoint.asked
    assert len(report.events) >= 2
