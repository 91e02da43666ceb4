"""The newest word of a person stands, and a tie goes to STOP: the table of docs/design.md, "Consent"."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout_core.asked import Asked
from optout_core.consent import (
    NOTHING_SAID,
    Judgement,
    OptInRule,
    OptOutScope,
    Row,
    free_from,
    judge,
    microseconds,
    moment_of,
    words,
)
from optout_core.contract import Consent
from optout_core.incoming import Incoming
from optout_core.keywords import Keywords
from optout_core.masking import Untrusted
from optout_core.numbers import read_sender
from optout_core.reasons import Reason
from tests.build import NOW, OTHER, PERSON, RULE, SENDER, SOURCE, arrival, canonical, lineage, opt_in, opt_out

SECOND = timedelta(seconds=1)
HOURS_72 = timedelta(hours=72)
HORIZON = timedelta(minutes=5)
L = 300_000_000
OPT_IN, STOP = False, True

times = st.integers(1, 6)
said = st.tuples(times, st.booleans())
rows = st.builds(Row, times, st.booleans(), st.booleans(), st.integers(0, 6), st.integers(0, 6))


def row(said_at=2, stop=STOP, *, settled=False, add_at=0, remove_at=0):
    return Row(said_at, stop, settled, add_at, remove_at)


def rule(*allowed_senders, scope=OptOutScope.SENDER):
    return OptInRule(HOURS_72, frozenset(map(read_sender, allowed_senders)), scope)


def objections(*args, rule=RULE, **fields):
    """Give the objections by number, as it is written."""
    return {to.text: reason for to, reason in rule.objections(*args, **fields).items()}


def keys(event, rule=RULE):
    message = Incoming.read(arrival(canonical()), lineage(), Keywords())
    return [word.key for word in Asked.of(event, message, rule, NOW).words]


@pytest.mark.parametrize(
    ("word", "newest", "then"),
    [
        ((1, OPT_IN), row(2, STOP), Judgement.BLOCKED),
        ((2, OPT_IN), row(2, STOP), Judgement.BLOCKED),
        ((1, OPT_IN), row(2, STOP, settled=True), Judgement.BLOCKED),
        ((1, OPT_IN), row(2, OPT_IN), Judgement.STANDS),
        ((1, STOP), row(2, OPT_IN), Judgement.STANDS),
        ((1, STOP), row(2, STOP), Judgement.STANDS),
        ((2, OPT_IN), row(2, OPT_IN), Judgement.CALL),
        ((2, STOP), row(2, STOP), Judgement.CALL),
        ((2, OPT_IN), row(2, OPT_IN, settled=True), Judgement.STANDS),
        ((2, STOP), row(2, STOP, settled=True), Judgement.STANDS),
    ],
)
def test_what_becomes_of_a_word(word, newest, then):
    assert judge(word[0], word[1], newest) is then


@given(known=rows, word=said)
def test_a_word_that_was_taken_in_is_the_newest_or_an_older_one(known, word):
    after = known.admit(word[0], word[1], now=9)

    assert (after.said_at, after.stop) == max(word, (known.said_at, known.stop))
    assert (judge(word[0], word[1], after) is Judgement.CALL) == (
        word >= (known.said_at, known.stop) and not after.settled
    )


@given(known=rows, word=said)
def test_whoever_may_call_has_left_its_mark_and_nobody_else_has(known, word):
    after = known.admit(word[0], word[1], now=9)

    may_call = judge(word[0], word[1], after) is Judgement.CALL
    assert after.add_at == (9 if may_call and word[1] else known.add_at)
    assert after.remove_at == (9 if may_call and not word[1] else known.remove_at)


@given(known=rows, word=said)
def test_only_a_newer_word_makes_the_list_unknown(known, word):
    assert known.admit(word[0], word[1], now=9).settled == (known.settled and word <= (known.said_at, known.stop))


@given(words=st.lists(said, min_size=1))
def test_the_order_in_which_words_come_does_not_matter_for_what_stands(words):
    newest = NOTHING_SAID
    for each in words:
        newest = newest.admit(each[0], each[1], now=9)

    assert (newest.said_at, newest.stop) == max(words)


def test_a_call_of_the_same_kind_frees_nobody_and_holds_nobody_up():
    assert free_from(STOP, row(add_at=7), HORIZON) == free_from(OPT_IN, row(remove_at=7), HORIZON) == 0


def test_a_call_of_the_other_kind_may_act_until_the_horizon():
    assert free_from(STOP, row(remove_at=7), HORIZON) == 7 + L
    assert free_from(OPT_IN, row(add_at=7), HORIZON) == 7 + L


@given(moment=st.datetimes(timezones=st.just(UTC)))
def test_a_moment_is_kept_to_the_microsecond(moment):
    assert moment_of(microseconds(moment)) == moment


def test_moments_are_counted_from_1970():
    assert microseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)) == 1_000_000


def test_a_word_holds_what_was_said_and_what_proves_it():
    captured = NOW - HOURS_72
    event = opt_in(PERSON, consent=Consent(captured_at=captured, method="web-form", reference="form-1"))

    (word,) = words(event, event.sender, event.recipients, NOW)

    assert word.id == (SENDER, PERSON, SOURCE, "preference-1", OPT_IN)
    assert word.key == (SENDER, PERSON)
    assert (word.said_at, word.stop) == (microseconds(event.time), OPT_IN)
    assert word.recipient == PERSON
    assert tuple(word.evidence) == (SENDER, microseconds(NOW), microseconds(captured), "web-form", "form-1")


def test_an_opt_in_and_a_stop_under_one_id_are_two_words():
    (word,) = words(opt_in(id="42"), read_sender(SENDER), opt_in().recipients, NOW)
    (stop,) = words(opt_out(id="42"), read_sender(SENDER), opt_out().recipients, NOW)

    assert word.key == stop.key
    assert word.id != stop.id


@pytest.mark.parametrize("name", ["x" * 257, "a\0b", "\ud800", "two\nlines"])
def test_an_id_that_a_database_cannot_keep_is_known_by_its_hash(name):
    (word,) = words(opt_in(id=name, source=name), read_sender(SENDER), opt_in().recipients, NOW)

    assert word.source == word.event
    assert word.event.startswith("sha256:")
    assert len(word.event) == len("sha256:") + 64


def test_no_number_is_shown_by_a_word_its_key_and_its_evidence():
    (word,) = words(opt_in(id="e1"), read_sender(SENDER), opt_in().recipients, NOW)
    (stop,) = words(opt_out(id=PERSON), read_sender(SENDER), opt_out().recipients, NOW)

    assert [repr(word), repr(stop)] == ["<opt-in of 'e1'>", "<STOP of '+1555•••5551'>"]
    assert [repr(word.key), repr(word.evidence)] == ["<ConsentKey>", "<Evidence>"]


@pytest.mark.parametrize(
    ("sender", "person"),
    [("18001234567", PERSON), (SENDER, PERSON.removeprefix("+")), (SENDER, "tel:+1 (555) 555-5551")],
)
def test_a_word_is_about_the_same_person_however_the_numbers_are_written(sender, person):
    assert keys(opt_out(person, sender=sender)) == keys(opt_in())


@pytest.mark.parametrize(
    ("stop", "opt_in_says"),
    [("+5215512345678", "+525512345678"), ("+5491112345678", "+541112345678"), ("+5511912345678", "+551112345678")],
)
def test_a_line_that_is_written_in_two_ways_is_one_person(stop, opt_in_says):
    assert keys(opt_out(stop)) == keys(opt_in(opt_in_says))


def test_other_people_and_other_senders_have_keys_of_their_own():
    assert len({*keys(opt_in()), *keys(opt_in(OTHER)), *keys(opt_in(sender="+18009999999"))}) == 3


@pytest.mark.parametrize("sender", ["CONTOSO", " Contoso "])
def test_a_sender_name_is_the_same_in_any_case_and_between_blanks(sender):
    assert keys(opt_out(sender=sender)) == keys(opt_in(sender="Contoso"))


def test_a_stop_counts_for_its_own_sender_unless_it_is_set_to_count_for_all():
    everywhere = rule(SENDER, "Contoso", scope=OptOutScope.ALL)

    assert keys(opt_out()) == keys(opt_in())
    assert {*keys(opt_out(), everywhere)} == {*keys(opt_in()), *keys(opt_in(sender="contoso"))}
    assert {*keys(opt_out(sender="+18009999999"), everywhere)} > {*keys(opt_out(), everywhere)}
    assert keys(opt_in(), everywhere) == keys(opt_in())


@pytest.mark.parametrize(("allowed", "sender"), [("18001234567", SENDER), ("Contoso", "contoso"), (SENDER, SENDER)])
def test_a_sender_is_allowed_however_it_is_written(allowed, sender):
    assert objections(opt_in(sender=sender), NOW, rule=rule(allowed)) == {}


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
    assert objections(opt_in(time=NOW - age), NOW) == objection


def test_a_stop_is_never_too_old_and_counts_for_every_sender():
    assert objections(opt_out(time=NOW - 99 * HOURS_72), NOW, rule=rule("+18009999999")) == {}


def test_a_sender_that_is_not_allowed_is_refused_for_everybody():
    assert objections(opt_in(PERSON, OTHER), NOW, rule=rule("+18009999999")) == {
        PERSON: Reason.SENDER_NOT_ALLOWED,
        OTHER: Reason.SENDER_NOT_ALLOWED,
    }


@pytest.mark.parametrize("reason", [Reason.NEWER_OPT_OUT, Reason.STALE_OPT_IN])
def test_what_was_final_for_consent_stays_dead_whoever_sent_it_back(reason):
    assert objections(opt_in(PERSON, OTHER), NOW, sent_back=Untrusted(reason.value)) == {
        PERSON: reason,
        OTHER: reason,
    }


@pytest.mark.parametrize("reason", [*Reason.__members__.values(), "", "my own reason", None])
def test_what_was_final_for_another_reason_may_be_tried_again(reason):
    if reason not in {Reason.NEWER_OPT_OUT, Reason.STALE_OPT_IN}:
        assert objections(opt_in(), NOW, sent_back=reason and Untrusted(reason)) == {}


def test_what_is_no_number_is_refused_by_itself_and_so_it_is_in_a_stale_opt_in():
    assert objections(opt_in("", PERSON, "abc"), NOW) == {
        "": Reason.RECIPIENT_REJECTED,
        "abc": Reason.RECIPIENT_REJECTED,
    }
    assert objections(opt_in("", PERSON, time=NOW - 2 * HOURS_72), NOW) == {
        "": Reason.RECIPIENT_REJECTED,
        PERSON: Reason.STALE_OPT_IN,
    }


@pytest.mark.parametrize("clear", [PERSON, "15555555551", "0015555555551", "tel:+15555555551"])
def test_an_opt_out_of_a_number_with_its_country_is_clear(clear):
    assert objections(opt_out(clear), NOW) == {}


@pytest.mark.parametrize("written", ["", "n/a", "5555555551", "555-5551", "55555", "01555555551", "+1555CALLNOW"])
def test_an_opt_out_without_a_country_names_nobody_for_certain(written):
    assert list(objections(opt_out(PERSON, written), NOW).values()) == [Reason.UNCLEAR_OPT_OUT]
