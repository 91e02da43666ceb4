"""Packing: every pair exactly once, at most 100 recipients, one sender."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from optout_core.batches import MAX_RECIPIENTS, Operation, plan
from tests.build import OTHER, PERSON, SENDER, batch, pair, wanted

SENDERS = ("+18001", "+18002", "55555")
pairs = st.builds(pair, st.integers(100, 500).map(str), st.sampled_from(SENDERS))


@given(asked=st.lists(pairs, max_size=600))
def test_every_pair_is_asked_exactly_once_with_its_sender_and_at_most_100_others(asked):
    batches = plan(Operation.REMOVE, wanted(asked))

    packed = [(batch.sender, to) for batch in batches for to in batch.recipients]
    assert len(packed) == len(set(packed))
    assert set(packed) == set(asked)
    assert all(1 <= len(batch) <= MAX_RECIPIENTS for batch in batches)


@given(asked=st.lists(pairs, max_size=600))
def test_no_request_is_wasted(asked):
    by_sender = {sender: {pair for pair in asked if pair.sender.text == sender} for sender in SENDERS}

    assert len(plan(Operation.REMOVE, wanted(asked))) == sum(
        -(-len(mine) // MAX_RECIPIENTS) for mine in by_sender.values()
    )


def test_recipients_keep_the_order_of_the_events():
    batches = plan(
        Operation.REMOVE, wanted([pair("222", "Bob"), pair("999", "Ann"), pair("111", "Bob"), pair("222", "Bob")])
    )

    assert batches == (batch("222", "111", sender="Bob"), batch("999", sender="Ann"))


def test_10_000_pairs_of_one_sender_cost_100_requests():
    batches = plan(Operation.REMOVE, wanted(pair(f"+1555{each:07}") for each in range(10_000)))

    assert [len(batch) for batch in batches] == [100] * 100


def test_nothing_to_ask_is_no_request():
    assert plan(Operation.REMOVE, []) == ()


@given(size=st.integers(2, 100))
def test_halves_hold_everybody_and_nobody_twice(size):
    whole = batch(*(f"+1555{each:07}" for each in range(size)))

    left, right = whole.halves()

    assert left.recipients + right.recipients == whole.recipients
    assert left.sender == right.sender == whole.sender
    assert 0 <= len(right) - len(left) <= 1


def test_a_batch_shows_no_number():
    shown = repr(batch(PERSON, OTHER))

    assert shown.startswith("Batch(sender=<+1800•••4567>, recipients=(<+1555•••5551>, <+1555•••5552>), ")
    assert SENDER not in str(batch(PERSON, OTHER))


def test_an_event_that_is_asked_for_apart_shares_no_request_with_another():
    events = [[pair(PERSON)], [pair(OTHER), pair(PERSON)]]

    batches = plan(Operation.REMOVE, wanted([pair(OTHER), pair("+15555555553")]), apart=map(wanted, events))

    assert batches == (
        replace(batch(PERSON), alone=True),
        replace(batch(OTHER), alone=True),
        batch("+15555555553"),
    )


def test_parts_of_a_batch_keep_what_is_known_of_it():
    both = replace(batch(PERSON, OTHER), alone=True)

    assert [half.alone for half in both.halves()] == [True, True]
    assert both.without(both.recipients[:1]) == replace(batch(OTHER), alone=True)
