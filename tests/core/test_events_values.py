"""The values in an event: when it happened, and whose numbers it names."""

from datetime import UTC, datetime, timedelta

import pytest

from optout_core.errors import MalformedEvent
from optout_core.events import encode
from tests.build import MINUTE, NOW, PERSON, SENDER, bare, canonical, decoded, sample, text_message, texts

# --- when ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "captured", "arrived", "counts"),
    [
        ("10:00", "11:00", "11:30", "10:00"),
        ("11:00", "10:00", "11:30", "10:00"),
        ("11:00", "11:10", "10:00", "10:00"),
        (None, "10:00", "11:00", "10:00"),
        ("10:00", None, "11:00", "10:00"),
        (None, None, "11:00", "11:00"),
    ],
)
def test_the_earliest_time_that_is_known_counts_as_the_opt_in(said, captured, arrived, counts):
    consent = {"capturedAt": f"2026-01-23T{captured}:00Z"} if captured else {}
    time = f"2026-01-23T{said}:00Z" if said else None

    event = decoded(
        canonical(time=time, data=bare() | {"consent": consent}),
        enqueued_at=datetime.fromisoformat(f"2026-01-23T{arrived}:00Z"),
    )

    assert event.time == datetime.fromisoformat(f"2026-01-23T{counts}:00Z")


def test_a_text_counts_from_when_the_carrier_had_it_and_not_from_when_the_event_was_made():
    assert decoded(text_message("START")).time == datetime(2026, 1, 23, 11, 55, tzinfo=UTC)


@pytest.mark.parametrize("received", [None, ""])
def test_a_text_without_its_time_counts_from_the_event(received):
    assert decoded(text_message("START", received=received)).time == datetime(2026, 1, 23, 11, 55, 2, tzinfo=UTC)


@pytest.mark.parametrize("text", ["START", "STOP"])
def test_a_text_without_any_time_counts_from_its_arrival(text):
    assert decoded(text_message(text, received=None, eventTime=None)).time == NOW - MINUTE


@pytest.mark.parametrize("text", ["START", "STOP"])
def test_a_text_cannot_be_newer_than_its_arrival(text):
    assert decoded(text_message(text, received="2026-01-24T00:00:00Z")).time == NOW - MINUTE


def test_seven_digits_of_a_second_are_read_and_the_seventh_is_dropped():
    event = decoded(canonical(time="2020-09-18T00:27:47.1234567Z"))

    assert event.time == datetime(2020, 9, 18, 0, 27, 47, 123456, UTC)


@pytest.mark.parametrize(
    "time", ["2026-01-23T10:00:00", "2026-01-23", "yesterday", "", 1769162400, "1769162400", "1.5"]
)
def test_a_time_without_an_offset_or_that_is_a_number_is_malformed(time):
    with pytest.raises(MalformedEvent, match="time"):
        decoded(canonical(time=time))


@pytest.mark.parametrize(
    "time",
    [
        "0001-01-01T00:00:01Z",
        "0001-01-01T14:00:01+14:00",
        "9999-12-31T23:59:59.9999999Z",
        "9999-12-31T09:59:59.9999999-14:00",
        "9999-12-31T23:59:59Z",
    ],
)
def test_the_ends_of_the_calendar_are_times_like_others(time):
    opt_in = decoded(canonical(time=time))
    stop = decoded(text_message("STOP", received=time))

    assert opt_in.time == stop.time <= NOW - MINUTE
    assert decoded(encode(opt_in)).time == opt_in.time
    assert isinstance(NOW - stop.time, timedelta)


# --- numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["+1 555 555 5551", "+1-555-555-5551", "+1.555.555.5551", "+1 (555) 555-5551"])
def test_separators_in_numbers_are_removed(written):
    event = decoded(bare(written, sender=written))

    assert texts(event.recipients) == (PERSON,)
    assert event.sender.text == PERSON


@pytest.mark.parametrize("number", ["*67", "x" * 1024, "", " - ", "()", "+1555-CALL-NOW", "12", "+1234567890123456"])
def test_what_is_no_number_stays_as_it_was_written_and_is_known_to_be_none(number):
    first, person = decoded(bare(number, PERSON)).recipients

    assert (first.text, first.is_clear) == (number, False)
    assert (person.text, person.is_clear) == (PERSON, True)


def test_an_alphanumeric_sender_stays_as_it_is():
    assert decoded(sample("events/alphanumeric-sender.json")).sender.text == "Contoso Co-op."


@pytest.mark.parametrize("code", ["55555", "123456"])
def test_a_short_code_gets_no_plus(code):
    assert decoded(text_message("START", number=code)).sender.text == code


@pytest.mark.parametrize(
    ("number", "plus"), [("1" * 6, ""), ("1" * 7, "+"), ("4520123456", "+"), ("1" * 15, "+"), ("1" * 16, "")]
)
def test_7_to_15_digits_of_a_text_get_the_plus_that_acs_leaves_out(number, plus):
    assert texts(decoded(text_message("START", person=number)).recipients) == (plus + number,)


@pytest.mark.parametrize(("number", "plus"), [("1" * 10, ""), ("1" * 11, "+"), ("1" * 15, "+"), ("1" * 16, "")])
def test_11_to_15_digits_of_a_publisher_get_the_plus_that_was_left_out(number, plus):
    assert texts(decoded(bare(number)).recipients) == (plus + number,)


@pytest.mark.parametrize(
    "number", [" - ", "()", "", None, 15555555551, {"e164": "+1"}, "1" * 1025, "Shop\ud83d", "+1\0"]
)
def test_a_sender_that_is_none_is_malformed(number):
    with pytest.raises(MalformedEvent):
        decoded(bare(sender=number))


@pytest.mark.parametrize("number", [{"e164": "+1"}, ["+1"], True, 15555555551.5])
def test_a_recipient_that_is_no_text_and_no_number_is_malformed(number):
    with pytest.raises(MalformedEvent, match="recipients"):
        decoded(bare(number))


@pytest.mark.parametrize("recipients", [[], {}, None, "+15555555551", [[]], [None], ["+15555555551"], [{}]])
def test_an_event_needs_recipients_of_the_right_shape(recipients):
    with pytest.raises(MalformedEvent, match="recipients"):
        decoded(bare() | {"recipients": recipients})


def test_10_000_recipients_are_one_event():
    people = [f"+1555{number:07}" for number in range(10_000)]

    assert texts(decoded(bare(*people, *people)).recipients) == tuple(people)


def test_the_errors_of_many_bad_recipients_are_one_line_without_a_number():
    body = bare(*(["+15555555551"] * 50)) | {"from": {"number": SENDER}}
    body["recipients"][7] = {"to": {"number": "+15555555551"}}

    with pytest.raises(MalformedEvent) as refused:
        decoded(body)

    assert str(refused.value) == "the request.from: must be a string (and 1 more)"
