"""The whole job: messages in, requests to ACS, retries and dead letters out, and only then done.

The order keeps the first promise: what failed is in the broker's hands before the host completes anything. An
invocation is worked off in slices, so that memory and the time for which the loop is blocked do not depend on what
publishers send.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Protocol, TypeVar

from optout_core.arrivals import Arrival, Lineage, read_lineage
from optout_core.asked import Answers, Asked
from optout_core.batches import Batch, Operation, plan
from optout_core.consent import ConsentKey, OptInRule, Row, Word
from optout_core.dispatch import Outbox, as_dispatched, dispatch
from optout_core.errors import LedgerUnavailable
from optout_core.events import Event, Ignored, OptOut
from optout_core.incoming import Incoming
from optout_core.keywords import Keywords
from optout_core.ledger import InvocationLedger, Ledger
from optout_core.messages import dead_letters, retry_messages
from optout_core.outcomes import Outcome, Outcomes, Verdict
from optout_core.outgoing import Outgoing
from optout_core.reports import Dispatched, EventReport, Report, SettledEvent
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
_Stretch = list[_Held]
_Work = TypeVar("_Work")


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
            for stretches in filter(None, slices):
                self.telemetry.report(await self._process(stretches, ledger, later, deadline))

    async def _read_ahead(self, received: Iterable[_Received]) -> tuple[list[list[_Stretch]], bool, list[Word]]:
        """Cut the messages into slices; no older opt-in of the first may be applied against a STOP of a later one."""
        slices: list[list[_Stretch]] = [[]]
        later: list[Word] = []
        has_stops, held, filled, stretch, size = False, 0, 0, list[_Held](), 0
        for arrival, lineage in received:
            message = Incoming.read(arrival, lineage, self.keywords)
            for event in message.events:
                if isinstance(event, OptOut):
                    has_stops = True
                    if len(slices) > 1:
                        later += Asked.of(event, message, self.rule, self.now()).words
            stretch.append(message if held < HELD else (arrival, lineage))
            if (size := size + message.size) >= STRETCH:
                slices[-1].append(stretch)
                if (filled := filled + size) >= SLICE:
                    slices.append([])
                    filled = 0
                held, stretch, size = held + size, [], 0
                await self.give_way()
        if stretch:
            slices[-1].append(stretch)
        return slices, has_stops, later

    async def _process(
        self, stretches: Sequence[_Stretch], ledger: Ledger | None, later: list[Word], deadline: float
    ) -> Report:
        now = self.now()
        messages = 0
        events: list[Event | EventReport] = []
        # Dead letters as a whole: those that are no event, and those that came back to wait.
        dead: list[Incoming] = []
        in_stretches: list[list[Asked]] = []
        async for stretch in self._in_turns(stretches):
            read = [each if isinstance(each, Incoming) else Incoming.read(*each, self.keywords) for each in stretch]
            messages += len(read)
            events += [event for message in read for event in message.reports()]
            dead += [message for message in read if message.error or message.parked]
            in_stretches.append(
                [
                    Asked.of(event, message, self.rule, now)
                    for message in read
                    for event in message.events
                    if not isinstance(event, Ignored)
                ]
            )
        asked = list(chain.from_iterable(in_stretches))
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
        outgoing: list[Outgoing] = []
        async for of_stretch in self._in_turns(in_stretches):
            decided = [each.settle(answers, self.schedule, self.chance) for each in of_stretch]
            settled += decided
            for event in [event for event in decided if not event.is_done]:
                outgoing += retry_messages(event.event, event.lineage, event.settlements)
                outgoing += dead_letters(event.event, event.lineage, event.settlements)
        outgoing += [letter for message in dead if (letter := message.dead_letter())]
        dispatched = await dispatch(self.outbox, outgoing, self.schedule, answers.now)
        if dispatched.parked or dispatched.refused:
            settled = [as_dispatched(each, dispatched) for each in settled]
        settled += _no_longer_parked(dead, dispatched, answers.now)
        return Report(messages=messages, events=events, settled=settled, dispatched=dispatched)

    async def _in_turns(self, stretches: Iterable[_Work]) -> AsyncIterator[_Work]:
        """Yield stretches; between two of them others have their turn."""
        for place, stretch in enumerate(stretches):
            if place:
                await self.give_way()
            yield stretch

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
    batches: list[Batch] = []
    # STOPs first: whoever waits for us, waits for those.
    for operation in (Operation.ADD, Operation.REMOVE):
        of_kind = [each for each in asked if each.operation is operation]
        together = [each.calls() for each in of_kind if not each.message.lineage.alone]
        apart = [each.calls() for each in of_kind if each.message.lineage.alone]
        batches += plan(operation, chain.from_iterable(together), apart)
    return batches


def _no_longer_parked(dead: Sequence[Incoming], dispatched: Dispatched, now: datetime) -> Iterator[SettledEvent]:
    sent = {each.message_id for each in dispatched.dead_letters} if dead else ()
    for message in dead:
        if (letter := message.parked) and letter.reason and letter.message_id in sent:
            for event in message.of_dead_letter():
                settlements = {to: DeadLetter(letter.reason) for to in event.recipients}
                yield SettledEvent(event, message.lineage, now, settlements)
