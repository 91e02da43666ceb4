"""Which recipients of which replay were applied: the function writes it down, `optout dlq status` counts it.

One SQL for both databases. For what no operator replayed nothing is written. What cannot be written is not told as
applied: nothing fails with it.
"""

import asyncio
import logging
from collections.abc import Iterator

from optout_core.adapters.ledger.records import Database
from optout_core.consent import words
from optout_core.masking import show
from optout_core.reports import Report, SettledEvent
from optout_core.settlement import Done

#: Rows of one statement: SQLite took at most 999 arguments before 3.32.
_AT_ONCE = 150
#: Seconds that an invocation waits for it at most.
_AT_MOST = 5.0

_Row = tuple[str, str, str, str, str]
_COLUMNS = ("replay", "sender", "person", "source", "event")
_WRITE = "INSERT INTO consent_replayed (replay, sender, person, source, event) VALUES {} ON CONFLICT DO NOTHING"
_COUNT = "SELECT count(*) FROM consent_replayed WHERE replay = :replay"

_log = logging.getLogger("optout_core")


class AppliedReplays:
    """Writes down of replayed events who was applied."""

    def __init__(self, database: Database) -> None:
        """Take the ledger."""
        self._database = database
        self._rows: list[_Row] = []

    def note(self, report: Report) -> None:
        """Note what a slice settled; nothing is written yet."""
        for each in report.settled:
            if each.lineage.replay_id is not None:
                self._rows += _applied(each, each.lineage.replay_id)

    async def write(self) -> None:
        """Write down what was noted; call it before its messages are completed."""
        if not self._rows:
            return
        # In one order, so that two that write the same rows do not wait for each other.
        rows, self._rows = sorted(set(self._rows)), []
        try:
            async with asyncio.timeout(_AT_MOST):
                for start in range(0, len(rows), _AT_ONCE):
                    await self._write(rows[start : start + _AT_ONCE])
        except Exception as error:  # noqa: BLE001 - they are applied, and an invocation that fails would repeat them
            why = show(str(error).partition(": nothing is called")[0] or type(error).__name__)
            _log.warning("of %d replayed recipients it is not written down that they were applied (%s)", len(rows), why)

    async def _write(self, rows: list[_Row]) -> None:
        named = ", ".join(f"({', '.join(f':{name}{number}' for name in _COLUMNS)})" for number in range(len(rows)))
        values = {
            f"{name}{number}": value
            for number, row in enumerate(rows)
            for name, value in zip(_COLUMNS, row, strict=True)
        }
        await self._database.run(_WRITE.format(named), values)


async def count_applied(database: Database, replay_id: str) -> int:
    """Count the recipients of a replay of whom it is written down that they were applied.

    Raises:
        LedgerUnavailable: There is no answer.
    """
    ((count,),) = await database.run(_COUNT, {"replay": replay_id})
    return int(str(count))


def _applied(settled: SettledEvent, replay_id: str) -> Iterator[_Row]:
    event = settled.event
    done = [to for to, settlement in settled.settlements.items() if isinstance(settlement, Done)]
    for word in words(event, event.sender, done, settled.now):
        yield (replay_id, word.sender, word.person, word.source, word.event)
