"""The whole job, with parts that remember: messages in, requests, retries and dead letters out."""

from datetime import timedelta

import pytest

from optout_core.consent import OptInRule
from optout_core.errors import SendFailed
from optout_core.events import EventResult
from optout_core.masking import Untrusted
from optout_core.numbers import read_sender
from optout_core.reasons import Reason
from optout_core.reports import EventReport, RecipientOutcome
from tests.build import (
    MINUTE,
    NOW,
    OTHER,
    OUR_ID,
    PERSON,
    RULE,
    SENDER,
    SOURCE,
    TRACEPARENT,
    arrival,
    bare,
    canonical,
    sample,
    text_message,
    texts,
)
from tests.core.job import FAILED, REJECTED, UNAVAILABLE, Job, dead, waiting, where

THIRD = "+15555555553"


async def test_the_example_of_the_reference_ends_as_the_reference_says():
    job = Job({"+123": [REJECTED], THIRD: [FAILED]})

    report = await job.process([arrival(sample("acs/remove-request.json"))])

    assert where(report) == [
        ("message-1", PERSON, "REMOVED", None),
        ("message-1", "+123", "DEAD_LETTERED", Reason.RECIPIENT_REJECTED),
        ("message-1", THIRD, "WAITING", None),
    ]
    assert waiting(job) == [(THIRD, timedelta(seconds=30))]
    assert dead(job) == [("+123", Reason.RECIPIENT_REJECTED)]


async def test_a_report_says_when_how_often_and_how_old():
    job = Job({OTHER: [FAILED], THIRD: [REJECTED]})
    properties = {"optout-attempt": 2, "optout-hop": 2}

    report = await job.process([arrival(canonical(PERSON, OTHER, THIRD), message_id=OUR_ID, properties=properties)])

    removed, retried, refused = report.recipients
    assert {each.source.raw for each in report.recipients} == {SOURCE}
    assert {each.sender.text for each in report.recipients} == {SENDER}
    assert {each.age for each in report.recipients} == {600.0}
    assert (removed.attempts, removed.next_try) == (3, None)
    assert (retried.attempts, retried.next_try) == (3, NOW + 10 * MINUTE)
    assert (refused.attempts, refused.next_try) == (3, None)
    assert (report.messages, report.retries, report.dead_letters) == (1, 1, (Reason.RECIPIENT_REJECTED,))
    assert job.telemetry.reports == report.slices


async def test_recipients_of_many_events_are_asked_in_one_request():
    job = Job()

    await job.process([arrival(bare(PERSON, OTHER), message_id="a"), arrival(bare(THIRD), message_id="b")])

    assert [texts(batch.recipients) for batch in job.endpoint.batches] == [(PERSON, OTHER, THIRD)]


async def test_a_pair_that_two_events_name_is_asked_once_and_settled_for_both():
    job = Job({PERSON: [FAILED]})

    report = await job.process([arrival(bare(PERSON), message_id="a"), arrival(bare(PERSON), message_id="b")])

    assert job.endpoint.asked == [PERSON]
    assert where(report) == [("a", PERSON, "WAITING", None), ("b", PERSON, "WAITING", None)]
    assert len(job.outbox.retries) == 2


async def test_10_000_events_of_one_recipient_cost_100_requests():
    job = Job()
    people = [f"+1555{number:07}" for number in range(10_000)]

    report = await job.process([arrival(bare(to), message_id=to) for to in people])

    assert [len(batch) for batch in job.endpoint.batches] == [100] * 100
    assert job.endpoint.asked == people
    assert [each.recipient.text for each in report.recipients] == people
    assert {each.outcome for each in report.recipients} == {RecipientOutcome.REMOVED}
    assert job.outbox.retries == job.outbox.dead_letters == []


async def test_each_sender_has_its_own_request():
    job = Job()

    await job.process([arrival(bare(PERSON, sender="55555")), arrival(bare(PERSON))])

    assert [(batch.sender.text, texts(batch.recipients)) for batch in job.endpoint.batches] == [
        ("55555", (PERSON,)),
        (SENDER, (PERSON,)),
    ]


async def test_an_undecodable_message_among_good_ones_is_the_only_dead_letter():
    job = Job()

    report = await job.process([arrival(bare(PERSON)), arrival(b"\xff", message_id="bad"), arrival(bare(OTHER))])

    assert job.endpoint.asked == [PERSON, OTHER]
    (letter,) = job.outbox.dead_letters
    assert letter.body == b"\xff"
    assert report.events[1] == EventReport(
        source=Untrusted(""),
        id=Untrusted("bad"),
        form="unknown",
        result=EventResult.DEAD_LETTERED,
        reason=Reason.MALFORMED_EVENT,
    )
    assert report.dead_letters == (Reason.MALFORMED_EVENT,)


async def test_every_event_of_an_array_is_reported_and_only_opt_ins_lead_to_a_request():
    job = Job()
    texts = [
        text_message("START", id="1"),
        text_message("hello", id="2"),
        text_message("STOP", id="3", person="15555555552"),
    ]

    report = await job.process([arrival(texts)])

    assert [(event.id.raw, event.form, event.result) for event in report.events] == [
        ("1", "event-grid", EventResult.DECODED),
        ("2", "event-grid", EventResult.IGNORED),
        ("3", "event-grid", EventResult.RECORDED),
    ]
    assert job.endpoint.asked == [PERSON]


@pytest.mark.parametrize(
    ("stopped", "asked"), [("11:54", [PERSON]), ("11:55", []), ("11:56", [])], ids=["older", "tie", "newer"]
)
async def test_of_stop_and_start_in_one_invocation_the_newer_wins_and_a_tie_goes_to_stop(stopped, asked):
    job = Job()
    start = text_message("START", received="2026-01-23T11:55:00Z")
    stop = text_message("STOP", received=f"2026-01-23T{stopped}:00Z")

    await job.process([arrival(start), arrival(stop)])

    assert job.endpoint.asked == asked
    assert dead(job) == ([] if asked else [(PERSON, Reason.NEWER_OPT_OUT)])


async def test_what_may_not_be_sent_is_never_sent():
    job = Job(rule=OptInRule(RULE.max_age, frozenset({read_sender(SENDER)})))
    stale = canonical(PERSON, time="2026-01-20T11:00:00Z", id="stale")

    report = await job.process([arrival(stale), arrival(bare(OTHER, sender="55555")), arrival(bare(THIRD))])

    assert job.endpoint.asked == [THIRD]
    assert dead(job) == [(PERSON, Reason.STALE_OPT_IN), (OTHER, Reason.SENDER_NOT_ALLOWED)]
    assert [each.attempts for each in report.recipients] == [0, 0, 1]


async def test_an_opt_in_grows_stale_while_it_waits_and_is_then_not_sent():
    job = Job({PERSON: [UNAVAILABLE]})
    await job.process([arrival(canonical())])
    (retry,) = job.outbox.retries
    job.clock.time = NOW + timedelta(hours=72)

    await job.process([arrival(retry.body, properties=retry.properties, enqueued_at=NOW)])

    assert job.endpoint.asked == [PERSON]
    assert dead(job) == [(PERSON, Reason.STALE_OPT_IN)]


async def test_an_outage_uses_up_no_attempt_and_retry_after_is_honoured():
    job = Job({PERSON: [UNAVAILABLE]})

    report = await job.process(
        [arrival(canonical(), message_id=OUR_ID, properties={"optout-attempt": 4, "optout-hop": 4})]
    )

    assert waiting(job) == [(PERSON, 10 * MINUTE)]
    assert report.recipients[0].attempts == 4


async def test_recipients_of_one_event_that_wait_for_the_same_reason_stay_together():
    job = Job({PERSON: [FAILED], OTHER: [FAILED]}, chance=lambda: 0.5)

    await job.process([arrival(bare(PERSON, OTHER))])

    assert waiting(job) == [(PERSON, timedelta(seconds=33)), (OTHER, timedelta(seconds=33))]
    assert len(job.outbox.retries) == 1


async def test_when_the_broker_takes_nothing_nothing_is_reported():
    job = Job({PERSON: [FAILED]}, accepts=[0, 0])

    with pytest.raises(SendFailed, match=r"did not take 1 of 1 .* in neither queue .*; nothing is lost"):
        await job.process([arrival(bare(PERSON))])

    assert job.telemetry.reports == []
    assert len(job.telemetry.invocations) == 1


async def test_after_that_sending_is_proven_before_acs_is_called():
    job = Job({PERSON: [FAILED]}, accepts=[0, 0, 0, 0])
    messages = [arrival(bare(PERSON)), arrival(bare(OTHER), message_id="two")]
    for _ in range(2):
        with pytest.raises(SendFailed):
            await job.process(messages)
    assert job.endpoint.asked == [PERSON, OTHER]

    report = await job.process(messages)
    await job.process([arrival(bare(THIRD), message_id="three")])

    assert job.endpoint.asked == [PERSON, OTHER, THIRD]
    assert where(report) == [
        (each.event.raw, to, "WAITING", None) for each, to in zip(report.recipients, (PERSON, OTHER), strict=True)
    ]
    assert waiting(job) == [(PERSON, timedelta(seconds=30)), (OTHER, timedelta(seconds=30))]


async def test_a_redelivery_after_a_crash_sends_nothing_twice():
    job = Job({PERSON: [FAILED, FAILED], OTHER: [REJECTED, REJECTED]})
    messages = [arrival(bare(PERSON, OTHER)), arrival(b"\xff", message_id="bad")]
    await job.process(messages)
    job.clock.time += MINUTE

    await job.process(messages)

    assert waiting(job) == [(PERSON, timedelta(seconds=30))]
    assert [letter.reason for letter in job.outbox.dead_letters] == [Reason.RECIPIENT_REJECTED, Reason.MALFORMED_EVENT]


async def test_an_invocation_is_linked_to_the_lineages_of_all_its_messages():
    job = Job()

    await job.process([arrival(bare(), properties={"traceparent": TRACEPARENT}), arrival(b"\xff")])

    (lineages,) = job.telemetry.invocations
    assert [lineage.trace for lineage in lineages] == [{"traceparent": TRACEPARENT}, {}]


async def test_no_message_is_no_work():
    job = Job()

    report = await job.process([])

    assert (report.messages, report.events, report.recipients) == (0, (), ())
    assert job.endpoint.batches == []


async def test_a_report_counts_recipients_by_where_they_are_and_why():
    job = Job({OTHER: [FAILED], THIRD: [REJECTED]})

    await job.process([arrival(canonical(PERSON, OTHER, THIRD))])

    [report] = job.telemetry.reports
    [settled] = report.settled
    assert set(settled.tally()) == {
        (RecipientOutcome.REMOVED, None, None, 1),
        (RecipientOutcome.WAITING, None, None, 1),
        (RecipientOutcome.DEAD_LETTERED, Reason.RECIPIENT_REJECTED, None, 1),
    }


async def test_an_event_of_which_everybody_is_removed_is_counted_as_one():
    job = Job()

    await job.process([arrival(canonical(PERSON, OTHER))])

    [report] = job.telemetry.reports
    assert list(report.settled[0].tally()) == [(RecipientOutcome.REMOVED, None, None, 2)]
