"""What was done, as values: the processor fills them, metrics, log, sandbox and tests read them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto
from typing import NamedTuple

from msgspec import Struct

from optout_core.arrivals import Lineage
from optout_core.events import Event, EventResult, OptIn, OptOut
from optout_core.masking import Untrusted
from optout_core.numbers import Number
from optout_core.outgoing import Outgoing
from optout_core.reasons import Reason
from optout_core.settlement import DONE, DeadLetter, Done, RetryLater, Settlement


class RecipientOutcome(StrEnum):
    """Where a recipient is now; it is in exactly one of these places."""

    REMOVED = auto()
    """Off the list, as the opt-in says; or a newer word of the person stands."""
    ADDED = auto()
    """On the list, as the STOP says; or a newer word of the person stands."""
    WAITING = auto()
    DEAD_LETTERED = auto()


class ConsentEffect(StrEnum):
    """What another word of the same person did to this one."""

    BLOCKED = auto()
    """An opt-in with a STOP at or after it: it is a dead letter."""
    ALREADY_APPLIED = auto()
    """The list says so already, or a newer word stands: nothing was called."""
    ASSERTED_AGAIN = auto()
    """A call of the opposite kind may still act: it waits, and calls again."""


class EventReport(NamedTuple):
    """A message that is no event, reported as one.

    Attributes:
        source: An empty text.
        id: The message's id.
        form: "unknown".
        result: What became of it.
        reason: Why it is a dead letter as a whole.
    """

    source: Untrusted
    id: Untrusted
    form: str
    result: EventResult
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientReport:
    """One recipient of one event.

    Attributes:
        source: Of the event.
        event: The event's id.
        sender: Whose list is meant.
        recipient: Who.
        outcome: Where the recipient is now.
        reason: Why it was dead-lettered, or None.
        attempts: Tries made for it so far that count, at least 0.
        next_try: When it is tried again; aware; None unless it waits.
        age: Seconds from the person's word to now.
        effect: What another word of the person did to this one, or None.
    """

    source: Untrusted
    event: Untrusted
    sender: Number
    recipient: Number
    outcome: RecipientOutcome
    reason: Reason | None
    attempts: int
    next_try: datetime | None
    age: float
    effect: ConsentEffect | None = None


class SettledEvent(Struct, gc=False):
    """An event, and what becomes of its recipients.

    Attributes:
        event: The event.
        lineage: How often it has been round.
        now: When that was decided; aware.
        of_each: What becomes of each recipient; None where ACS did for all of them what the event says, which is almost
            always.
    """

    event: OptIn | OptOut
    lineage: Lineage
    now: datetime
    of_each: Mapping[Number, Settlement] | None = None

    @property
    def settlements(self) -> Mapping[Number, Settlement]:
        """Give what becomes of each recipient."""
        return dict.fromkeys(self.event.recipients, DONE) if self.of_each is None else self.of_each

    @property
    def is_done(self) -> bool:
        """Say whether nothing is left to do for any recipient."""
        return self.of_each is None or set(map(type, self.of_each.values())) <= {Done}

    def tally(self) -> Iterator[tuple[RecipientOutcome, Reason | None, ConsentEffect | None, int]]:
        """Count the recipients by where they are, why, and what another word of theirs did."""
        settlements = self.settlements
        # Most share one settlement.
        shared = {id(settlement): settlement for settlement in settlements.values()}
        if len(shared) == 1:
            return iter([(*self._place(*shared.values()), len(settlements))])
        counts = Counter(map(id, settlements.values()))
        return ((*self._place(shared[key]), recipients) for key, recipients in counts.items())

    def _place(self, settlement: Settlement) -> tuple[RecipientOutcome, Reason | None, ConsentEffect | None]:
        if isinstance(settlement, RetryLater):
            return RecipientOutcome.WAITING, None, ConsentEffect.ASSERTED_AGAIN if settlement.is_overlap else None
        if isinstance(settlement, DeadLetter):
            reason = settlement.reason
            return (
                RecipientOutcome.DEAD_LETTERED,
                reason,
                ConsentEffect.BLOCKED if reason is Reason.NEWER_OPT_OUT else None,
            )
        done = RecipientOutcome.ADDED if isinstance(self.event, OptOut) else RecipientOutcome.REMOVED
        return done, None, None if settlement.is_called else ConsentEffect.ALREADY_APPLIED

    @property
    def age(self) -> float:
        """Give the seconds from the person's word to now."""
        return (self.now - self.event.time).total_seconds()

    def recipients(self) -> Iterator[RecipientReport]:
        """Report each recipient."""
        event, age = self.event, self.age
        for recipient, settlement in self.settlements.items():
            (outcome, reason, effect), attempts, next_try = self._place(settlement), self.lineage.attempt + 1, None
            if isinstance(settlement, RetryLater):
                attempts, next_try = settlement.attempt, settlement.at
            elif isinstance(settlement, DeadLetter):
                attempts = self.lineage.attempt + (settlement.outcome is not None)
            yield RecipientReport(
                source=event.source,
                event=event.id,
                sender=event.sender,
                recipient=recipient,
                outcome=outcome,
                reason=reason,
                attempts=attempts,
                next_try=next_try,
                age=age,
                effect=effect,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatched:
    """Where messages are now.

    Attributes:
        retries: Messages that wait in the queue of the opt-ins for their next try.
        dead_letters: Messages in the dead-letter queue.
        parked: Dead letters that wait in the queue of the opt-ins, since their own did not take them.
        refused: Dead letters that were to be retries, and that the queue of the opt-ins did not take.
    """

    retries: Sequence[Outgoing] = ()
    dead_letters: Sequence[Outgoing] = ()
    parked: Sequence[Outgoing] = ()
    refused: Sequence[Outgoing] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One slice of an invocation.

    Attributes:
        messages: How many messages came in.
        events: Every event in them, and every message that is no event.
        settled: Every event with recipients, and what became of these.
        dispatched: What was sent.
    """

    messages: int
    events: Sequence[Event | EventReport] = ()
    settled: Sequence[SettledEvent] = ()
    dispatched: Dispatched = Dispatched()

    @property
    def recipients(self) -> Iterator[RecipientReport]:
        """Report every recipient of every event."""
        return (recipient for each in self.settled for recipient in each.recipients())
