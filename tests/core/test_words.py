"""What a slice does with words: admit, `:add`, `:remove`, record, and only then send."""

from datetime import timedelta

import pytest

from optout_core.consent import OptInRule, OptOutScope, words
from optout_core.errors import LedgerUnavailable
from optout_core.numbers import read_sender
from optout_core.outcomes import Outcome, Verdict
from optout_core.processor import SLICE
from optout_core.reasons import Reason
from optout_core.reports import ConsentEffect, RecipientOutcome
from tests.build import (
    MINUTE,
    NOW,
    OTHER,
    PERSON,
    RULE,
    SENDER,
    arrival,
    bare,
    canonical,
    dead_letter_properties,
    decoded,
    text_message,
)
from tests.core.job import FAILED, REJECTED, Job, dead, waiting
from tests.fakes import FakeEndpoint, MemoryLedger, delivered

HORIZON = 5 * MINUTE
DOWN = Outcome(Verdict.UNAVAILABLE, "no answer")


def web(at="11:50", *people, **fields):
    return arrival(canonical(*people, id=f"web-{at}", time=f"2026-01-23T{at}:00Z", **fields), message_id=f"m-web-{at}")


def out(at="11:55", *people, sender=SENDER, **fields):
    stop = canonical(
        type="sms.opt-out.v1", id=f"out-{at}", time=f"2026-01-23T{at}:00Z", data=bare(*people, sender=sender), **fields
    )
    return arrival(stop, message_id=f"m-out-{at}")


def texted(word, at="11:55"):
    return arrival(text_message(word, received=f"2026-01-23T{at}:00Z", id=f"{word}-{at}"), message_id=f"m-{word}-{at}")


class Lasting(Job):
    """A job whose ledger outlasts its invocations, and can fail."""

    def __init__(self, script=None, **parts):
        super().__init__(script, horizon=HORIZON, ledger=self, **parts)
        self.kept = MemoryLedger(self.clock)
        self.failing = set()

    async def admit(self, words):
        return await self._run("admit", words)

    async def record(self, answers):
        return await self._run("record", answers)

    async def _run(self, statement, asked):
        if statement in self.failing:
            raise LedgerUnavailable("the consent ledger gives no answer (disk full): nothing is called")
        return await getattr(self.kept, statement)(asked)


def said(report):
    return [(each.recipient.text, each.outcome.name, each.effect) for each in report.recipients]


# --- what is called --------------------------------------------------------------------------------------------------


async def test_a_stop_of_another_system_is_put_on_the_list_of_acs():
    job = Lasting()

    report = await job.process([out()])

    assert job.endpoint.operations == [("add", PERSON)]
    assert said(report) == [(PERSON, "ADDED", None)]


async def test_a_texted_stop_is_put_on_the_list_again_where_a_ledger_knows_that_it_is_the_newest_word():
    job = Lasting()

    await job.process([texted("STOP")])

    assert job.endpoint.operations == [("add", PERSON)]


async def test_without_a_ledger_a_texted_stop_needs_no_call_and_that_of_another_system_does():
    job = Job()

    await job.process([texted("STOP"), out("11:56", OTHER)])

    assert job.endpoint.operations == [("add", OTHER)]


async def test_stops_are_called_before_opt_ins():
    job = Lasting()

    await job.process([web("11:50", OTHER), out()])

    assert job.endpoint.operations == [("add", PERSON), ("remove", OTHER)]


async def test_an_older_opt_in_of_a_later_invocation_is_a_dead_letter_and_not_sent():
    job = Lasting()
    await job.process([out("11:55")])

    report = await job.process([web("11:50")])

    assert job.endpoint.operations == [("add", PERSON)]
    assert dead(job) == [(PERSON, Reason.NEWER_OPT_OUT)]
    assert said(report) == [(PERSON, "DEAD_LETTERED", ConsentEffect.BLOCKED)]


async def test_an_older_stop_of_a_later_invocation_calls_nothing_and_is_done():
    job = Lasting()
    await job.process([web("11:56")])

    report = await job.process([out("11:55")])

    assert job.endpoint.operations == [("remove", PERSON)]
    assert said(report) == [(PERSON, "ADDED", ConsentEffect.ALREADY_APPLIED)]
    assert not job.outbox.dead_letters


async def test_the_same_event_published_again_is_not_called_again():
    job = Lasting()
    await job.process([web()])

    report = await job.process([web()])

    assert job.endpoint.operations == [("remove", PERSON)]
    assert said(report) == [(PERSON, "REMOVED", ConsentEffect.ALREADY_APPLIED)]


async def test_what_failed_is_called_again():
    job = Lasting({PERSON: [FAILED]})
    await job.process([web()])

    await job.process([delivered(job.outbox.retries[0], NOW)])

    assert job.endpoint.operations == [("remove", PERSON)] * 2
    assert not job.outbox.dead_letters


async def test_a_retry_of_an_opt_in_that_a_stop_overtook_is_a_dead_letter():
    job = Lasting({PERSON: [FAILED]})
    await job.process([web("11:50")])
    await job.process([texted("STOP")])

    await job.process([delivered(job.outbox.retries[0], NOW)])

    assert job.endpoint.removed == [PERSON]
    assert dead(job) == [(PERSON, Reason.NEWER_OPT_OUT)]


async def test_an_opt_in_for_many_goes_on_without_those_who_said_stop():
    job = Lasting()
    await job.process([out()])

    report = await job.process([web("11:50", PERSON, OTHER)])

    assert job.endpoint.removed == [OTHER]
    assert [each.outcome for each in report.recipients] == [RecipientOutcome.DEAD_LETTERED, RecipientOutcome.REMOVED]


@pytest.mark.parametrize("age", [timedelta(days=1), timedelta(days=400)])
async def test_a_stop_is_never_too_old(age):
    job = Lasting()
    stop = canonical(type="sms.opt-out.v1", time=(NOW - age).isoformat())

    await job.process([arrival(stop)])

    assert job.endpoint.operations == [("add", PERSON)]


async def test_an_opt_in_that_the_rule_refuses_does_not_count_as_a_word():
    job = Lasting()
    await job.process([arrival(canonical(id="old", time="2026-01-19T11:00:00Z"))])

    report = await job.process([arrival(canonical(type="sms.opt-out.v1", time="2026-01-18T11:00:00Z"))])

    assert said(report) == [(PERSON, "ADDED", None)]


async def test_a_stop_counts_at_acs_for_every_sender_where_that_is_set():
    rule = OptInRule(RULE.max_age, frozenset(map(read_sender, (SENDER, "55555"))), OptOutScope.ALL)
    job = Lasting(rule=rule)

    await job.process([out(sender="55555")])

    assert sorted(batch.sender.text for batch in job.endpoint.batches) == [SENDER, "55555"]
    await job.process([web("11:50")])
    assert dead(job) == [(PERSON, Reason.NEWER_OPT_OUT)]


async def test_a_stop_that_failed_for_one_of_its_senders_is_tried_again_for_that_one_alone():
    rule = OptInRule(RULE.max_age, frozenset(map(read_sender, (SENDER, "55555"))), OptOutScope.ALL)

    class OneFails(FakeEndpoint):
        def answer(self, batch, recipient):
            if batch.sender.text == "55555" and len(self.batches) < 3:
                return FAILED
            return super().answer(batch, recipient)

    job = Lasting(rule=rule, endpoint=OneFails())
    await job.process([out()])

    await job.process([delivered(job.outbox.retries[0], NOW)])

    assert [batch.sender.text for batch in job.endpoint.batches][2:] == ["55555"]


async def test_a_stop_in_an_array_that_is_refused_is_put_on_the_list_all_the_same():
    job = Lasting()
    array = [text_message("STOP"), {"neither": 1}]

    await job.process([arrival(array)])

    assert job.endpoint.operations == [("add", PERSON)]
    assert [letter.reason for letter in job.outbox.dead_letters] == [Reason.MALFORMED_EVENT]


async def test_a_stop_in_an_array_that_is_refused_waits_when_acs_fails():
    job = Lasting({PERSON: [FAILED]})

    await job.process([arrival([text_message("STOP"), {"neither": 1}])])

    assert waiting(job) == [(PERSON, timedelta(seconds=30))]


async def test_an_unclear_stop_calls_nothing():
    job = Lasting()

    await job.process([out("11:55", "5551234")])

    assert job.endpoint.operations == []
    assert dead(job) == [("5551234", Reason.UNCLEAR_OPT_OUT)]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (REJECTED, Reason.OPT_OUT_REJECTED),
        (Outcome(Verdict.CONTRADICTED, "", 200), Reason.NOT_OPTED_OUT),
        (Outcome(Verdict.SENDER_REJECTED, "", 400), Reason.OPT_OUT_SENDER_REJECTED),
    ],
)
async def test_what_acs_refuses_of_a_stop_for_good_is_a_dead_letter_that_can_be_replayed(outcome, reason):
    job = Lasting({PERSON: [outcome]})
    await job.process([out()])
    assert dead(job) == [(PERSON, reason)]

    await job.process([delivered(job.outbox.dead_letters[0], NOW)])

    assert job.endpoint.operations == [("add", PERSON)] * 2


async def test_a_letter_that_was_sent_back_by_hand_does_not_undo_a_stop():
    job = Lasting({PERSON: [REJECTED]})
    await job.process([web("11:50")])
    await job.process([out("11:55")])
    letter = job.outbox.dead_letters[0]

    for with_properties in (True, False):
        await job.process([delivered(letter, NOW, with_properties=with_properties)])

    assert job.endpoint.removed == [PERSON]
    assert {reason for _, reason in dead(job)} == {Reason.RECIPIENT_REJECTED, Reason.NEWER_OPT_OUT}


# --- a call of the other kind that may still act ---------------------------------------------------------------------


async def test_a_stop_that_meets_an_unanswered_opt_in_comes_back_and_calls_again():
    job = Lasting({PERSON: [DOWN]})
    await job.process([web("11:50")])
    report = await job.process([out("11:55")])

    (come_back,) = [each for each in job.outbox.retries if decoded(each.body).id.raw == "out-11:55"]
    assert come_back.scheduled_at == NOW + HORIZON
    assert come_back.properties["optout-attempt"] == 0
    assert said(report) == [(PERSON, "WAITING", ConsentEffect.ASSERTED_AGAIN)]

    job.clock.time = NOW + HORIZON
    report = await job.process([delivered(come_back, job.clock.time)])
    assert job.endpoint.operations == [("remove", PERSON), ("add", PERSON), ("add", PERSON)]
    assert said(report) == [(PERSON, "ADDED", None)]


async def test_an_opt_in_that_meets_an_unanswered_stop_comes_back_too():
    job = Lasting({PERSON: [DOWN]})
    await job.process([out("11:50")])

    await job.process([web("11:55")])

    assert (PERSON, HORIZON) in waiting(job)


async def test_after_the_horizon_nobody_comes_back():
    job = Lasting({PERSON: [DOWN]})
    await job.process([web("11:50")])
    job.clock.time = NOW + HORIZON

    report = await job.process([out("11:55")])

    assert said(report) == [(PERSON, "ADDED", None)]


async def test_an_opt_in_under_way_when_its_stop_is_recorded_is_a_dead_letter():
    job = Lasting()

    class Overtaken(FakeEndpoint):
        async def call(self, batches, deadline):
            if any(batch.operation == "remove" for batch in batches):
                # Another instance takes the STOP in while the opt-in is being asked for.
                event = decoded(canonical(type="sms.opt-out.v1", id="out", time="2026-01-23T11:55:00Z"))
                await job.kept.admit(list(words(event, event.sender, event.recipients, NOW)))
            return await super().call(batches, deadline)

    object.__setattr__(job.processor, "endpoint", Overtaken())

    report = await job.process([web("11:50")])

    assert said(report) == [(PERSON, "DEAD_LETTERED", ConsentEffect.BLOCKED)]


# --- a ledger that fails ---------------------------------------------------------------------------------------------


async def test_while_the_ledger_cannot_be_reached_nothing_is_called_and_everybody_waits():
    job = Lasting()
    job.failing = {"admit"}

    await job.process([web(), out("11:55", OTHER), arrival(b"junk", message_id="junk")])

    assert job.endpoint.operations == []
    assert sorted(waiting(job)) == [(PERSON, timedelta(seconds=30)), (OTHER, timedelta(seconds=30))]
    assert {message.properties["optout-attempt"] for message in job.outbox.retries} == {0}
    assert [letter.reason for letter in job.outbox.dead_letters] == [Reason.MALFORMED_EVENT]


async def test_what_the_ledger_could_not_keep_is_called_again():
    job = Lasting()
    job.failing = {"record"}
    await job.process([web()])
    assert waiting(job) == [(PERSON, timedelta(seconds=30))]

    job.failing = set()
    report = await job.process([delivered(job.outbox.retries[0], NOW)])

    assert said(report) == [(PERSON, "REMOVED", None)]
    assert job.endpoint.operations == [("remove", PERSON)] * 2


# --- while nothing can be called -------------------------------------------------------------------------------------


async def test_while_acs_is_not_called_a_stop_counts_and_an_opt_in_does_not():
    job = Lasting()
    job.endpoint.refuses = DOWN
    await job.process([web("11:59"), out("11:55", OTHER)])
    assert job.endpoint.operations == []

    job.endpoint.refuses = None
    # it was not taken in: an older STOP is still the newest word
    report = await job.process([out("11:50"), web("11:54", OTHER)])

    assert said(report) == [(PERSON, "ADDED", None), (OTHER, "DEAD_LETTERED", ConsentEffect.BLOCKED)]


async def test_while_the_broker_takes_nothing_a_stop_counts_all_the_same():
    job = Lasting()
    job.outbox.is_in_doubt = True
    await job.process([out("11:55")])
    assert job.endpoint.operations == []

    await job.process([web("11:50")])

    assert dead(job) == [(PERSON, Reason.NEWER_OPT_OUT)]


async def test_a_message_that_was_final_for_consent_stays_dead_without_asking_the_ledger():
    job = Lasting()
    properties = dead_letter_properties("NewerOptOut")

    await job.process([arrival(canonical(), properties=properties)])

    assert dead(job) == [(PERSON, Reason.NEWER_OPT_OUT)]
    assert job.kept._rows == {}


async def test_what_other_words_did_is_counted_for_each_event():
    job = Lasting()
    await job.process([out("11:55"), web("11:50", OTHER)])

    report = await job.process([web("11:50", PERSON, OTHER)])

    ((settled,),) = [each.settled for each in report.slices]
    assert {effect: count for _, _, effect, count in settled.tally()} == {
        ConsentEffect.BLOCKED: 1,
        ConsentEffect.ALREADY_APPLIED: 1,
    }


async def test_who_fails_for_reasons_of_its_own_is_not_counted_as_an_effect_of_other_words():
    job = Lasting({OTHER: [FAILED]})

    report = await job.process([web("11:50", PERSON, OTHER)])

    ((settled,),) = [each.settled for each in report.slices]
    assert set(settled.tally()) == {
        (RecipientOutcome.REMOVED, None, None, 1),
        (RecipientOutcome.WAITING, None, None, 1),
    }


# --- slices ----------------------------------------------------------------------------------------------------------


async def test_a_stop_of_a_later_slice_holds_back_an_opt_in_also_when_the_ledger_missed_the_first_slice():
    job = Lasting()
    crowd = [arrival(bare(*(f"+1556{n:07}" for n in range(SLICE))), message_id=f"crowd-{part}") for part in range(2)]
    job.failing = {"admit"}

    async def admit_once_more(words):
        answer = job._run("admit", words)
        try:
            return await answer
        finally:
            job.failing = set()

    job.admit = admit_once_more  # type: ignore[method-assign]

    await job.process([crowd[0], web("11:50"), crowd[1], out("11:55")])

    assert PERSON not in job.endpoint.removed
    assert dead(job) == [(PERSON, Reason.NEWER_OPT_OUT)]
