"""The whole job: messages in, requests to ACS, retries and dead letters out, and only then done.

The order of `process` keeps the first promise: what failed is in the broker's hands before the host completes anything.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from optout_core.api import Outcome
from optout_core.arrivals import Arrival, Lineage, read_lineage
from optout_core.batches import Batch, Pair, plan
from optout_core.consent import Rule, identity, newest_stops
from optout_core.errors import EventError
from optout_core.events import Event, OptIn, OptOut, decode
from optout_core.messages import Outgoing, dead_letters, retry_messages, undecodable
from optout_core.reasons import Reason
from optout_core.reports import EventReport, EventResult, Report, report_event, report_recipients
from optout_core.settlement import DeadLetter, Schedule, Settlement, settle


class Endpoint(Protocol):
    """Removes recipients from the opt-out list of ACS."""

    async def remove(self, batches: Sequence[Batch]) -> Mapping[Pair, Outcome]:
        """Ask for every batch; give an outcome for every pair in them, whatever happens."""


class Outbox(Protocol):
    """Hands messages to the broker."""

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Return when the broker has accepted every message; raise SendFailed otherwise."""


class Ledger(Protocol):
    """Remembers who said STOP, and when."""

    async def last_stops(self, stops: Mapping[Pair, datetime], pairs: Collection[Pair]) -> Mapping[Pair, datetime]:
        """Record these STOPs, then give the newest known STOP of each `consent.identity` that has one."""


class Telemetry(Protocol):
    """Tells the people who watch."""

    def invocation(self, lineages: Sequence[Lineage]) -> AbstractContextManager[None]:
        """Measure an invocation, linked to the traces of its events."""

    def report(self, report: Report) -> None:
        """Count what an invocation did."""


@dataclass(frozen=True, slots=True)
class Processor:
    """Process the messages of one invocation after another.

    Attributes:
        endpoint: ACS.
        outbox: The broker.
        ledger: Who said STOP.
        telemetry: Metrics, traces and log.
        rule: What an opt-in has to satisfy.
        schedule: The delays before the next try.
        opt_in_keywords: Upper-case texts that lift an opt-out.
        now: Gives the current time; aware.
        chance: Gives a random number in the range [0, 1).
    """

    endpoint: Endpoint
    outbox: Outbox
    ledger: Ledger
    telemetry: Telemetry
    rule: Rule
    schedule: Schedule
    opt_in_keywords: frozenset[str]
    now: Callable[[], datetime]
    chance: Callable[[], float]

    async def process(self, batch: Sequence[Arrival]) -> Report:
        """Settle every recipient of every message.

        Returns:
            What was done; by then all messages may be completed.

        Raises:
            SendFailed: Retries or dead letters could not be sent; no message may be completed.
        """
        opened = [self._open(arrival) for arrival in batch]
        with self.telemetry.invocation([each.lineage for each in opened]):
            tasks = await self._admit(opened)
            outcomes = await self.endpoint.remove(plan(pair for task in tasks for pair in task.admitted()))
            now = self.now()
            settled = [(task.opt_in, task.lineage, self._settle(task, outcomes, now)) for task in tasks]
            retries = [message for each in settled for message in retry_messages(*each)]
            dead = [message for each in settled for message in dead_letters(*each)]
            dead += [undecodable(each.arrival, each.lineage, each.error) for each in opened if each.error]
            await self.outbox.send([*retries, *dead])
            report = Report(
                messages=len(batch),
                events=tuple(event for each in opened for event in each.reports()),
                recipients=tuple(recipient for each in settled for recipient in report_recipients(*each, now)),
                retries=len(retries),
                dead_letters=tuple(message.reason for message in dead if message.reason),
            )
            self.telemetry.report(report)
        return report

    def _open(self, arrival: Arrival) -> "_Opened":
        try:
            return _Opened(arrival, read_lineage(arrival), decode(arrival, self.opt_in_keywords))
        except EventError as error:
            return _Opened(arrival, read_lineage(arrival), error=error)

    async def _admit(self, opened: Sequence["_Opened"]) -> list["_Task"]:
        opt_ins = [(event, each.lineage) for each in opened for event in each.events if isinstance(event, OptIn)]
        opt_outs = [event for each in opened for event in each.events if isinstance(event, OptOut)]
        pairs = {identity(opt_in.sender, to) for opt_in, _ in opt_ins for to in opt_in.recipients}
        stops = await self.ledger.last_stops(newest_stops(opt_outs), pairs)
        now = self.now()
        return [_Task(opt_in, lineage, self.rule.objections(opt_in, stops, now)) for opt_in, lineage in opt_ins]

    def _settle(self, task: "_Task", outcomes: Mapping[Pair, Outcome], now: datetime) -> dict[str, Settlement]:
        chance = self.chance()
        refused: dict[str, Settlement] = {to: DeadLetter(reason) for to, reason in task.objections.items()}
        return refused | {
            pair.recipient: settle(outcomes[pair], task.lineage, self.schedule, now, chance) for pair in task.admitted()
        }


@dataclass(frozen=True, slots=True)
class _Opened:
    arrival: Arrival
    lineage: Lineage
    events: tuple[Event, ...] = ()
    error: EventError | None = None

    def reports(self) -> list[EventReport]:
        if self.error is None:
            return [report_event(event) for event in self.events]
        return [EventReport("", self.arrival.id, "unknown", EventResult.DEAD_LETTERED, self.error.reason)]


@dataclass(frozen=True, slots=True)
class _Task:
    opt_in: OptIn
    lineage: Lineage
    objections: Mapping[str, Reason] = field(repr=False)

    def admitted(self) -> Iterator[Pair]:
        return (Pair(self.opt_in.sender, to) for to in self.opt_in.recipients if to not in self.objections)
