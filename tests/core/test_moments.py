"""When it was said: what a time may look like, and which of several counts."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout_core.contract import read_time
from optout_core.errors import MalformedEvent
from optout_core.events import OptIn, OptOut, decode
from tests.build import MINUTE, NOW, arrival, bare, canonical, decoded, text_message

TEN = datetime(2026, 1, 23, 10, tzinfo=UTC)
MIDNIGHT = datetime(2026, 1, 24, tzinfo=UTC)

NO_TIMES: list[object] = [
    *("", "yesterday", "2026-01-23", "10:00:00Z", "1769162400", "1.5", "2026", "T", " 2026-01-23T10:00:00Z"),
    *("2026-13-01T10:00:00Z", "2026-02-30T10:00:00Z", "2026-01-23T25:00:00Z", "2026-01-23T24:00:01Z"),
    *("2026-01-23T24:30:00Z", "2026-01-23T10:60:00Z", "2026-01-23T10:00:61Z", "2026-01-23T10:00:00+24:00"),
    *("10000-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "-2026-01-23T10:00:00Z", "Fri, 23 Jan 2026 10:00:00 GMT"),
    *("/Date(1769162400000)/", "2026-01-23T10:00:00Z\0", "2026-01-23T10:00:00 Europe/Berlin", "T" * 1000),
    *(1769162400, 1769162400.5, True, [], {}, ["2026-01-23T10:00:00Z"]),
]


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-01-23T10:00:00Z", TEN),
        ("2026-01-23t10:00:00z", TEN),
        ("2026-01-23 10:00:00Z", TEN),
        ("2026-01-23T10:00Z", TEN),
        ("2026-01-23T12:00:00+02:00", TEN),
        ("2026-01-23T12:00:00+0200", TEN),
        ("2026-01-23T15:30:00+05:30", TEN),
        ("2026-01-22T20:00:00-14:00", TEN),
        ("2026-01-23T10:00:00-00:00", TEN),
        ("2026-01-23T10:00:00.5Z", TEN + timedelta(milliseconds=500)),
        ("2026-01-23T10:00:00,5Z", TEN + timedelta(milliseconds=500)),
        ("2026-01-23T10:00:00.1234567Z", TEN + timedelta(microseconds=123456)),
        ("2026-01-23T10:00:00.123456789+00:00", TEN + timedelta(microseconds=123456)),
        # the basic format of ISO 8601
        ("20260123T100000Z", TEN),
        ("20260123T1000Z", TEN),
        ("20260123T120000+0200", TEN),
        ("20260123T100000.5Z", TEN + timedelta(milliseconds=500)),
        # a leap second is the second after 59
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2017-01-01T00:59:60+01:00", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60.5Z", datetime(2017, 1, 1, 0, 0, 0, 500000, UTC)),
        ("20161231T235960Z", datetime(2017, 1, 1, tzinfo=UTC)),
        # 24:00 is the midnight that ends the day
        ("2026-01-23T24:00:00Z", MIDNIGHT),
        ("2026-01-23T24:00Z", MIDNIGHT),
        ("2026-01-23T24:00:00.000Z", MIDNIGHT),
        ("2026-01-23T24:00:00+00:00", MIDNIGHT),
        ("2026-01-23 24:00:00Z", MIDNIGHT),
        ("20260123T240000Z", MIDNIGHT),
        ("2026-12-31T24:00:00Z", datetime(2027, 1, 1, tzinfo=UTC)),
        # the ends of the calendar
        ("0001-01-01T00:00:01Z", datetime(1, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)),
    ],
)
def test_a_time_is_read_as_rfc_3339_and_iso_8601_write_it(written, moment):
    assert read_time(written) == moment
    assert read_time(written).utcoffset() == timedelta(0)
    assert decoded(canonical(time=written), enqueued_at=datetime.max.replace(tzinfo=UTC)).time == moment


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("2026-01-23T10:00:00", "time: a time needs a UTC offset, such as Z or +02:00"),
        ("0001-01-01T00:00:00+14:00", "time: a time must lie between the years 1 and 9999"),
        ("9999-12-31T23:59:59-14:00", "time: a time must lie between the years 1 and 9999"),
        ("9999-12-31T24:00:00Z", "time: a time must lie between the years 1 and 9999"),
        ("9999-12-31T23:59:60Z", "time: a time must lie between the years 1 and 9999"),
        *((written, "time: a time is a string such as 2026-01-23T10:00:00Z") for written in NO_TIMES),
    ],
)
def test_what_is_no_time_with_an_offset_is_refused_in_words(written, said):
    with pytest.raises(MalformedEvent) as refused:
        decoded(canonical(time=written))
    with pytest.raises(MalformedEvent) as evidence:
        decoded(canonical(data=bare() | {"consent": {"capturedAt": written}}))

    assert str(refused.value) == said
    assert str(evidence.value) == said.replace("time:", "data.consent.capturedAt:", 1)


@pytest.mark.parametrize(
    "written", ["", "yesterday", "2026-01-23T10:00:00", 7, [], True, "9999-12-31T23:59:59-14:00", "x" * 10_000]
)
def test_a_stop_whose_time_cannot_be_read_counts_from_its_arrival(written):
    for event in (
        text_message("STOP", received=written, eventTime=written),
        canonical(type="sms.opt-out.v1", time=written),
    ):
        assert decoded(event).time == NOW - MINUTE


@pytest.mark.parametrize("event", [canonical(type="sms.opt-out.v1", time="2026-01-24T00:00:00Z")], ids=["upstream"])
def test_nobody_can_have_said_stop_after_we_heard_of_it(event):
    assert decoded(event).time == NOW - MINUTE


@given(
    moment=st.datetimes(
        datetime(1, 1, 3),  # noqa: DTZ001 - hypothesis adds the zone
        datetime(9999, 12, 29),  # noqa: DTZ001 - hypothesis adds the zone
        timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    )
)
def test_every_moment_of_the_calendar_is_read_as_it_is_written(moment):
    assert read_time(moment.isoformat()) == moment
    assert read_time(moment.strftime("%Y").zfill(4) + moment.strftime("%m%dT%H%M%S.%f%z")) == moment


@given(
    written=st.text(max_size=40)
    | st.text("0123456789-:TZ+.,tz \u0661", max_size=32)
    | st.from_regex(
        r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}[T ][0-9]{2}:?[0-9]{2}(:?[0-9]{2})?([.,][0-9]{1,9})?(Z|[+-][0-9]{4})",
        fullmatch=True,
    )
)
def test_any_text_is_a_time_or_a_value_error(written):
    try:
        moment = read_time(written)
    except ValueError:
        return
    assert read_time(moment.isoformat()) == moment


# --- which time counts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [bare(), canonical(time=None), text_message("START", received=None, eventTime=None)])
def test_an_opt_in_that_says_no_time_is_as_old_as_its_first_message(body):
    """Sent back by hand after ten days it is ten days old, or it would pass for newer than a STOP in between."""
    sent_back = {"optout-first-enqueued": (NOW - timedelta(days=10)).isoformat()}

    assert decoded(body).time == NOW - MINUTE
    assert decoded(body, properties=sent_back).time == NOW - timedelta(days=10)


@pytest.mark.parametrize(
    "first", ["2026-01-22T10:00:00Z", "2026-01-22T10:00:00", datetime(2026, 1, 22, 10, tzinfo=UTC)]
)
def test_a_time_later_than_the_first_message_does_not_count(first):
    event = decoded(canonical(time="2026-01-23T11:50:00Z"), properties={"optout-first-enqueued": first})

    assert event.time == datetime(2026, 1, 22, 10, tzinfo=UTC)


@pytest.mark.parametrize("first", ["2027-01-01T00:00:00Z", "yesterday", 10**30, None, b"x"])
def test_a_first_message_that_came_after_this_one_or_never_changes_nothing(first):
    assert decoded(bare(), properties={"optout-first-enqueued": first}).time == NOW - MINUTE


def test_the_evidence_of_an_earlier_moment_counts():
    captured = bare() | {"consent": {"capturedAt": "2026-01-20T00:00:00Z"}}

    assert decoded(canonical(data=captured)).time == datetime(2026, 1, 20, tzinfo=UTC)


def test_every_text_of_an_array_has_its_own_time():
    texts = [text_message("STOP"), text_message("START", received="2026-01-23T11:00:00Z", id="2")]

    times = [event.time for event in decode(arrival(texts)) if isinstance(event, OptIn | OptOut)]

    assert times == [NOW - 5 * MINUTE, NOW - 60 * MINUTE]
