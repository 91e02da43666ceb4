"""Seeded histories over both databases: the newest word of each person stands, whatever goes wrong.

A seed that fails is printed with the command that runs it again and tells its story; `CONSENT_SEEDS=0-99999` runs many.
"""

import os

import pytest

from tests.consent.seeds import History

#: A history costs 5 to 10 ms of processor time over SQLite, and 25 to 45 ms over PostgreSQL, the server's included: so
#: many take two minutes. All of 10,000 over both: CONSENT_SEEDS=0-9999.
SQLITE, POSTGRES, BLOCK = 10_000, 1_000, 250


def chosen(most):
    """Give blocks of seeds."""
    if given := os.environ.get("CONSENT_SEEDS"):
        first, _, last = given.partition("-")
        seeds = range(int(first), int(last or first) + 1)
    else:
        seeds = range(most)
    return [seeds[begin : begin + BLOCK] for begin in range(0, len(seeds), BLOCK)]


async def run(seeds, store, kind):
    """Run histories; tell of those that went wrong, and where there is only one, how it came."""
    wrong = []
    for seed in seeds:
        history = History(seed, store, tell=len(seeds) == 1)
        if found := await history.run():
            again = f"CONSENT_SEEDS={seed} .venv/bin/python -m pytest tests/consent/test_seeded.py -k {kind}"
            wrong += [f"seed {seed}: {'; '.join(found)}", f"its story: {again}", *(history.story or ())]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("seeds", chosen(SQLITE), ids=str)
async def test_the_newest_word_stands_over_sqlite(store, seeds):
    await run(seeds, store, "sqlite")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", ["postgres"], indirect=True)
@pytest.mark.parametrize("seeds", chosen(POSTGRES), ids=str)
async def test_the_newest_word_stands_over_postgresql(store, seeds):
    await run(seeds, store, "postgres")
