"""The whole job: messages in, requests to ACS, retries and dead letters out, and only then done.

The order of `process` keeps the first promise: what failed is in the broker's hands before the host completes anything.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from optout_core.api import Outcome
from optout_core.arrivals import Arrival, Lineage, read_lineage
from optout_core.batches import Batch, Pair, plan
from optout_core.consent import OptInRule, unclear
from optout_core.errors import EventError
from optout_core.events import Event, OptIn, OptOut, decode, decode_stops
from optout_core.keywords import Keywords
from optout_core.masking import Untrusted
from optout_core.messages import Outgoing, dead_letters, retry_messages, undecodable
from optout_core.numbers import Number
from optout_core.reasons import Reason
from optout_core.reports import EventReport, EventResult, Report, report_event, report_recipients
from optout_core.settlement import DeadLetter, Schedule, Settlement, settle


class OptOutList(Protocol):
    """Removes recipients from the opt-out list of ACS."""

    async def remove(self, batches: Sequence[Batch]) -> Mapping[Pair, Outcome]:
        """Ask for every batch; give an outcome for every pair in them, whatever happens."""


class Outbox(Protocol):
    """Hands messages to the broker."""

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Return when the broker has accepted every message; raise SendFailed otherwise."""


class InvocationTelemetry(Protocol):
    """Tells the people who watch."""

    def invocation(self, lineages: Sequence[Lineage]) -> AbstractContextManager[None]:
        """Measure an invocation, linked to the traces of its events."""

    def report(self, report: Report) -> None:
        """Count what an invocation did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """Settles the messages of one invocation after another.

    Attributes:
        endpoint: ACS.
        outbox: The broker.
        telemetry: Metrics, traces and log.
        rule: What an opt-in has to satisfy.
        schedule: The delays before the next try.
        keywords: The texts that are a STOP or an opt-in.
        now: Gives the current time; aware.
        chance: Gives a random number in the range [0, 1).
    """

    endpoint: OptOutList
    outbox: Outbox
    telemetry: InvocationTelemetry
    rule: OptInRule
    schedule: Schedule
    keywords: Keywords
    now: Callable[[], datetime]
    chance: Callable[[], float]

    async def process(self, arrivals: Sequence[Arrival]) -> Report:
        """Settle every recipient of every message.

        Returns:
            What was done; by then all messages may be completed.

        Raises:
            SendFailed: Retries or dead letters could not be sent; no message may be completed.
        """
        messages = [self._decode(arrival) for arrival in arrivals]
        with self.telemetry.invocation([message.lineage for message in messages]):
            asked = self._admit(messages)
            outcomes = await self.endpoint.remove(_plan(asked))
            now = self.now()
            settled = [self._settle(event, outcomes, now) for event in asked] + _unclear_opt_outs(messages)
            retries = [message for each in settled for message in each.retries()]
            dead = [message for each in settled for message in each.dead_letters()]
            dead += [refused for message in messages if (refused := message.dead_letter())]
            await self.outbox.send([*retries, *dead])
            report = Report(
                messages=len(messages),
                events=tuple(event for message in messages for event in message.reports()),
                recipients=tuple(
                    recipient
                    for each in settled
                    for recipient in report_recipients(each.event, each.lineage, each.settlements, now)
                ),
                retries=len(retries),
                dead_letters=tuple(message.reason for message in dead if message.reason),
            )
            self.telemetry.report(report)
        return report

    def _decode(self, arrival: Arrival) -> "_Message":
        lineage = read_lineage(arrival)
        if lineage.sent_back:
            # Somebody sent a dead letter back by hand, with its properties: the schedule starts anew.
            lineage = replace(lineage, attempt=0)
        try:
            return _Message(arrival=arrival, lineage=lineage, events=decode(arrival, self.keywords))
        except EventError as error:
            stops = decode_stops(arrival, self.keywords)
            return _Message(arrival=arrival, lineage=lineage, events=stops, error=error)

    def _admit(self, messages: Sequence["_Message"]) -> list["_Asked"]:
        stops = self.rule.newest_stops(
            event for message in messages for event in message.events if isinstance(event, OptOut)
        )
        now = self.now()
        return [
            _Asked(event, message.lineage, self.rule.objections(event, stops, now, message.lineage.sent_back))
            for message in messages
            for event in message.events
            if isinstance(event, OptIn)
        ]

    def _settle(self, asked: "_Asked", outcomes: Mapping[Pair, Outcome], now: datetime) -> "_Settled":
        chance = self.chance()
        settlements: dict[Number, Settlement] = {to: DeadLetter(reason) for to, reason in asked.objections.items()}
        for pair in asked.pairs():
            settlements[pair.recipient] = settle(outcomes[pair], asked.lineage, self.schedule, now, chance)
        return _Settled(asked.opt_in, asked.lineage, settlements)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    """A message, decoded; one that is refused gives its STOPs all the same."""

    arrival: Arrival
    lineage: Lineage
    events: tuple[Event, ...] = ()
    error: EventError | None = None

    def dead_letter(self) -> Outgoing | None:
        return undecodable(self.arrival, self.lineage, self.error) if self.error else None

    def reports(self) -> Iterator[EventReport]:
        yield from map(report_event, self.events)
        if self.error:
            yield EventReport(
                source=Untrusted(""),
                id=Untrusted(self.arrival.id),
                form="unknown",
                result=EventResult.DEAD_LETTERED,
                reason=self.error.reason,
            )


@dataclass(frozen=True, slots=True)
class _Asked:
    """An opt-in, and for which of its recipients ACS is not asked."""

    opt_in: OptIn
    lineage: Lineage
    objections: Mapping[Number, Reason]

    def pairs(self) -> Iterator[Pair]:
        return (Pair(self.opt_in.sender, to) for to in self.opt_in.recipients if to not in self.objections)


@dataclass(frozen=True, slots=True)
class _Settled:
    """An event, and what becomes of its recipients."""

    event: OptIn | OptOut
    lineage: Lineage
    settlements: Mapping[Number, Settlement]

    def retries(self) -> Iterator[Outgoing]:
        if isinstance(self.event, OptIn):
            yield from retry_messages(self.event, self.lineage, self.settlements)

    def dead_letters(self) -> Iterator[Outgoing]:
        return dead_letters(self.event, self.lineage, self.settlements)


def _plan(asked: Sequence[_Asked]) -> Sequence[Batch]:
    return plan(
        (pair for event in asked if not event.lineage.alone for pair in event.pairs()),
        apart=[event.pairs() for event in asked if event.lineage.alone],
    )


def _unclear_opt_outs(messages: Sequence[_Message]) -> list[_Settled]:
    return [
        _Settled(event, message.lineage, {to: DeadLetter(Reason.UNCLEAR_OPT_OUT) for to in names})
        for message in messages
        if message.error is None
        for event in message.events
        if isinstance(event, OptOut) and (names := unclear(event))
    ]
