"""What a command reaches outside itself: the environment, the namespace, the audit trail, the clock."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from optout_core.adapters.ledger.publishing import read_published
from optout_core.adapters.ledger.records import Database, Records
from optout_core.adapters.ledger.replays import count_applied
from optout_core.consent import microseconds
from optout_core.errors import LedgerForbidden, LedgerUnavailable
from optout_core.numbers import Number, read_sender
from optout_core.settings import Settings
from optout_ops import machine
from optout_ops.audit import AuditTrail, RunRecorder
from optout_ops.cli.live import live
from optout_ops.cli.terminal import say
from optout_ops.consent.ledger import open_database, open_records
from optout_ops.consent.places import places_of
from optout_ops.consent.queues import InformedQueues
from optout_ops.exits import Mistake, OutOfReach
from optout_ops.health.deployed import NOT_READ, NOT_SAID, Deployed, go_by
from optout_ops.health.findings import Finding, Health, ending_queue
from optout_ops.health.whereabouts import Place, Wanted
from optout_ops.queues.client import ServiceBusQueues
from optout_ops.queues.protocols import QueuePair
from optout_ops.queues.waiting import Waiter
from optout_ops.run import Run
from optout_ops.wording import count

NO_LEDGER = (
    "CONSENT_LEDGER is empty here: nothing is known of STOPs; if the function's is empty too, it remembers them for one"
    " invocation only"
)


@dataclass(frozen=True, slots=True)
class Outside:
    """The real things; a test may give others.

    Attributes:
        environ: The environment.
        open_queues: Connects to the two queues that the settings name.
        now: Gives the current time; aware.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    open_queues: Callable[[Settings], AbstractAsyncContextManager[QueuePair]] = lambda settings: ServiceBusQueues(
        settings, Waiter(say)
    )
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def settings(
        self, namespace: str | None, *, needs_acs: bool = False, needs_queues: bool = True, ending: bool = False
    ) -> Settings:
        """Read the settings, as `machine.read_settings` does; `ending` is for the dead letters in their last days."""
        settings = machine.read_settings(self.environ, namespace, needs_acs=needs_acs, needs_queues=needs_queues)
        if not ending:
            return settings
        return settings.model_copy(update={"dead_letter_queue": ending_queue(settings)})

    @asynccontextmanager
    async def informed_queues(self, settings: Settings) -> AsyncIterator[QueuePair]:
        """Connect to the two queues; dead letters say what the ledger knows, where there is one that answers."""
        async with AsyncExitStack() as stack:
            queues = await stack.enter_async_context(self.open_queues(settings))
            if settings.consent_ledger is not None:
                try:
                    records = await stack.enter_async_context(open_records(settings))
                except (Mistake, OutOfReach) as error:
                    say(f"The ledger was not asked: {error}")
                else:
                    queues = cast("QueuePair", InformedQueues(queues, records))
            yield queues

    async def ask_ledger(self, settings: Settings, wanted: Wanted, senders: Iterable[Number] | None) -> list[Place]:
        """Give what the ledger knows of a person and these senders; None stands for all that it knows."""
        if settings.consent_ledger is None or wanted.person is None:
            return []
        async with open_records(settings) as records:
            return await places_of(
                records, wanted.person, map(read_sender, await records.senders()) if senders is None else senders
            )

    async def look_at_ledger(self, settings: Settings, *, names_acs: bool) -> tuple[Finding, Deployed]:
        """Give what the ledger says of itself, and the settings that the function published in it.

        Args:
            settings: Those of this shell.
            names_acs: Whether they name the ACS resource.
        """
        if settings.consent_ledger is None:
            return Finding("ledger", Health.UNKNOWN, NO_LEDGER), _own(settings, NOT_SAID)
        try:
            async with open_database(settings) as database:
                deployed = go_by(settings, await read_published(database), names_acs=names_acs)
                before = microseconds(self.now() - 2 * deployed.settings.call_horizon)
                stops = await Records(database).unsettled_stops(before)
                unwritten = await _try_writing(database)
        except (Mistake, OutOfReach) as error:
            return Finding("ledger", Health.BAD, str(error)), _own(settings, NOT_READ)
        settled = (
            f"{count(stops, 'STOP')} not settled: docs/runbook.md" if stops else "every STOP that it holds is settled"
        )
        if isinstance(unwritten, LedgerForbidden):
            health = Health.BAD if stops else Health.UNKNOWN
            text = f"it can be read, and {settled}; whether the function may write is not known, since we may not"
        elif unwritten is not None:
            health, text = Health.BAD, f"it can be read and not written; {settled}; {unwritten}"
        else:
            health, text = Health.BAD if stops else Health.GOOD, f"it can be read and written, and {settled}"
        return Finding("ledger", health, text), deployed

    async def count_applied(self, settings: Settings, replay_id: str) -> int | None:
        """Give how many recipients of a replay the ledger says were applied; None where it cannot be asked."""
        if settings.consent_ledger is None:
            return None
        try:
            async with open_database(settings) as database:
                return await count_applied(database, replay_id)
        except (Mistake, OutOfReach) as error:
            say(f"The ledger was not asked: {error}")
            return None

    def trail(self) -> AuditTrail:
        """Give the audit trail."""
        return AuditTrail(machine.audit_path(self.environ))

    def recorder(self, command: str, run_id: str, note: str | None) -> RunRecorder:
        """Give what records a run of a command in the audit trail, with the operator's note on it."""
        return RunRecorder(self.trail(), command, run_id, note)

    @contextmanager
    def run(
        self, command: str, run_id: str, *, note: str | None, doing: str, total: int, stop: asyncio.Event
    ) -> Iterator[Run]:
        """Begin a run of a command, with a line that says what it is `doing` to `total` messages."""
        with live(doing, total) as shown:
            recorder = self.recorder(command, run_id, note)
            yield Run(recorder=recorder, advance=shown.advance, note=shown.note, now=self.now, stop=stop)


async def _try_writing(database: Database) -> LedgerUnavailable | None:
    try:
        await Records(database).try_writing()
    except LedgerUnavailable as error:
        return error
    return None


def _own(settings: Settings, why: str) -> Deployed:
    return Deployed(settings, Finding("settings", Health.UNKNOWN, why))
