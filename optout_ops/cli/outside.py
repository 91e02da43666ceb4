"""What a command reaches outside itself: the environment, the namespace, the audit trail, the clock."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from optout_core.settings import Settings
from optout_ops import machine
from optout_ops.audit import AuditTrail, RunRecorder
from optout_ops.cli.live import live
from optout_ops.cli.terminal import say
from optout_ops.health import look, whereabouts
from optout_ops.health.findings import Finding
from optout_ops.health.whereabouts import AskLedger
from optout_ops.queues.client import ServiceBusQueues
from optout_ops.queues.protocols import QueuePair
from optout_ops.queues.waiting import Waiter
from optout_ops.run import Run


@dataclass(frozen=True, slots=True)
class Outside:
    """The real things; a test may give others.

    Attributes:
        environ: The environment.
        open_queues: Connects to the two queues that the settings name.
        now: Gives the current time; aware.
        ask_ledger: Gives what the ledger knows of a person or an event.
        look_at_ledger: Gives what the ledger says of itself, or None where there is none.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    open_queues: Callable[[Settings], AbstractAsyncContextManager[QueuePair]] = lambda settings: ServiceBusQueues(
        settings, Waiter(say)
    )
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    # The ledger is joined here, for `find`, `status` and `doctor` at once.
    ask_ledger: AskLedger = whereabouts.no_ledger
    look_at_ledger: Callable[[], Awaitable[Finding | None]] = look.no_ledger

    def settings(self, namespace: str | None, *, needs_acs: bool = False, needs_queues: bool = True) -> Settings:
        """Read the settings, as `machine.read_settings` does."""
        return machine.read_settings(self.environ, namespace, needs_acs=needs_acs, needs_queues=needs_queues)

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
