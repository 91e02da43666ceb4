"""May this opt-in still be applied? The newer STOP wins, and a tie goes to STOP."""

from datetime import timedelta

import pytest

from optout_core.batches import Pair
from optout_core.consent import Rule, WithoutLedger, newest_stops
from optout_core.reasons import Reason
from tests.build import MINUTE, NOW, OTHER, PERSON, SENDER, opt_in, opt_out

SECOND = timedelta(seconds=1)
HOURS_72 = timedelta(hours=72)
RULE = Rule(max_age=HOURS_72)


def stops(**fields):
    return newest_stops([opt_out(**fields)])


@pytest.mark.parametrize(
    ("stopped", "objection"),
    [
        (timedelta(0), {PERSON: Reason.NEWER_OPT_OUT}),
        (SECOND, {PERSON: Reason.NEWER_OPT_OUT}),
        (timedelta(microseconds=1), {PERSON: Reason.NEWER_OPT_OUT}),
        (-timedelta(microseconds=1), {}),
        (-HOURS_72, {}),
    ],
    ids=["tie", "newer", "just newer", "just older", "much older"],
)
def test_a_stop_at_or_after_the_opt_in_wins(stopped, objection):
    event = opt_in()

    assert RULE.objections(event, stops(time=event.time + stopped), NOW) == objection


def test_a_stop_to_another_sender_or_of_another_person_objects_to_nothing():
    known = stops(sender="+18009999999", time=NOW) | newest_stops([opt_out(OTHER, time=NOW)])

    assert RULE.objections(opt_in(), known, NOW) == {}


@pytest.mark.parametrize(("allowed", "sender"), [("18001234567", SENDER), ("Contoso", "contoso")])
def test_a_sender_is_allowed_however_it_is_written(allowed, sender):
    rule = Rule(max_age=HOURS_72, allowed_senders=frozenset({allowed}))

    assert rule.objections(opt_in(sender=sender), {}, NOW) == {}


def test_only_those_who_said_stop_are_held_back():
    assert RULE.objections(opt_in(PERSON, OTHER), stops(time=NOW), NOW) == {PERSON: Reason.NEWER_OPT_OUT}


@pytest.mark.parametrize(
    ("age", "objection"),
    [
        (HOURS_72, {}),
        (HOURS_72 + timedelta(microseconds=1), {PERSON: Reason.STALE_OPT_IN}),
        (timedelta(0), {}),
        (-SECOND, {}),
    ],
    ids=["exactly the limit", "just over", "new", "from a clock ahead of ours"],
)
def test_an_opt_in_is_stale_when_it_is_older_than_allowed(age, objection):
    assert RULE.objections(opt_in(time=NOW - age), {}, NOW) == objection


def test_a_newer_stop_is_the_better_reason_for_a_stale_opt_in():
    event = opt_in(PERSON, OTHER, time=NOW - 2 * HOURS_72)

    assert RULE.objections(event, stops(time=NOW), NOW) == {
        PERSON: Reason.NEWER_OPT_OUT,
        OTHER: Reason.STALE_OPT_IN,
    }


def test_a_sender_that_is_not_allowed_is_refused_for_everybody():
    rule = Rule(HOURS_72, allowed_senders={"+18009999999"})

    assert rule.objections(opt_in(PERSON, OTHER), {}, NOW) == {
        PERSON: Reason.SENDER_NOT_ALLOWED,
        OTHER: Reason.SENDER_NOT_ALLOWED,
    }


def test_an_allowed_sender_passes():
    assert Rule(HOURS_72, allowed_senders={SENDER}).objections(opt_in(), {}, NOW) == {}


def test_the_newest_stop_of_each_pair_counts_whatever_the_order():
    texts = [opt_out(time=NOW - 2 * MINUTE), opt_out(PERSON, OTHER, time=NOW), opt_out(time=NOW - MINUTE)]

    newest = {Pair(SENDER, PERSON): NOW, Pair(SENDER, OTHER): NOW}
    assert newest_stops(texts) == newest_stops(reversed(texts)) == newest
    assert newest_stops([]) == {}


async def test_without_a_ledger_only_the_stops_of_the_invocation_are_known():
    known = stops(time=NOW)

    ledger = WithoutLedger()

    assert await ledger.last_stops(known, {Pair(SENDER, PERSON), Pair(SENDER, OTHER)}) == known
    assert await ledger.last_stops(known, {Pair(SENDER, OTHER)}) == {}
    assert await ledger.last_stops({}, {Pair(SENDER, PERSON)}) == {}


@pytest.mark.parametrize(
    ("sender", "person"),
    [("18001234567", PERSON), (SENDER, PERSON.removeprefix("+"))],
    ids=["sender without +", "person without +"],
)
def test_a_stop_counts_however_its_numbers_are_written(sender, person):
    known = newest_stops([opt_out(person, sender=sender, time=NOW)])

    assert RULE.objections(opt_in(), known, NOW) == {PERSON: Reason.NEWER_OPT_OUT}


@pytest.mark.parametrize("sender", ["CONTOSO", " Contoso "])
def test_a_stop_to_an_alphanumeric_sender_counts_in_any_case_and_between_blanks(sender):
    known = newest_stops([opt_out(sender=sender, time=NOW)])

    assert RULE.objections(opt_in(sender="Contoso"), known, NOW) == {PERSON: Reason.NEWER_OPT_OUT}
