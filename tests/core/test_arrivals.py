"""What the broker hands us, and the lineage that travels in its properties."""

from datetime import UTC, datetime

import pytest

from optout_core.arrivals import Lineage, moment, read_lineage
from tests.build import MINUTE, NOW, OUR_ID, TRACEPARENT, arrival


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

    assert read_lineage(arrival(message_id=OUR_ID, properties=properties, correlation_id="c-1")) == Lineage(
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

    lineage = read_lineage(arrival(message_id=OUR_ID, properties=dict.fromkeys(names, count)))

    assert lineage == read_lineage(arrival())


def test_what_counts_for_or_against_a_recipient_is_believed_only_on_a_message_that_we_sent():
    """A publisher that sets `optout-attempt` to 5 would have the first failure called the last."""
    names = ("optout-attempt", "optout-of", "optout-replay-count", "optout-alone")

    lineage = read_lineage(arrival(properties=dict.fromkeys(names, 1) | {"optout-replay-id": "r-1"}))

    assert lineage == read_lineage(arrival())


def test_a_hop_is_believed_of_anybody_since_one_that_begins_anew_could_repeat_an_id():
    assert read_lineage(arrival(properties={"optout-hop": 7})).hop == 7


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("traceparent", "00-1-2-01"),
        ("traceparent", "+15555555551"),
        ("Diagnostic-Id", "|4bf92f35.1."),
        ("tracestate", "phone +15555555551"),
        ("tracestate", "vendor=15555555551"),
        ("tracestate", "a=b,vendor=cust_15555555551"),
        ("tracestate", "a=" + "b" * 512),
        ("tracestate", "a=b\nc=d"),
    ],
)
def test_a_trace_context_that_is_none_or_holds_a_number_is_not_carried_on(name, value):
    assert read_lineage(arrival(properties={name: value})).trace == {}


@pytest.mark.parametrize("state", ["a=b", "vendor=t61rcWkgMzE,a-b/c*d_1@e=x:1.2", "a=b, c=d"])
def test_a_trace_state_without_a_number_is_carried_on(state):
    assert read_lineage(arrival(properties={"tracestate": state})).trace == {"tracestate": state}


@pytest.mark.parametrize(
    "replay_id", ["replay 9", "x" * 65, "15555555551", "+15555555551", "r-1555-555-5551", "r\x1b[31m"]
)
def test_a_replay_id_that_is_none_of_ours_counts_as_absent(replay_id):
    assert read_lineage(arrival(message_id=OUR_ID, properties={"optout-replay-id": replay_id})).replay_id is None


def test_a_replay_id_of_ours_is_carried_on():
    assert read_lineage(
        arrival(message_id=OUR_ID, properties={"optout-replay-id": "20260123T100000Z-0a1b2c"})
    ).replay_id


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 23, 10, tzinfo=UTC),
        datetime(2026, 1, 23, 10),  # noqa: DTZ001 - as a client may give it
        "2026-01-23T10:00:00",
        "2026-01-23T12:00:00+02:00",
        1_769_162_400_000,
        639_047_592_000_000_000,
    ],
    ids=["aware", "naive", "text", "text with a zone", "milliseconds", "ticks of .NET"],
)
def test_a_time_property_is_read_in_every_type_in_which_clients_send_times(value):
    assert moment(value) == datetime(2026, 1, 23, 10, tzinfo=UTC)


@pytest.mark.parametrize("value", [-62_135_596_800_000, 253_402_300_799_999, 3_155_378_975_999_999_999])
def test_the_first_and_the_last_moment_can_be_read(value):
    assert moment(value) is not None


@pytest.mark.parametrize("value", [-62_135_596_800_001, 3_155_378_976_000_000_000, 2**64, True, 1.5, None, "", b"x"])
def test_what_is_no_time_is_none(value):
    assert moment(value) is None
