"""Message ids: the same for the same message every time, and for no other message ever."""

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout_core.arrivals import read_lineage
from optout_core.errors import MalformedEvent
from optout_core.messages import Kind, dead_letters, message_id, retry_messages, undecodable
from optout_core.outcomes import Verdict
from optout_core.reasons import Reason
from optout_core.settlement import DeadLetter, Done, RetryLater
from tests.build import MINUTE, NOW, OTHER, PERSON, SOURCE, arrival, decoded, lineage, number, opt_in, outcome
from tests.core.strategies import opt_ins
from tests.fakes import delivered

settlements = st.one_of(
    st.just(Done()),
    st.builds(RetryLater, st.sampled_from([NOW + MINUTE, NOW + 2 * MINUTE]), st.integers(0, 6)),
    st.builds(DeadLetter, st.sampled_from(Reason), st.none() | st.just(outcome(Verdict.FAILED))),
)


def sent(event, after, decided):
    return [*retry_messages(event, after, decided), *dead_letters(event, after, decided)]


@pytest.mark.parametrize("kind", Kind)
def test_an_id_names_event_kind_and_hop(kind):
    made = message_id(opt_in(), kind, lineage(hop=3), ("about",))

    assert re.fullmatch(rf"{SOURCE}/preference-1:{kind}4:[0-9a-f]{{16}}", made)


def test_a_long_root_is_hashed():
    made = message_id(opt_in(id="x" * 1024), Kind.RETRY, lineage(), ())

    assert re.fullmatch(r"[0-9a-f]{32}:r1:[0-9a-f]{16}", made)


@given(event=opt_ins(), hop=st.integers(0, 999_999), choose=st.data())
def test_who_is_not_removed_is_in_exactly_one_message_with_an_id_of_its_own(event, hop, choose):
    decided = {to: choose.draw(settlements) for to in event.recipients}

    messages = sent(event, lineage(hop=hop), decided)

    carried = [to for message in messages for to in decoded(message.body).recipients]
    assert len(carried) == len(set(carried))
    assert set(carried) == {to for to, settlement in decided.items() if settlement != Done()}
    ids = [message.message_id for message in messages]
    assert len(ids) == len(set(ids))
    assert all(len(each) <= 128 for each in ids)
    assert ids == [message.message_id for message in sent(event, lineage(hop=hop), decided)]


@given(event=opt_ins(), choose=st.data())
def test_a_later_or_luckier_redelivery_repeats_the_id(event, choose):
    decided = dict.fromkeys(event.recipients, RetryLater(NOW + MINUTE, 1))
    moved = dict.fromkeys(event.recipients, RetryLater(NOW + choose.draw(st.timedeltas(timedelta(0), MINUTE)), 1))

    assert [each.message_id for each in sent(event, lineage(), decided)] == [
        each.message_id for each in sent(event, lineage(), moved)
    ]


def test_no_hop_repeats_an_id_however_often_an_event_goes_round():
    """An outage keeps the attempt, so nothing but the hop tells one round from the next."""
    decided = {number(PERSON): RetryLater(NOW + MINUTE, 0)}
    ids, after = [], lineage(hop=999_990)
    for _ in range(40):
        (message,) = retry_messages(opt_in(), after, decided)
        ids.append(message.message_id)
        after = read_lineage(delivered(message, NOW))

    assert len(set(ids)) == 40


def test_a_body_published_again_without_its_properties_does_not_repeat_an_id():
    """Duplicate detection would accept such a dead letter and drop it: the recipient would be nowhere."""
    decided = {number(PERSON): DeadLetter(Reason.RECIPIENT_REJECTED, outcome(Verdict.REJECTED))}
    (letter,) = dead_letters(opt_in(), lineage(), decided)

    again = delivered(letter, NOW, with_properties=False)
    (second,) = dead_letters(decoded(again.body), read_lineage(again), decided)

    assert again.message_id is None
    assert second.message_id != letter.message_id


def test_a_message_that_is_no_event_keeps_its_id_at_a_redelivery_and_changes_it_when_it_is_sent_again():
    def letter(message):
        return undecodable(message, read_lineage(message), MalformedEvent("not JSON"))

    first = letter(arrival(b"x"))
    replayed = letter(delivered(first, NOW))
    published_again = letter(arrival(b"x", enqueued_at=NOW))

    assert letter(arrival(b"x")).message_id == first.message_id
    assert len({first.message_id, replayed.message_id, published_again.message_id}) == 3
    assert letter(arrival(b"y")).message_id != first.message_id


def test_undecodable_ids_stay_short_round_after_round():
    message = arrival(b"x", message_id="m" * 128)
    ids = []
    for _ in range(20):
        letter = undecodable(message, read_lineage(message), MalformedEvent("not JSON"))
        ids.append(letter.message_id)
        message = delivered(letter, NOW)

    assert len(set(ids)) == 20
    assert all(len(each) <= 128 for each in ids)


@pytest.mark.parametrize(
    "other",
    [
        {"source": "https://other.example"},
        {"id": "preference-2"},
        {"time": NOW},
        {"sender": "+18009999999"},
    ],
    ids=str,
)
def test_another_event_has_another_id(other):
    decided = {number(PERSON): RetryLater(NOW + MINUTE, 1)}

    (mine,) = retry_messages(opt_in(), lineage(), decided)
    (others,) = retry_messages(opt_in(**other), lineage(), decided)

    assert mine.message_id != others.message_id


def test_source_and_id_cannot_be_pushed_into_each_other():
    decided = {number(PERSON): RetryLater(NOW + MINUTE, 1)}
    events = [opt_in(source="a/b", id="c"), opt_in(source="a", id="b/c")]

    first, second = (next(retry_messages(event, lineage(), decided)).message_id for event in events)

    assert first != second


def test_reason_attempt_and_recipients_each_change_the_id():
    decisions = [
        {number(PERSON): RetryLater(NOW, 1)},
        {number(PERSON): RetryLater(NOW, 2)},
        {number(OTHER): RetryLater(NOW, 1)},
        {number(PERSON): RetryLater(NOW, 1), number(OTHER): RetryLater(NOW, 1)},
        {number(PERSON): DeadLetter(Reason.STALE_OPT_IN)},
        {number(PERSON): DeadLetter(Reason.NEWER_OPT_OUT)},
    ]
    ids = [message.message_id for each in decisions for message in sent(opt_in(PERSON, OTHER), lineage(), each)]

    assert len(set(ids)) == len(decisions)
