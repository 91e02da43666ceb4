"""What the consent ledger costs: the two statements of a slice, over both databases, for people it does not know."""

import asyncio
import gc
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from optout_core.adapters.connections import open_ledger
from optout_core.addresses import read_ledger
from optout_core.consent import Word, words
from optout_core.envelopes import Form
from optout_core.events import OptIn
from optout_core.ledger import Confirmed, Ledger
from optout_core.masking import Untrusted
from optout_core.numbers import read_number, read_sender
from optout_core.outcomes import Outcome, Verdict
from tests.consent.postgres import make_database, postgres_server

_ROUNDS = 3
_NOW = datetime(2026, 1, 23, 12, 0, tzinfo=UTC)
_SENDER = read_sender("+18001234567")


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCost:
    """What one slice costs.

    Attributes:
        database: Which.
        recipients: In the slice, each of an event of its own.
        admit: Milliseconds of the statement before the calls.
        record: Milliseconds of the statement after them.
        cpu: Microseconds of our processor time for a recipient, in both; of SQLite with the database, which is in the
            same process.
    """

    database: str
    recipients: int
    admit: float
    record: float
    cpu: float


def ledgers(sizes: Sequence[int]) -> list[LedgerCost]:
    """Measure both databases with slices of these sizes, the median of some rounds each."""
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
        addresses = {
            "SQLite": f"sqlite:///{Path(folder)}/ledger.db",
            "PostgreSQL": make_database(server, "benchmark"),
        }
        return [cost for name, address in addresses.items() for cost in asyncio.run(_measure(name, address, sizes))]


async def _measure(name: str, address: str, sizes: Sequence[int]) -> list[LedgerCost]:
    costs = []
    async with _opened(address) as ledger:
        first = 0
        for size in sizes:
            rounds = []
            for _ in range(_ROUNDS):
                rounds.append(await _slice(ledger, first, size))
                first += size
            admit, record, cpu = (median(values) for values in zip(*rounds, strict=True))
            costs.append(LedgerCost(database=name, recipients=size, admit=admit, record=record, cpu=cpu))
    return costs


@asynccontextmanager
async def _opened(address: str) -> AsyncIterator[Ledger]:
    def nobody() -> None:
        raise AssertionError("the address holds a password")

    async with open_ledger(read_ledger(address), nobody) as ledger:  # type: ignore[arg-type] # never asked for
        await ledger.migrate()
        yield ledger


async def _slice(ledger: Ledger, first: int, size: int) -> tuple[float, float, float]:
    said = [word for number in range(first, first + size) for word in _words(number)]
    outcome = Outcome(Verdict.CONFIRMED, "", 200, ms_cv="x" * 22, answered_at=_NOW)
    gc.collect()
    cpu, started = time.process_time(), time.perf_counter()
    await ledger.admit(said)
    admitted = time.perf_counter()
    await ledger.record([Confirmed(word, settles=True, outcome=outcome) for word in said])
    recorded = time.perf_counter()
    used = time.process_time() - cpu
    return (admitted - started) * 1e3, (recorded - admitted) * 1e3, used / size * 1e6


def _words(number: int) -> list[Word]:
    event = OptIn(
        form=Form.CLOUD_EVENT,
        source=Untrusted("https://shop.example/preferences"),
        id=Untrusted(f"preference-{number}"),
        time=_NOW - timedelta(minutes=1),
        sender=_SENDER,
        recipients=(read_number(f"+1555{number:07}"),),
    )
    return list(words(event, event.sender, event.recipients, _NOW))
