"""The whole job: messages in, requests to ACS, retries and dead letters out, and only then done.

The order keeps the first promise: what failed is in the broker's hands before the host completes anything. An
invocation is worked off in slices, so that memory and the time for which the loop is blocked do not depend on what
publishers send.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Protocol, Self, TypeVar

from optout_core.api import Outcome, Verdict
from optout_core.arrivals import Arrival, Lineage, read_lineage
from optout_core.batches import Batch, Pair, plan
from optout_core.consent import ConsentKey, OptInRule, unclear
from optout_core.dispatch import Outbox, as_dispatched, dispatch
from optout_core.events import OptIn
from optout_core.incoming import Incoming
from optout_core.keywords import Keywords
from optout_core.messages import dead_letters, retry_messages
from optout_core.numbers import Number
from optout_core.outgoing import Outgoing
from optout_core.reasons import Reason
from optout_core.reports import Report, SettledEvent
from optout_core.settlement import DeadLetter, Schedule, Settlement, settle

#: Recipients after which a slice is full: enough to keep all requests in flight busy, and a few megabytes of memory.
SLICE = 5_000
#: Recipients after which others get their turn on the loop: some ten milliseconds.
STRETCH = 500

#: What becomes of recipients who are not asked for, because nothing could be recorded of them.
_IN_DOUBT = Outcome(Verdict.UNAVAILABLE, "not asked: the broker takes neither retries nor dead letters")

_Received = tuple[Arrival, Lineage]
_Work = TypeVar("_Work", bound=Sized)


class OptOutList(Protocol):
    """Removes recipients from the opt-out list of ACS."""

    async def remove(self, batches: Sequence[Batch], deadline: float) -> Mapping[Pair, Outcome]:
        """Ask for every batch until the deadline; give an outcome for every pair in them, whatever happens."""


class InvocationTelemetry(Protocol):
    """Tells the people who watch."""

    def invocation(self, lineages: Sequence[Lineage]) -> AbstractContextManager[None]:
        """Measure an invocation, linked to the traces of its events."""

    def report(self, report: Report) -> None:
        """Count what was done."""


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
        give_way: Lets others have their turn.
    """

    endpoint: OptOutList
    outbox: Outbox
    telemetry: InvocationTelemetry
    rule: OptInRule
    schedule: Schedule
    keywords: Keywords
    now: Callable[[], datetime]
    chance: Callable[[], float]
    give_way: Callable[[], Awaitable[None]]

    async def process(self, arrivals: Sequence[Arrival], deadline: float) -> None:
        """Settle every recipient of every message; when it returns, all messages may be completed.

        Args:
            arrivals: The messages of one invocation.
            deadline: On the clock of `endpoint`: from then on nobody is asked for; who is left waits for a next try.

        Raises:
            SendFailed: A retry or a dead letter was taken by neither queue; no message may be completed.
        """
        lineages = [read_lineage(arrival) for arrival in arrivals]
        with self.telemetry.invocation(lineages):
            received = list(zip(arrivals, lineages, strict=True))
            stops: Mapping[ConsentKey, datetime] | None = None
            async for messages, rest in self._slices(received):
                if stops is None:
                    # Those of later slices too: an older opt-in of this one may not be applied against them.
                    later = [stop async for message in self._read(rest) for stop in message.opt_outs()]
                    stops = self.rule.newest_stops([*later, *(stop for each in messages for stop in each.opt_outs())])
                self.telemetry.report(await self._process(messages, stops, deadline))

    async def _slices(self, received: Sequence[_Received]) -> AsyncIterator[tuple[list[Incoming], Sequence[_Received]]]:
        messages: list[Incoming] = []
        size = done = 0
        async for message in self._read(received):
            messages.append(message)
            size += len(message)
            done += 1
            if size >= SLICE:
                yield messages, received[done:]
                messages, size = [], 0
        if messages:
            yield messages, ()

    def _read(self, received: Iterable[_Received]) -> AsyncIterator[Incoming]:
        return self._in_turn(Incoming.read(arrival, lineage, self.keywords) for arrival, lineage in received)

    async def _process(
        self, messages: Sequence[Incoming], stops: Mapping[ConsentKey, datetime], deadline: float
    ) -> Report:
        asked = self._admit(messages, stops)
        batches = _plan(asked)
        # Sending is proven before ACS is called: what could not be recorded would be done again and again.
        outcomes = _put_off(batches) if self.outbox.is_in_doubt else await self.endpoint.remove(batches, deadline)
        now = self.now()
        settled = [self._settle(each, outcomes, now) async for each in self._in_turn(asked)]
        settled += _unclear_opt_outs(messages, now)
        outgoing: list[Outgoing] = []
        async for each in self._in_turn(each for each in settled if not each.is_done):
            outgoing += retry_messages(each.event, each.lineage, each.settlements)
            outgoing += dead_letters(each.event, each.lineage, each.settlements)
        outgoing += [letter for message in messages if (letter := message.dead_letter())]
        dispatched = await dispatch(self.outbox, outgoing, self.schedule, now)
        if dispatched.parked or dispatched.refused:
            settled = [as_dispatched(each, dispatched) for each in settled]
        settled += _no_longer_parked(messages, {each.message_id for each in dispatched.dead_letters}, now)
        return Report(
            messages=len(messages),
            events=tuple(event for message in messages for event in message.reports()),
            settled=tuple(settled),
            dispatched=dispatched,
        )

    def _admit(self, messages: Sequence[Incoming], stops: Mapping[ConsentKey, datetime]) -> "list[_Asked]":
        now = self.now()
        return [
            _Asked.of(opt_in, message.lineage, self.rule.objections(opt_in, stops, now, message.lineage.sent_back))
            for message in messages
            for opt_in in message.opt_ins()
        ]

    def _settle(self, asked: "_Asked", outcomes: Mapping[Pair, Outcome], now: datetime) -> SettledEvent:
        chance = self.chance()
        settlements: dict[Number, Settlement] = {to: DeadLetter(reason) for to, reason in asked.objections.items()}
        for pair in asked.pairs:
            settlements[pair.recipient] = settle(outcomes[pair], asked.lineage, self.schedule, now, chance)
        return SettledEvent(event=asked.opt_in, lineage=asked.lineage, settlements=settlements, now=now)

    async def _in_turn(self, works: Iterable[_Work]) -> AsyncIterator[_Work]:
        done = 0
        for work in works:
            yield work
            done += len(work)
            if done >= STRETCH:
                await self.give_way()
                done = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """An opt-in, for which of its recipients ACS is not asked, and for whom it is."""

    opt_in: OptIn
    lineage: Lineage
    objections: Mapping[Number, Reason]
    pairs: Sequence[Pair]

    @classmethod
    def of(cls, opt_in: OptIn, lineage: Lineage, objections: Mapping[Number, Reason]) -> Self:
        pairs = [Pair(opt_in.sender, to) for to in opt_in.recipients if to not in objections]
        return cls(opt_in, lineage, objections, pairs)

    def __len__(self) -> int:
        return len(self.opt_in.recipients)


def _plan(asked: Sequence[_Asked]) -> Sequence[Batch]:
    return plan(
        chain.from_iterable(event.pairs for event in asked if not event.lineage.alone),
        apart=[event.pairs for event in asked if event.lineage.alone],
    )


def _put_off(batches: Iterable[Batch]) -> Mapping[Pair, Outcome]:
    return {Pair(batch.sender, to): _IN_DOUBT for batch in batches for to in batch.recipients}


def _unclear_opt_outs(messages: Sequence[Incoming], now: datetime) -> Iterator[SettledEvent]:
    for message in messages:
        for stop in message.opt_outs() if message.error is None else ():
            if names := unclear(stop):
                settlements = {to: DeadLetter(Reason.UNCLEAR_OPT_OUT) for to in names}
                yield SettledEvent(event=stop, lineage=message.lineage, settlements=settlements, now=now)


def _no_longer_parked(messages: Sequence[Incoming], sent: Collection[str], now: datetime) -> Iterator[SettledEvent]:
    for message in messages:
        if message.parked and message.parked.reason and message.parked.message_id in sent:
            for event in message.of_dead_letter():
                settlements = {to: DeadLetter(message.parked.reason) for to in event.recipients}
                yield SettledEvent(event=event, lineage=message.lineage, settlements=settlements, now=now)
