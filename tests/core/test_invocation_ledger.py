"""What is known of people without a ledger: the STOPs of one invocation, and the opt-ins of whoever said STOP in it."""

import pytest

from optout_core.consent import Judgement, judge
from optout_core.ledger import InvocationLedger
from tests.build import OTHER
from tests.consent.said import confirmed, people, stop, web
from tests.consent.world import Clock


@pytest.fixture
def ledger():
    return InvocationLedger(Clock())


async def judged(ledger, words, word):
    """Take words in; say what becomes of one of them."""
    admission = await ledger.admit(words)
    row = admission.row_of(word)
    return judge(admission.said_at.get(word.id, word.said_at), word.stop, row)


@pytest.mark.parametrize("turn", [1, -1])
async def test_a_stop_blocks_an_older_opt_in_of_the_same_slice(ledger, turn):
    (opt_in,), (stopped,) = web(1), stop(2)

    assert await judged(ledger, [opt_in, stopped][::turn], opt_in) is Judgement.BLOCKED


async def test_a_stop_blocks_an_older_opt_in_of_a_later_slice(ledger):
    await ledger.admit(stop(2))
    (opt_in,) = web(1)

    assert await judged(ledger, [opt_in], opt_in) is Judgement.BLOCKED


async def test_an_older_stop_blocks_nothing_and_stands_itself(ledger):
    (opt_in,), (stopped,) = web(2), stop(1)

    assert await judged(ledger, [stopped, opt_in], opt_in) is Judgement.CALL
    assert await judged(ledger, [stopped], stopped) is Judgement.STANDS


async def test_what_acs_confirmed_for_somebody_who_said_stop_is_not_called_again(ledger):
    (opt_in,), (stopped,) = web(2), stop(1)
    await ledger.admit([stopped, opt_in])

    assert await ledger.record(confirmed([opt_in])) == {}
    assert await judged(ledger, [opt_in], opt_in) is Judgement.STANDS


async def test_an_answer_to_an_older_word_shows_the_newer_one(ledger):
    (opt_in,), (stopped,) = web(2), stop(1)
    await ledger.admit([stopped, opt_in])

    assert [row.stop for row in (await ledger.record(confirmed([stopped]))).values()] == [False]


async def test_an_event_that_comes_again_keeps_its_first_time(ledger):
    (first,), (again,) = web(1, id="untimed"), web(3, id="untimed")
    await ledger.admit([first, *stop(2)])

    assert await judged(ledger, [again], again) is Judgement.BLOCKED


async def test_nothing_is_remembered_of_whoever_only_opted_in(ledger):
    await ledger.admit([*web(1, *people(500)), *stop(1, OTHER)])
    admission = await ledger.admit(web(2, *people(500)))

    assert admission.rows == {}
    assert await ledger.record(confirmed(web(1, *people(500)))) == {}
