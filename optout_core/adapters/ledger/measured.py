"""A ledger whose answers are timed, and whose unsettled STOPs are counted."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Protocol

from optout_core.adapters.ledger.records import Database, Records
from optout_core.consent import ConsentKey, Row, Word, microseconds
from optout_core.errors import LedgerUnavailable
from optout_core.ledger import Admission, Confirmed, Ledger

#: Seconds between two counts: the alert on them looks at fifteen minutes (docs/runbook.md, "stops-unsettled").
_BETWEEN = 60.0


class LedgerTelemetry(Protocol):
    """Measures the ledger."""

    def ledger(self, statement: str) -> AbstractContextManager[None]:
        """Time a statement, and say so when it fails."""


class LedgerInDatabase(Ledger, Database, Protocol):
    """A ledger that lasts."""


class MeasuredLedger:
    """A ledger, and how it is doing.

    Attributes:
        unsettled_stops: STOPs older than twice CALL_HORIZON that were not settled when last counted; None for unknown.
    """

    def __init__(
        self,
        ledger: LedgerInDatabase,
        telemetry: LedgerTelemetry,
        horizon: timedelta,
        *,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the ledger, how long after its admission a call may act, and what is called when words are taken in."""
        self.unsettled_stops: int | None = None
        self._ledger = ledger
        self._telemetry = telemetry
        self._horizon = horizon
        self._answered = answered
        self._count_at = float("-inf")

    async def admit(self, words: Sequence[Word]) -> Admission:
        """Take words in, as `optout_core.ledger.Ledger` says."""
        with self._telemetry.ledger("admit"):
            admission = await self._ledger.admit(words)
        self._answered()
        return admission

    async def record(self, answers: Iterable[Confirmed]) -> Mapping[ConsentKey, Row]:
        """Keep what ACS confirmed, as `optout_core.ledger.Ledger` says."""
        with self._telemetry.ledger("record"):
            rows = await self._ledger.record(answers)
        await self._count()
        return rows

    async def _count(self) -> None:
        if monotonic() < self._count_at:
            return
        self._count_at, self.unsettled_stops = monotonic() + _BETWEEN, None
        # What was recorded is recorded, whatever comes of counting.
        with suppress(LedgerUnavailable), self._telemetry.ledger("count"):
            before = microseconds(datetime.now(UTC) - 2 * self._horizon)
            self.unsettled_stops = await Records(self._ledger).unsettled_stops(before)
