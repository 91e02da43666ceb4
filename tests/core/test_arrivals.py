"""What the broker hands us, and the lineage that travels in its properties."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from optout_core.arrivals import Lineage, from_trigger, read_lineage
from tests.build import MINUTE, NOW, TRACEPARENT, arrival


def trigger(**fields):
    """What the trigger gives; what is not named was left out by the host."""
    left_out = dict.fromkeys(("message_id", "content_type", "correlation_id", "enqueued_time_utc"))
    message = SimpleNamespace(**(left_out | {"application_properties": None} | fields))
    message.get_body = lambda: b"\xffbytes"
    return message


def test_a_message_is_taken_as_it_came():
    message = trigger(
        message_id="m-1",
        content_type="application/json",
        correlation_id="c-1",
        enqueued_time_utc=NOW - MINUTE,
        application_properties={"tenant": "contoso", "score": 1.5, "tries": 3, "test": True, "none": None},
    )

    taken = from_trigger(message, NOW)

    assert (taken.body, taken.message_id, taken.id) == (b"\xffbytes", "m-1", "m-1")
    assert (taken.content_type, taken.correlation_id, taken.enqueued_at) == ("application/json", "c-1", NOW - MINUTE)
    assert taken.properties == {"tenant": "contoso", "score": 1.5, "tries": 3, "test": True, "none": None}


def test_what_the_host_left_out_is_none_and_the_time_is_now():
    taken = from_trigger(trigger(), NOW)

    assert (taken.message_id, taken.content_type, taken.correlation_id) == (None, None, None)
    assert taken.enqueued_at == NOW
    assert taken.properties == {}


def test_a_time_of_arrival_without_a_zone_is_utc():
    taken = from_trigger(trigger(enqueued_time_utc=datetime(2026, 1, 23, 11)), NOW)  # noqa: DTZ001 - as the host may send it

    assert taken.enqueued_at == datetime(2026, 1, 23, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "carried"),
    [
        (2**31 - 1, 2**31 - 1),
        (-(2**31), -(2**31)),
        (2**31, "2147483648"),
        (1_769_162_400_000, "1769162400000"),
        (-(2**31) - 1, "-2147483649"),
        (10**30, "1" + "0" * 30),
        ("half \ud83d", "half ?"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_a_property_that_the_client_could_not_send_on_becomes_text(value, carried):
    taken = from_trigger(trigger(application_properties={"x": value, "\ud83d": 1}), NOW)

    assert taken.properties == {"x": carried, "?": 1}
    assert type(taken.properties["x"]) is type(carried)


def test_the_first_delivery_has_no_lineage():
    assert read_lineage(arrival()) == Lineage(attempt=0, hop=0, first_enqueued=NOW - MINUTE)


def test_a_lineage_is_read_from_the_properties():
    properties = {
        "optout-attempt": 2,
        "optout-hop": "5",
        "optout-first-enqueued": "2026-01-23T10:00:00+00:00",
        "optout-of": 7,
        "optout-replay-id": "replay-9",
        "optout-replay-count": 3,
        "traceparent": TRACEPARENT,
        "tracestate": "a=b",
        "Diagnostic-Id": TRACEPARENT,
    }

    assert read_lineage(arrival(properties=properties, correlation_id="c-1")) == Lineage(
        attempt=2,
        hop=5,
        first_enqueued=datetime(2026, 1, 23, 10, tzinfo=UTC),
        of=7,
        replay_id="replay-9",
        replay_count=3,
        trace={"traceparent": TRACEPARENT, "tracestate": "a=b", "Diagnostic-Id": TRACEPARENT},
        correlation_id="c-1",
    )


@pytest.mark.parametrize("count", [-1, "-1", True, 1.0, 1_000_000, "1000000", "9" * 5000, "٣", "", "x", None, [1]])
def test_a_count_that_makes_no_sense_counts_as_absent(count):
    names = ("optout-attempt", "optout-hop", "optout-of", "optout-replay-count")

    lineage = read_lineage(arrival(properties=dict.fromkeys(names, count)))

    assert lineage == read_lineage(arrival())


@pytest.mark.parametrize("value", ["", "yesterday", 7, None, True])
def test_a_first_arrival_that_makes_no_sense_counts_as_absent(value):
    assert read_lineage(arrival(properties={"optout-first-enqueued": value})).first_enqueued == NOW - MINUTE


@pytest.mark.parametrize(
    "value", [datetime(2026, 1, 23, 10, tzinfo=UTC), "2026-01-23T10:00:00", "2026-01-23T10:00:00Z"]
)
def test_a_first_arrival_may_be_a_time_or_text_and_is_utc_unless_it_says_otherwise(value):
    lineage = read_lineage(arrival(properties={"optout-first-enqueued": value}))

    assert lineage.first_enqueued == datetime(2026, 1, 23, 10, tzinfo=UTC)


@pytest.mark.parametrize("value", ["", 7, None])
def test_a_replay_id_or_trace_that_is_no_text_counts_as_absent(value):
    lineage = read_lineage(arrival(properties={"optout-replay-id": value, "traceparent": value or None}))

    assert lineage.replay_id is None
    assert lineage.trace == {}
