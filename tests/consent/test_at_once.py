"""Statements that really run at the same moment, on two ledgers of one database: each decides on the newest row.

The worlds of the other tests run one statement at a time; whether two at once are one after the other is the
database's affair, and is looked at here.
"""

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import combinations
from unittest.mock import patch

import pytest

from optout_core.adapters.ledger import postgres
from optout_core.adapters.ledger.sqlite import SqliteLedger
from optout_core.consent import Judgement, Row, Word, judge
from tests.consent.conftest import open_postgres
from tests.consent.said import confirmed, people, stop, web
from tests.consent.world import open_ledger

#: Enough that a statement takes a while, and waits for rows of another.
PEOPLE = people(100)
ROUNDS = 15


@pytest.fixture(params=["sqlite", "postgres"])
async def two(request, tmp_path):
    """Two ledgers on one database, as two instances have them."""
    async with AsyncExitStack() as opened:
        if request.param == "sqlite":
            yield [await opened.enter_async_context(SqliteLedger(tmp_path / "ledger.db")) for _ in range(2)]
        else:
            url = request.getfixturevalue("postgres_database")
            first = await opened.enter_async_context(open_postgres(url))
            yield [first, await opened.enter_async_context(open_ledger(url))]


@dataclass
class Called:
    """An admission that led to a call, and what the ledger said."""

    word: Word
    now: int
    row: Row

    def saw(self, other):
        """Say whether the ledger showed it the other's call, which is of the opposite kind."""
        return (self.row.remove_at if self.word.stop else self.row.add_at) >= other.now


async def admitted(ledger, words):
    """Bring words; give those that may call."""
    admission = await ledger.admit(words)
    return [
        Called(word, admission.now, admission.row_of(word))
        for word in words
        if judge(word.said_at, word.stop, admission.row_of(word)) is Judgement.CALL
    ]


async def opposite_calls(two, start=0):
    """Bring words of both kinds at the same moment, again and again; give the opposite calls of each moment."""
    dice, pairs = random.Random(start), []  # noqa: S311 - nothing here is secret
    for at in range(start, start + 4 * ROUNDS, 4):
        words = [kind(at + more, *dice.sample(PEOPLE, 80)) for more, kind in enumerate((web, stop, web, stop))]
        dice.shuffle(words)
        answers = await asyncio.gather(*(admitted(two[number % 2], each) for number, each in enumerate(words)))
        calls = [call for answer in answers for call in answer]
        pairs += [
            (one, other)
            for one, other in combinations(calls, 2)
            if one.word.key == other.word.key and one.word.stop != other.word.stop
        ]
    assert len(pairs) > ROUNDS * 10
    return pairs


async def test_of_two_opposite_calls_at_least_one_saw_the_other(two):
    for one, other in await opposite_calls(two):
        assert one.saw(other) or other.saw(one)


@pytest.mark.parametrize("two", ["postgres"], indirect=True)
async def test_a_statement_that_looked_at_its_snapshot_would_be_caught(two):
    seen = "coalesce((SELECT {0} FROM consent AS s WHERE (s.sender, s.person) = (c.sender, c.person)), 0) AS {0}"
    kept = "RETURNING c.sender, c.person, c.said_at, c.stop, c.settled, c.add_at, c.remove_at, c.xmax <> 0"
    assert kept in postgres._ADMIT
    blind = kept.replace("c.add_at, c.remove_at", f"{seen.format('add_at')}, {seen.format('remove_at')}")

    with patch.object(postgres, "_ADMIT", postgres._ADMIT.replace(kept, blind)):
        for start in range(0, 4000, 4 * ROUNDS):
            if not all(one.saw(other) or other.saw(one) for one, other in await opposite_calls(two, start)):
                return
    pytest.fail("no two opposite calls were blind to each other")


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


async def test_many_who_bring_and_answer_words_of_the_same_people_never_wait_for_each_other(two):
    dice = random.Random(1)  # noqa: S311 - nothing here is secret
    for at in range(ROUNDS):
        # A deadlock is repeated once: where locks had no order, some would meet a second one.
        said = [web(at, *dice.sample(PEOPLE, 100)) for _ in range(8)]
        await asyncio.gather(*(two[number % 2].admit(words) for number, words in enumerate(said)))
        await asyncio.gather(*(two[number % 2].record(confirmed(words)) for number, words in enumerate(said)))

    admission = await two[0].admit(said[0])
    assert {row.settled for row in admission.rows.values()} == {True}
