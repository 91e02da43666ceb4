"""Retry messages and dead letters: bodies, properties and ids, as docs/events.md, "What we send", names them."""

import json

import pytest

from optout_core import properties
from optout_core.arrivals import read_lineage
from optout_core.errors import MalformedEvent, UnsupportedEvent
from optout_core.masking import Untrusted
from optout_core.messages import MAX_DESCRIPTION, dead_letters, retry_messages, undecodable
from optout_core.outcomes import Outcome, Verdict
from optout_core.outgoing import Queue
from optout_core.reasons import Reason
from optout_core.settlement import DeadLetter, Done, RetryLater
from tests.build import (
    MINUTE,
    NOW,
    OTHER,
    PERSON,
    TRACEPARENT,
    arrival,
    decoded,
    lineage,
    number,
    opt_in,
    outcome,
    texts,
)
from tests.fakes import delivered

THIRD = "+15555555553"
EVENT = opt_in(PERSON, OTHER, THIRD)
SOON, LATER = NOW + MINUTE, NOW + 2 * MINUTE
REJECTED = Outcome(Verdict.REJECTED, "Invalid number", 400, error_code="InvalidInput", ms_cv="cv.1")
REPLAYED = lineage(
    attempt=2,
    hop=7,
    of=40,
    replay_id="replay-9",
    replay_count=3,
    trace={"traceparent": TRACEPARENT, "tracestate": "a=b"},
    correlation_id="c-1",
)


def retries(settlements, of=EVENT, after=None):
    return list(retry_messages(of, after or lineage(), read(settlements)))


def letters(settlements, of=EVENT, after=None):
    return list(dead_letters(of, after or lineage(), read(settlements)))


def read(settlements):
    return {number(to): settlement for to, settlement in settlements.items()}


def people_in(message):
    return texts(decoded(message.body).recipients)


def rejected(*recipients, outcome=REJECTED):
    return {to: DeadLetter(Reason.RECIPIENT_REJECTED, outcome) for to in recipients}


# --- retries ------------------------------------------------------------------------------------------------------


def test_who_made_whole_requests_fail_waits_apart_and_the_next_arrival_knows():
    apart, others = retries(
        {PERSON: RetryLater(SOON, 1, alone=True), OTHER: RetryLater(SOON, 1), THIRD: RetryLater(SOON, 1)}
    )

    assert (people_in(apart), people_in(others)) == ((PERSON,), (OTHER, THIRD))
    assert [read_lineage(delivered(message, SOON)).alone for message in (apart, others)] == [True, False]
    assert apart.slimmed().properties["optout-alone"] == 1
    assert apart.message_id != others.message_id


def test_who_waits_for_the_same_attempt_waits_in_one_message_until_the_last_may_be_tried():
    (message,) = retries({PERSON: RetryLater(SOON, 1), OTHER: Done(), THIRD: RetryLater(LATER, 1)})

    assert message.queue is Queue.OPT_INS
    assert message.scheduled_at == LATER
    assert message.reason is None
    assert message.content_type == "application/cloudevents+json"
    assert decoded(message.body) == opt_in(PERSON, THIRD)


def test_who_has_used_up_different_numbers_of_attempts_waits_in_different_messages():
    first, second = retries({PERSON: RetryLater(SOON, 1), OTHER: RetryLater(LATER, 0)})

    assert (people_in(first), first.properties["optout-attempt"]) == ((PERSON,), 1)
    assert (people_in(second), second.properties["optout-attempt"]) == ((OTHER,), 0)
    assert first.message_id != second.message_id


def test_a_retry_has_exactly_these_properties():
    (message,) = retries({PERSON: RetryLater(SOON, 1)})

    assert message.properties == {
        "optout-event-id": "preference-1",
        "optout-attempt": 1,
        "optout-hop": 1,
        "optout-first-enqueued": "2026-01-23T11:59:00+00:00",
        "optout-recipients": 1,
        "optout-of": 3,
    }


def test_a_retry_of_a_replayed_event_carries_its_lineage_on():
    (message,) = retries({PERSON: RetryLater(SOON, 3)}, after=REPLAYED)

    assert message.correlation_id == "c-1"
    assert message.properties == {
        "optout-event-id": "preference-1",
        "optout-attempt": 3,
        "optout-hop": 8,
        "optout-first-enqueued": "2026-01-23T11:59:00+00:00",
        "optout-recipients": 1,
        "optout-of": 40,
        "optout-replay-id": "replay-9",
        "optout-replay-count": 3,
        "traceparent": TRACEPARENT,
        "tracestate": "a=b",
    }


def test_what_is_removed_or_dead_is_in_no_retry_and_what_is_not_dead_in_no_dead_letter():
    settlements = {PERSON: Done(), OTHER: RetryLater(SOON, 1)} | rejected(THIRD)

    assert [people_in(message) for message in retries(settlements)] == [(OTHER,)]
    assert [people_in(message) for message in letters(settlements)] == [(THIRD,)]
    assert retries({PERSON: Done()}) == letters({PERSON: Done()}) == []


# --- dead letters -------------------------------------------------------------------------------------------------


def test_there_is_one_dead_letter_for_each_reason():
    first, second = letters(rejected(PERSON, THIRD) | {OTHER: DeadLetter(Reason.RETRIES_EXHAUSTED, outcome())})

    assert (first.reason, decoded(first.body)) == (Reason.RECIPIENT_REJECTED, opt_in(PERSON, THIRD))
    assert (second.reason, decoded(second.body)) == (Reason.RETRIES_EXHAUSTED, opt_in(OTHER))
    assert {first.queue, second.queue} == {Queue.DEAD_LETTERS}
    assert first.scheduled_at is None


def test_a_dead_letter_has_exactly_these_properties():
    (letter,) = letters(rejected(PERSON, OTHER), after=REPLAYED)

    assert letter.properties == {
        "optout-event-id": "preference-1",
        "optout-attempt": 3,
        "optout-hop": 8,
        "optout-first-enqueued": "2026-01-23T11:59:00+00:00",
        "optout-recipients": 2,
        "optout-of": 40,
        "optout-replay-id": "replay-9",
        "optout-replay-count": 3,
        "traceparent": TRACEPARENT,
        "tracestate": "a=b",
        "DeadLetterReason": "RecipientRejected",
        "DeadLetterErrorDescription": f"{Reason.RECIPIENT_REJECTED.meaning}; ACS said: HTTP 400: Invalid number (2)",
        "optout-http-status": 400,
        "optout-error-code": "InvalidInput",
        "optout-ms-cv": "cv.1",
    }


def test_what_was_never_sent_used_up_no_attempt_and_has_no_answer():
    (letter,) = letters({PERSON: DeadLetter(Reason.STALE_OPT_IN)}, after=lineage(attempt=2))

    assert letter.properties["optout-attempt"] == 2
    assert letter.properties["DeadLetterErrorDescription"] == Reason.STALE_OPT_IN.meaning
    assert not {"optout-http-status", "optout-error-code", "optout-ms-cv"} & letter.properties.keys()


def test_what_the_api_did_not_say_is_no_property():
    (letter,) = letters({PERSON: DeadLetter(Reason.RETRIES_EXHAUSTED, Outcome(Verdict.FAILED, "left out"))})

    assert not {"optout-http-status", "optout-error-code", "optout-ms-cv"} & letter.properties.keys()


def test_the_description_names_the_three_most_frequent_answers():
    said = ["four"] * 4 + ["two"] * 2 + ["three"] * 3 + ["one"]
    dead = {f"+1555{each:07}": rejected(PERSON, outcome=outcome(detail=word))[PERSON] for each, word in enumerate(said)}

    (letter,) = letters(dead, of=opt_in(*dead))

    assert letter.properties["DeadLetterErrorDescription"].endswith(
        "; ACS said: HTTP 500: four (4); HTTP 500: three (3); HTTP 500: two (2)"
    )


def test_the_description_has_at_most_1024_characters():
    dead = {
        f"+1555{each:07}": DeadLetter(Reason.RETRIES_EXHAUSTED, outcome(detail="xyz"[each] * 1000)) for each in range(3)
    }

    (letter,) = letters(dead, of=opt_in(*dead))
    broken = undecodable(arrival(), lineage(), MalformedEvent("x" * 5000))

    assert MAX_DESCRIPTION == 1024
    assert [len(str(each.properties["DeadLetterErrorDescription"])) for each in (letter, broken)] == [1024, 1024]


def test_a_dead_letter_sent_back_unchanged_is_the_same_opt_in_one_hop_on():
    original = opt_in(PERSON, OTHER)
    (letter,) = letters(rejected(OTHER), of=original, after=lineage(attempt=1, hop=3))

    again = delivered(letter, NOW)

    assert decoded(again.body, enqueued_at=again.enqueued_at) == opt_in(OTHER)
    assert read_lineage(again) == lineage(attempt=2, hop=4, of=2, sent_back=Untrusted("RecipientRejected"))


# --- what could not be decoded ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [MalformedEvent("not UTF-8"), UnsupportedEvent("we do not know the event type 'x'")])
def test_what_cannot_be_decoded_keeps_bytes_type_and_properties(error):
    message = arrival(
        b"\xff\x00",
        content_type="text/odd",
        correlation_id="c-1",
        properties={"tenant": "contoso", "n": 1, "traceparent": TRACEPARENT, "DeadLetterReason": "old"},
    )

    letter = undecodable(message, read_lineage(message), error)

    assert (letter.queue, letter.body, letter.content_type) == (Queue.DEAD_LETTERS, b"\xff\x00", "text/odd")
    assert (letter.correlation_id, letter.reason) == ("c-1", error.reason)
    assert letter.properties == {
        "tenant": "contoso",
        "n": 1,
        "traceparent": TRACEPARENT,
        "optout-event-id": "message-1",
        "optout-attempt": 0,
        "optout-hop": 1,
        "optout-first-enqueued": "2026-01-23T11:59:00+00:00",
        "DeadLetterReason": error.reason.value,
        "DeadLetterErrorDescription": f"{error}; {error.reason.meaning}",
    }


def test_what_cannot_be_decoded_may_come_without_an_id_or_a_type():
    message = arrival(b"\xff", message_id=None)

    letter = undecodable(message, read_lineage(message), MalformedEvent("not UTF-8"))

    assert letter.content_type is None
    assert letter.message_id.startswith(f"{message.id}:d1:")


def test_a_slimmed_message_keeps_what_routes_it_and_what_is_the_publishers():
    message = arrival(b"\xff", properties={"tenant": "contoso", "traceparent": TRACEPARENT, "optout-hop": 4})
    letter = undecodable(message, read_lineage(message), MalformedEvent("not UTF-8"))

    slim = letter.slimmed()

    assert slim.properties == {
        "tenant": "contoso",
        "traceparent": TRACEPARENT,
        "optout-attempt": 0,
        "optout-hop": 5,
        "optout-first-enqueued": message.enqueued_at.isoformat(),
        "DeadLetterReason": "MalformedEvent",
    }
    assert (slim.message_id, slim.body, slim.reason) == (letter.message_id, letter.body, letter.reason)


# --- size ---------------------------------------------------------------------------------------------------------


def test_a_message_is_split_only_when_it_would_not_fit():
    people = [f"+1555{each:07}" for each in range(20_000)]
    event = opt_in(*people)

    waiting = retries(dict.fromkeys(people, RetryLater(SOON, 1)), of=event)
    dead = letters(rejected(*people), of=event)

    for messages in (waiting, dead):
        assert len(messages) == 4
        assert all(len(message.body) <= 192 * 1024 for message in messages)
        assert [to for message in messages for to in people_in(message)] == people
        assert [message.properties["optout-recipients"] for message in messages] == [5000] * 4
        assert {message.properties["optout-of"] for message in messages} == {20_000}
        assert len({message.message_id for message in messages}) == 4


def test_a_body_of_json_is_not_longer_than_it_must_be():
    (message,) = retries({PERSON: RetryLater(SOON, 1)}, of=opt_in(PERSON, source="café"))

    assert b": " not in message.body
    assert json.loads(message.body)["source"] == "café"
    assert "café".encode() in message.body


def test_a_message_that_fills_the_limit_is_cut_in_two_that_are_its_bytes_again():
    message = undecodable(
        arrival(b"\xff" * 5, properties={"tenant": "contoso"}), lineage(), MalformedEvent("not UTF-8")
    )

    first, second = message.halves()

    assert first.body + second.body == message.body
    assert (first.properties["optout-part"], second.properties["optout-part"]) == ("1 of 2", "2 of 2")
    assert len({message.message_id, first.message_id, second.message_id}) == 3
    assert first.properties["tenant"] == second.properties["tenant"] == "contoso"


def test_a_property_of_ours_that_holds_a_number_is_not_carried_on_and_one_of_the_publisher_is_part_of_the_event():
    odd = dict.fromkeys(properties.OURS, "+15555555551") | {"ce-id": "cust_15555555551", "optout-part": "1 of 2"}
    message = arrival(b"\xff", properties=odd)

    letter = undecodable(message, read_lineage(message), MalformedEvent("not UTF-8"))

    assert letter.properties["ce-id"] == "cust_15555555551"
    assert letter.properties["optout-part"] == "1 of 2"
    assert not [name for name in properties.OURS if "5555555" in str(letter.properties.get(name, ""))]


def test_every_property_of_ours_is_among_them():
    assert {"optout-event-id", "optout-part", "DeadLetterReason", "traceparent", "Diagnostic-Id"} < properties.OURS
    assert len(properties.OURS) == 19
