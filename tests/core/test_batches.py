"""Packing: every pair exactly once, at most 100 recipients, one sender."""

from hypothesis import given
from hypothesis import strategies as st

from optout_core.batches import MAX_RECIPIENTS, Batch, Pair, plan
from tests.build import OTHER, PERSON, SENDER

pairs = st.builds(Pair, st.sampled_from(["+18001", "+18002", "55555"]), st.integers(0, 400).map(str))


@given(asked=st.lists(pairs, max_size=600))
def test_every_pair_is_asked_exactly_once_with_its_sender_and_at_most_100_others(asked):
    batches = plan(asked)

    packed = [Pair(batch.sender, to) for batch in batches for to in batch.recipients]
    assert len(packed) == len(set(packed))
    assert set(packed) == set(asked)
    assert all(1 <= len(batch) <= MAX_RECIPIENTS for batch in batches)


@given(asked=st.lists(pairs, max_size=600))
def test_no_request_is_wasted(asked):
    by_sender = {sender: {pair for pair in asked if pair.sender == sender} for sender in ("+18001", "+18002", "55555")}

    assert len(plan(asked)) == sum(-(-len(mine) // MAX_RECIPIENTS) for mine in by_sender.values())


def test_recipients_keep_the_order_of_the_events():
    batches = plan([Pair("b", "2"), Pair("a", "9"), Pair("b", "1"), Pair("b", "2")])

    assert batches == (Batch("b", ("2", "1")), Batch("a", ("9",)))


def test_10_000_pairs_of_one_sender_cost_100_requests():
    assert [len(batch) for batch in plan(Pair(SENDER, str(number)) for number in range(10_000))] == [100] * 100


def test_nothing_to_ask_is_no_request():
    assert plan([]) == ()


@given(size=st.integers(2, 100))
def test_halves_hold_everybody_and_nobody_twice(size):
    batch = Batch(SENDER, tuple(map(str, range(size))))

    left, right = batch.halves()

    assert left.recipients + right.recipients == batch.recipients
    assert left.sender == right.sender == SENDER
    assert 0 <= len(right) - len(left) <= 1


def test_a_batch_shows_no_number():
    assert SENDER not in repr(Batch(SENDER, (PERSON, OTHER)))
