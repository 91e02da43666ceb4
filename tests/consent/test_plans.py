"""What PostgreSQL makes of the two statements: the rows that it looks at grow with the slice, not with its square.

Its planner knows nothing of a slice, and of the tables what they held when they were last analysed. With one sender it
once expected a single row of a join, and compared each of a slice with each: seconds for 5,000 people.
"""

import json

import psycopg
import pytest

from optout_core.adapters.ledger import postgres as adapter
from tests.consent.conftest import open_postgres
from tests.consent.said import confirmed, people, web

#: Today 12 for each person and statement.
MOST = 30
PEOPLE = people(1_000)


def rows_of(plan):
    """Count the rows that a plan's nodes looked at, again each time that they looked."""
    looked = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Join Filter", 0)
    return looked * plan["Actual Loops"] + sum(map(rows_of, plan.get("Plans", ())))


@pytest.mark.parametrize("at", [None, 1], ids=["times differ", "one time"])
@pytest.mark.parametrize("analysed", ["empty", "full"])
async def test_a_statement_looks_at_each_person_a_few_times(postgres_database, analysed, at):
    words = [word for number, to in enumerate(PEOPLE) for word in web(at or number, to, id=f"web-{number}")]
    admits = adapter._filled(adapter._ADMIT, adapter._columns_of_words(words))
    records = adapter._filled(adapter._RECORD, adapter._columns_of_answers(confirmed(words)))
    async with (
        open_postgres(postgres_database),
        await psycopg.AsyncConnection.connect(postgres_database, autocommit=True) as server,
    ):
        looked = []
        for number, (statement, arguments) in enumerate((admits, records)):
            if number == (analysed == "full"):
                await server.execute("ANALYZE")
            asked = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
            (((answer,),),) = await (await server.execute(asked, arguments | {"several": False})).fetchall()
            looked.append(rows_of(answer["Plan"]))

    assert max(looked) < MOST * len(PEOPLE), json.dumps(looked)
