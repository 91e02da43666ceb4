"""Of what operators replayed the function writes down who was applied, and nothing of anything else."""

import asyncio
import logging

import pytest

from optout_core.adapters.ledger.records import Records
from optout_core.adapters.ledger.replays import AppliedReplays, count_applied
from optout_core.errors import LedgerUnavailable
from optout_core.outcomes import Outcome, Verdict
from optout_core.reasons import Reason
from optout_core.reports import Report, SettledEvent
from optout_core.settlement import DONE, DeadLetter, RetryLater
from tests.build import NOW, OTHER, PERSON, lineage, numbers, opt_in
from tests.consent.said import key, people

REPLAY = "20260123T120000Z-abcdef"


def report(*recipients, replay_id=REPLAY, settled=DONE, **event):
    """A slice in which one event of a replay was settled."""
    settlements = dict.fromkeys(numbers(*recipients or (PERSON,)), settled)
    of = lineage(replay_id=replay_id, replay_count=1)
    return Report(
        messages=1,
        settled=(SettledEvent(event=opt_in(*recipients, **event), lineage=of, of_each=settlements, now=NOW),),
    )


async def written(database, *reports):
    replays = AppliedReplays(database)
    for each in reports:
        replays.note(each)
    await replays.write()
    return await count_applied(database, REPLAY)


async def test_everybody_who_is_done_is_counted_once(database):
    assert await written(database, report(PERSON, OTHER), report(PERSON), report(PERSON, id="another")) == 3
    assert await written(database, report(PERSON, OTHER)) == 3


async def test_any_number_of_them(database):
    assert await written(database, report(*people(1_000))) == 1_000


async def test_who_waits_or_is_dead_is_not_applied(database):
    refused = Outcome(Verdict.REJECTED, "", 400)
    dead = DeadLetter(Reason.RECIPIENT_REJECTED, refused)

    assert await written(database, report(settled=RetryLater(NOW, 1)), report(OTHER, settled=dead)) == 0


async def test_of_another_replay_or_of_none_nothing_is_counted(database):
    assert await written(database, report(replay_id=None), report(replay_id="20260123T130000Z-abcdef")) == 0


async def test_whoever_is_erased_is_erased_here_too(database):
    await written(database, report(PERSON, OTHER))

    await Records(database).erase(key())

    assert await count_applied(database, REPLAY) == 1


class Refusing:
    """A ledger that refuses, and counts how often it was asked."""

    def __init__(self, error=None):
        self.asked = 0
        self.error = error

    async def run(self, *_):
        self.asked += 1
        if self.error is None:
            await asyncio.Event().wait()
        raise self.error


@pytest.mark.parametrize(
    "error",
    [LedgerUnavailable("no answer (+15555555551): nothing is called; check it"), RuntimeError("odd"), None],
)
async def test_a_ledger_that_does_not_take_it_harms_nobody(monkeypatch, caplog, error):
    monkeypatch.setattr("optout_core.adapters.ledger.replays._AT_MOST", 0.05)
    ledger = Refusing(error)
    replays = AppliedReplays(ledger)
    replays.note(report())

    with caplog.at_level(logging.WARNING, logger="optout_core"):
        await replays.write()
        await replays.write()

    assert ledger.asked == 1
    assert "of 1 replayed recipients it is not written down" in caplog.text
    assert "15555555551" not in caplog.text
    assert "nothing is called" not in caplog.text


async def test_where_nothing_was_replayed_the_ledger_is_not_asked():
    ledger = Refusing(RuntimeError("asked"))
    replays = AppliedReplays(ledger)
    replays.note(report(replay_id=None))

    await replays.write()

    assert ledger.asked == 0
