"""May this opt-in still be applied? The newer STOP wins, and a tie goes to STOP."""

from datetime import timedelta

import pytest

from optout_core.consent import ConsentKey, OptInRule, OptOutScope, unclear
from optout_core.masking import Untrusted
from optout_core.numbers import read_sender
from optout_core.reasons import Reason
from tests.build import MINUTE, NOW, OTHER, PERSON, RULE, SENDER, number, numbers, opt_in, opt_out

SECOND = timedelta(seconds=1)
HOURS_72 = timedelta(hours=72)


def stops(*recipients, rule=RULE, **fields):
    return rule.newest_stops([opt_out(*recipients, **fields)])


def rule(*allowed_senders, scope=OptOutScope.SENDER):
    return OptInRule(HOURS_72, frozenset(map(read_sender, allowed_senders)), scope)


def objections(*args, rule=RULE, **fields):
    """Give the objections by number, as it is written."""
    return {to.text: reason for to, reason in rule.objections(*args, **fields).items()}


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

    assert objections(event, stops(time=event.time + stopped), NOW) == objection


def test_a_stop_to_another_sender_or_of_another_person_objects_to_nothing():
    known = stops(sender="+18009999999", time=NOW) | stops(OTHER, time=NOW)

    assert objections(opt_in(), known, NOW) == {}


@pytest.mark.parametrize(("allowed", "sender"), [("18001234567", SENDER), ("Contoso", "contoso")])
def test_a_sender_is_allowed_however_it_is_written(allowed, sender):
    assert objections(opt_in(sender=sender), {}, NOW, rule=rule(allowed)) == {}


def test_only_those_who_said_stop_are_held_back():
    assert objections(opt_in(PERSON, OTHER), stops(time=NOW), NOW) == {PERSON: Reason.NEWER_OPT_OUT}


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
    assert objections(opt_in(time=NOW - age), {}, NOW) == objection


def test_a_newer_stop_is_the_better_reason_for_a_stale_opt_in():
    event = opt_in(PERSON, OTHER, time=NOW - 2 * HOURS_72)

    assert objections(event, stops(time=NOW), NOW) == {
        PERSON: Reason.NEWER_OPT_OUT,
        OTHER: Reason.STALE_OPT_IN,
    }


def test_a_sender_that_is_not_allowed_is_refused_for_everybody():
    assert objections(opt_in(PERSON, OTHER), {}, NOW, rule=rule("+18009999999")) == {
        PERSON: Reason.SENDER_NOT_ALLOWED,
        OTHER: Reason.SENDER_NOT_ALLOWED,
    }


def test_an_allowed_sender_passes():
    assert objections(opt_in(), {}, NOW, rule=rule(SENDER)) == {}


def test_the_newest_stop_of_each_pair_counts_whatever_the_order():
    texts = [opt_out(time=NOW - 2 * MINUTE), opt_out(PERSON, OTHER, time=NOW), opt_out(time=NOW - MINUTE)]

    newest = {ConsentKey(SENDER, PERSON): NOW, ConsentKey(SENDER, OTHER): NOW}
    assert RULE.newest_stops(texts) == RULE.newest_stops(reversed(texts)) == newest
    assert RULE.newest_stops([]) == {}


@pytest.mark.parametrize(
    ("sender", "person"),
    [("18001234567", PERSON), (SENDER, PERSON.removeprefix("+"))],
    ids=["sender without +", "person without +"],
)
def test_a_stop_counts_however_its_numbers_are_written(sender, person):
    known = stops(person, sender=sender, time=NOW)

    assert objections(opt_in(), known, NOW) == {PERSON: Reason.NEWER_OPT_OUT}


@pytest.mark.parametrize("sender", ["CONTOSO", " Contoso "])
def test_a_stop_to_an_alphanumeric_sender_counts_in_any_case_and_between_blanks(sender):
    known = stops(sender=sender, time=NOW)

    assert objections(opt_in(sender="Contoso"), known, NOW) == {PERSON: Reason.NEWER_OPT_OUT}


def test_a_stop_to_one_sender_leaves_the_messages_of_another_alone_unless_it_is_set_to_count_for_all():
    everywhere = rule(SENDER, "Contoso", scope=OptOutScope.ALL)
    event = opt_in(sender="Contoso")

    assert objections(event, stops(time=NOW), NOW) == {}
    assert objections(event, stops(time=NOW, rule=everywhere), NOW, rule=everywhere) == {PERSON: Reason.NEWER_OPT_OUT}
    assert objections(opt_in(OTHER), stops(time=NOW, rule=everywhere), NOW, rule=everywhere) == {}


@pytest.mark.parametrize("reason", [Reason.NEWER_OPT_OUT, Reason.STALE_OPT_IN])
def test_what_was_final_for_consent_stays_dead_whoever_sent_it_back(reason):
    assert objections(opt_in(PERSON, OTHER), {}, NOW, sent_back=Untrusted(reason.value)) == {
        PERSON: reason,
        OTHER: reason,
    }


@pytest.mark.parametrize("reason", [*Reason.__members__.values(), "", "my own reason", None])
def test_what_was_final_for_another_reason_may_be_tried_again(reason):
    if reason not in {Reason.NEWER_OPT_OUT, Reason.STALE_OPT_IN}:
        assert objections(opt_in(), {}, NOW, sent_back=reason and Untrusted(reason)) == {}


def test_what_is_no_number_is_refused_by_itself_and_so_it_is_in_a_stale_opt_in():
    assert objections(opt_in("", PERSON, "abc"), {}, NOW) == {
        "": Reason.RECIPIENT_REJECTED,
        "abc": Reason.RECIPIENT_REJECTED,
    }
    assert objections(opt_in("", PERSON, time=NOW - 2 * HOURS_72), {}, NOW) == {
        "": Reason.RECIPIENT_REJECTED,
        PERSON: Reason.STALE_OPT_IN,
    }


@pytest.mark.parametrize("clear", [PERSON, "15555555551", "0015555555551", "tel:+15555555551"])
def test_an_opt_out_of_a_number_with_its_country_is_clear(clear):
    assert unclear(opt_out(clear)) == ()


@pytest.mark.parametrize("written", ["", "n/a", "5555555551", "555-5551", "55555", "01555555551", "+1555CALLNOW"])
def test_an_opt_out_without_a_country_names_nobody_for_certain(written):
    assert unclear(opt_out(PERSON, written)) == numbers(written)


def test_a_key_shows_which_words_are_of_the_same_person():
    mobile, landline = number("+525512345678"), number("+5215512345678")

    assert RULE.key(read_sender("Contoso"), mobile) == RULE.key(read_sender("CONTOSO"), landline)
    assert RULE.key(read_sender("55555"), mobile) != RULE.key(read_sender("55556"), mobile)
