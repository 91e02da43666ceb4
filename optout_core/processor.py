"""The whole job: messages in, requests to ACS, retries and dead letters out, and only then done.

The order keeps the first promise: what failed is in the broker's hands before the host completes anything. An
invocation is worked off in slices, so that memory and the time for which the loop is blocked do not depend on what
publishers send.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Protocol

from optout_core.arrivals import Arrival, Lineage, read_lineage
from optout_core.asked import Answers, Asked
from optout_core.batches import Batch, Operation, Wanted, plan
from optout_core.consent import ConsentKey, OptInRule, Row, Word
from optout_core.dispatch import Outbox, as_dispatched, dispatch
from optout_core.errors import LedgerUnavailable
from optout_core.events import Ignored, OptOut
from optout_core.incoming import Incoming
from optout_core.keywords import Keywords
from optout_core.ledger import InvocationLedger, Ledger
from optout_core.messages import dead_letters, retry_messages
from optout_core.outcomes import Outcome, Outcomes, Verdict
from optout_core.outgoing import Outgoing
from optout_core.reports import Dispatched, Report, SettledEvent
from optout_core.settlement import DeadLetter, Schedule

#: Recipients after which a slice is full: enough to keep all requests in flight busy, and a few megabytes of memory.
SLICE = 5_000
#: Recipients after which others get their turn on the loop: some ten milliseconds.
STRETCH = 500
#: Recipients whose messages are read once: as many as ordinary invocations have. What goes beyond is read for its STOPs
#: and once more in its slice, so that memory does not grow with it.
HELD = 10 * SLICE

#: What becomes of recipients who are not asked for, because nothing could be recorded of them.
_IN_DOUBT = Outcome(Verdict.UNAVAILABLE, "not asked: the broker takes neither retries nor dead letters")

_Received = tuple[Arrival, Lineage]
#: A message that is read once, or one that is read again in its slice.
_Held = Incoming | _Received


class OptOutList(Protocol):
    """The opt-out list of ACS."""

    def refusal(self, deadline: float) -> Outcome | None:
        """Give the outcome of everybody while nobody would be asked, or None: asking is worth a try."""

    async def call(self, batches: Sequence[Batch], deadline: float) -> Outcomes:
        """Ask for every batch until the deadline; give an outcome for everybody in them, whatever happens."""


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
        ledger: Knows the newest word of each person; None where that is known within an invocation only.
        horizon: How long after its admission a call may act.
        rule: What a word has to satisfy.
        schedule: The delays before the next try.
        keywords: The texts that are a STOP or an opt-in.
        now: Gives the current time; aware.
        chance: Gives a random number in the range [0, 1).
        give_way: Lets others have their turn.
    """

    endpoint: OptOutList
    outbox: Outbox
    telemetry: InvocationTelemetry
    ledger: Ledger | None
    horizon: timedelta
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
            slices, has_stops, later = await self._read_ahead(zip(arrivals, lineages, strict=True))
            # Without a ledger, an opt-in can be older than a STOP of the same invocation, or than none.
            ledger = self.ledger or (InvocationLedger(self.now) if has_stops else None)
            for held in filter(None, slices):
                messages = [each if isinstance(each, Incoming) else self._read(each) for each in held]
                self.telemetry.report(await self._process(messages, ledger, later, deadline))

    async def _read_ahead(self, received: Iterable[_Received]) -> tuple[list[list[_Held]], bool, list[Word]]:
        """Cut the messages into slices; no older opt-in of the first may be applied against a STOP of a later one."""
        slices: list[list[_Held]] = [[]]
        later: list[Word] = []
        has_stops, size, filled, stretch = False, 0, 0, 0
        for each in received:
            message = self._read(each)
            for event in message.events:
                if isinstance(event, OptOut):
                    has_stops = True
                    if len(slices) > 1:
                        later += Asked.of(event, message, self.rule, self.now()).words
            size += message.size
            slices[-1].append(message if size <= HELD else each)
            if (filled := filled + message.size) >= SLICE:
                slices.append([])
                filled = 0
            if (stretch := stretch + message.size) >= STRETCH:
                stretch = 0
                await self.give_way()
        return slices, has_stops, later

    def _read(self, received: _Received) -> Incoming:
        return Incoming.read(*received, self.keywords)

    async def _process(
        self, messages: Sequence[Incoming], ledger: Ledger | None, later: list[Word], deadline: float
    ) -> Report:
        now = self.now()
        stretch = 0
        asked: list[Asked] = []
        for message in messages:
            said = [event for event in message.events if not isinstance(event, Ignored)]
            asked += [Asked.of(event, message, self.rule, now) for event in said]
            if (stretch := stretch + message.size) >= STRETCH:
                stretch = 0
                await self.give_way()
        # Sending is proven before ACS is called: what could not be recorded would be done again and again.
        unasked = _IN_DOUBT if self.outbox.is_in_doubt else self.endpoint.refusal(deadline)
        # STOPs hold back older opt-ins also while nothing can be called; an opt-in that is not called does not count.
        admitted = [each for each in asked if unasked is None or each.operation is Operation.ADD]
        unavailable = await self._admit(ledger, admitted, later)
        unasked = unasked or unavailable
        outcomes = {} if unasked else await self.endpoint.call(_plan(asked), deadline)
        newer = None if unasked else await _record(ledger, asked, outcomes)
        answers = Answers(outcomes=outcomes, unasked=unasked, newer=newer, now=self.now())
        settled: list[SettledEvent] = []
        for each in asked:
            settled.append(each.settle(answers, self.schedule, self.chance))
            if (stretch := stretch + len(each.event.recipients)) >= STRETCH:
                stretch = 0
                await self.give_way()
        outgoing: list[Outgoing] = []
        for event in [event for event in settled if not event.is_done]:
            outgoing += retry_messages(event.event, event.lineage, event.settlements)
            outgoing += dead_letters(event.event, event.lineage, event.settlements)
            if (stretch := stretch + len(event.event.recipients)) >= STRETCH:
                stretch = 0
                await self.give_way()
        outgoing += [letter for message in messages if (letter := message.dead_letter())]
        dispatched = await dispatch(self.outbox, outgoing, self.schedule, answers.now)
        if dispatched.parked or dispatched.refused:
            settled = [as_dispatched(each, dispatched) for each in settled]
        settled += _no_longer_parked(messages, dispatched, answers.now)
        return Report(
            messages=len(messages),
            events=tuple(event for message in messages for event in message.reports()),
            settled=tuple(settled),
            dispatched=dispatched,
        )

    async def _admit(self, ledger: Ledger | None, asked: Sequence[Asked], later: list[Word]) -> Outcome | None:
        """Let the ledger judge; give the outcome of everybody where it cannot."""
        if ledger is None:
            return None
        try:
            admission = await ledger.admit([*chain.from_iterable(event.words for event in asked), *later])
        except LedgerUnavailable as error:
            return Outcome(Verdict.UNAVAILABLE, f"not asked: {error}")
        later.clear()
        for event in asked:
            event.judge(admission, self.horizon, trusts_acs=self.ledger is None)
        return None


async def _record(ledger: Ledger | None, asked: Iterable[Asked], outcomes: Outcomes) -> Mapping[ConsentKey, Row] | None:
    if ledger is None:
        return {}
    try:
        return await ledger.record(answer for each in asked for answer in each.confirmed(outcomes))
    except LedgerUnavailable:
        return None


def _plan(asked: Sequence[Asked]) -> Sequence[Batch]:
    # STOPs first: whoever waits for us, waits for those.
    together: dict[Operation, list[Wanted]] = {Operation.ADD: [], Operation.REMOVE: []}
    apart: dict[Operation, list[Wanted]] = {Operation.ADD: [], Operation.REMOVE: []}
    for each in asked:
        (apart if each.message.lineage.alone else together)[each.operation].append(each.calls())
    return [
        batch
        for operation in together
        for batch in plan(operation, chain.from_iterable(together[operation]), apart[operation])
    ]


def _no_longer_parked(messages: Sequence[Incoming], dispatched: Dispatched, now: datetime) -> Iterator[SettledEvent]:
    parked = [message for message in messages if message.parked]
    sent = {each.message_id for each in dispatched.dead_letters} if parked else ()
    for message in parked:
        if message.parked and message.parked.reason and message.parked.message_id in sent:
            for event in message.of_dead_letter():
                settlements = {to: DeadLetter(message.parked.reason) for to in event.recipients}
                yield SettledEvent(event, message.lineage, now, settlements)
