"""Where retries and dead letters go when their own queue does not take them."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from optout_core import properties
from optout_core.messages import dead_letters
from optout_core.outgoing import Queue
from optout_core.reasons import Reason
from optout_core.settlement import DeadLetter
from tests.build import MINUTE, NOW, arrival, bare, canonical, lineage, numbers, opt_in, text_message
from tests.core.job import FAILED, REJECTED, Job, people_in, waiting, where
from tests.fakes import delivered

PERSON, OTHER, THIRD = "+15555555551", "+15555555552", "+15555555553"


def outcomes(report):
    return [(to, outcome, reason) for _, to, outcome, reason in where(report)]


async def come_back(job):
    """Deliver what waits in the queue of the opt-ins, when it is due."""
    due = job.outbox.retries[-1]
    job.clock.time = due.scheduled_at
    return await job.process([delivered(due, due.scheduled_at)])


async def test_a_dead_letter_that_its_queue_does_not_take_waits_and_its_neighbours_are_done():
    job = Job({OTHER: [REJECTED]})
    job.outbox.closed = {Queue.DEAD_LETTERS}

    report = await job.process([arrival(canonical(PERSON, OTHER))])

    assert outcomes(report) == [(PERSON, "REMOVED", None), (OTHER, "WAITING", None)]
    assert waiting(job) == [(OTHER, timedelta(seconds=30))]
    assert job.outbox.dead_letters == []


async def test_it_comes_back_as_the_dead_letter_that_it_is_and_nobody_is_asked_again():
    job = Job({OTHER: [REJECTED]})
    job.outbox.closed = {Queue.DEAD_LETTERS}
    await job.process([arrival(canonical(PERSON, OTHER))])
    job.outbox.closed = set()

    report = await come_back(job)

    assert job.endpoint.asked == [PERSON, OTHER]
    [letter] = job.outbox.dead_letters
    assert (people_in(letter), letter.reason) == ((OTHER,), Reason.RECIPIENT_REJECTED)
    assert letter.properties["DeadLetterReason"] == "RecipientRejected"
    assert letter.properties["optout-http-status"] == 400
    assert outcomes(report) == [(OTHER, "DEAD_LETTERED", Reason.RECIPIENT_REJECTED)]


async def test_while_its_queue_takes_nothing_it_waits_ever_longer_under_ids_of_its_own():
    job = Job({OTHER: [REJECTED]})
    job.outbox.closed = {Queue.DEAD_LETTERS}
    await job.process([arrival(canonical(OTHER))])
    for _ in range(7):
        report = await come_back(job)
        assert outcomes(report) == []

    times = [message.scheduled_at for message in job.outbox.retries]
    waits = [later - earlier for earlier, later in zip((NOW, *times), times, strict=False)]
    assert waits[:4] == [timedelta(seconds=each) for each in (30, 60, 120, 240)]
    assert max(waits) == 15 * MINUTE
    assert len({message.message_id for message in job.outbox.retries}) == 8
    assert all(len(message.message_id) <= 128 for message in job.outbox.retries)


async def test_one_that_was_taken_and_waits_all_the_same_lies_in_its_queue_once():
    """As after a time-out, or when the invocation is repeated."""
    job = Job({OTHER: [REJECTED, REJECTED]})
    message = arrival(canonical(OTHER))
    await job.process([message])
    job.outbox.closed = {Queue.DEAD_LETTERS}
    await job.process([message])
    job.outbox.closed = set()

    await come_back(job)

    assert len(job.outbox.dead_letters) == 1


@pytest.mark.parametrize("body", [b"\xff", b"{}", b"not JSON"])
async def test_bytes_that_nobody_can_read_wait_unchanged_too(body):
    job = Job()
    job.outbox.closed = {Queue.DEAD_LETTERS}
    await job.process([arrival(body, content_type="text/odd", properties={"tenant": "contoso"})])
    job.outbox.closed = set()

    await come_back(job)

    [letter] = job.outbox.dead_letters
    assert (letter.body, letter.content_type, letter.reason) == (body, "text/odd", Reason.MALFORMED_EVENT)
    assert letter.properties["tenant"] == "contoso"


async def test_an_opt_in_that_lost_to_a_stop_stays_lost_while_it_waits():
    job = Job()
    job.outbox.closed = {Queue.DEAD_LETTERS}
    stop = arrival(text_message("STOP", person=PERSON[1:]), message_id="stop")
    await job.process([arrival(canonical(PERSON, time=(NOW - 20 * MINUTE).isoformat())), stop])
    job.outbox.closed = set()

    await come_back(job)

    assert job.endpoint.asked == []
    assert [letter.reason for letter in job.outbox.dead_letters] == [Reason.NEWER_OPT_OUT]


async def test_a_retry_that_cannot_wait_is_a_dead_letter_that_says_so():
    job = Job({OTHER: [FAILED]})
    job.outbox.closed = {Queue.OPT_INS}

    report = await job.process([arrival(canonical(PERSON, OTHER))])

    [letter] = job.outbox.dead_letters
    assert (people_in(letter), letter.reason) == ((OTHER,), Reason.RETRY_REFUSED)
    assert letter.properties["DeadLetterReason"] == "RetryRefused"
    assert letter.scheduled_at is None
    assert outcomes(report) == [(PERSON, "REMOVED", None), (OTHER, "DEAD_LETTERED", Reason.RETRY_REFUSED)]


async def test_who_claims_to_wait_without_an_id_of_ours_is_an_event_like_any_other():
    claimed = {properties.PARKED: 1, properties.DEAD_LETTER_REASON: "RecipientRejected"}
    job = Job()

    await job.process([arrival(bare(PERSON), message_id="of-a-publisher", properties=claimed)])

    assert job.endpoint.asked == [PERSON]


async def test_properties_that_fill_the_limit_make_room_for_ours_and_then_for_less():
    """64 KB are the publisher's right, and our facts come on top."""
    large = {f"p{number}": "x" * 15_980 for number in range(4)}
    job = Job()

    await job.process([arrival(b"{", properties=large | {"ce-id": "7"})])

    [letter] = job.outbox.dead_letters
    assert sum(len(f"{name}{value}") for name, value in letter.properties.items()) < 60 * 1024
    assert letter.properties["DeadLetterReason"] == "MalformedEvent"
    assert letter.properties["ce-id"] == "7"
    assert letter.body == b"{"


def test_an_id_that_has_waited_a_thousand_times_stays_within_what_the_broker_takes():
    [letter] = _letters()
    again = replace(letter, properties={**letter.properties, properties.PARKED: 10**9})

    assert len(again.parked(NOW).message_id) <= 128


def _letters():
    event = opt_in(PERSON, id="x" * 92)
    return dead_letters(event, lineage(hop=999_998), dict.fromkeys(numbers(PERSON), DeadLetter(Reason.STALE_OPT_IN)))


def test_a_message_that_is_refused_with_all_that_is_beside_it_keeps_its_body_and_its_verdict():
    [letter] = _letters()
    full = replace(letter, correlation_id="c-1", properties={**letter.properties, "tenant": "contoso"})

    bare_letter = full.bare()

    assert (bare_letter.body, bare_letter.message_id) == (letter.body, letter.message_id)
    assert bare_letter.properties["DeadLetterReason"] == "StaleOptIn"
    assert "tenant" not in bare_letter.properties
    assert bare_letter.correlation_id is None


def test_a_message_of_nothing_but_what_it_cannot_do_without_is_left_as_it_is():
    [letter] = _letters()
    essential = replace(letter, properties={properties.DEAD_LETTER_REASON: "x" * 70_000})

    assert essential.bounded() == essential
