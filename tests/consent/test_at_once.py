"""Statements that really run at the same moment, on two ledgers of one database: each decides on the newest row.

The worlds of the other tests run one statement at a time; whether two at once are one after the other is the
database's affair, and is looked at here.
"""

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from optout_core.adapters.ledger.sqlite import SqliteLedger
from optout_core.consent import Judgement, Row, Word, judge
from tests.consent.conftest import open_postgres
from tests.consent.said import confirmed, people, stop, web
from tests.consent.world import open_ledger

PEOPLE = people(3)
#: Who brings words at the same time, and how often.
CLIENTS, TIMES = 8, 40


@pytest.fixture(params=["sqlite", "postgres"])
async def two(request, tmp_path):
    """Two ledgers on one database, as two instances have them."""
    async with AsyncExitStack() as opened:
        if request.param == "sqlite":
            yield [await opened.enter_async_context(SqliteLedger(tmp_path / "ledger.db")) for _ in range(2)]
        else:
            url = request.getfixturevalue("database")
            first = await opened.enter_async_context(open_postgres(url))
            yield [first, await opened.enter_async_context(open_ledger(url))]


@dataclass
class Called:
    """An admission that led to a call: when it began and ended, and what the ledger said."""

    word: Word
    began: int
    ended: int
    now: int
    row: Row

    def saw(self, other):
        """Say whether the ledger showed it the other's call, which is of the opposite kind."""
        return (self.row.remove_at if self.word.stop else self.row.add_at) >= other.now


async def client(number, ledger, seen, calls):
    """Bring words of some people, and record what is called for."""
    dice = random.Random(number)  # noqa: S311 - nothing here is secret
    for turn in range(TIMES):
        kind = dice.choice((web, stop))
        given = kind(3 * turn + dice.randint(0, 9), *dice.sample(PEOPLE, dice.randint(1, len(PEOPLE))))
        seen.append(began := len(seen))
        admission = await ledger.admit(given)
        seen.append(ended := len(seen))
        words = [word for word in given if judge(word.said_at, word.stop, admission.rows[word.key]) is Judgement.CALL]
        calls += [Called(word, began, ended, admission.now, admission.rows[word.key]) for word in words]
        if dice.random() < 0.5:
            await ledger.record(confirmed(words))


async def test_of_two_opposite_calls_at_least_one_saw_the_other(two):
    seen, calls = [], []

    await asyncio.gather(*(client(number, two[number % 2], seen, calls) for number in range(CLIENTS)))

    opposite = [
        (one, other)
        for one in calls
        for other in calls
        if one.word.stop and not other.word.stop and one.word.key == other.word.key
    ]
    assert len(opposite) > 100
    assert all(one.saw(other) or other.saw(one) for one, other in opposite)
    for one, other in opposite:
        for earlier, later in ((one, other), (other, one)):
            assert earlier.ended >= later.began or later.saw(earlier)


async def test_the_newest_of_words_that_came_at_once_stands_and_is_not_settled_by_an_older_one(two):
    for at in range(0, 200, 4):
        older, newer = [(web, stop), (stop, web)][at // 4 % 2]
        first = older(at, *PEOPLE)
        await two[0].admit(first)

        known, admission = await asyncio.gather(two[0].record(confirmed(first)), two[1].admit(newer(at + 2, *PEOPLE)))

        # The answer was recorded before the newer word came, or it saw it; in neither case is the newer one settled.
        assert not any(row.settled for row in admission.rows.values())
        assert all(row.said_at == first[0].said_at or not row.settled for row in known.values())
        again = await two[0].admit(newer(at + 2, *PEOPLE))
        assert {(row.stop, row.settled) for row in again.rows.values()} == {(newer is stop, False)}
