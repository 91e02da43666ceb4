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
from optout_core.settlement import DeadLetter, Done, RetryLater, Settlement


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


class SettledEvent(Struct):
    """An event, and what becomes of its recipients.

    Attributes:
        event: The event.
        lineage: How often it has been round.
        settlements: Of each recipient.
        now: When that was decided; aware.
        is_called: Whether ACS is known to have done for every recipient what the event says.
    """

    event: OptIn | OptOut
    lineage: Lineage
    settlements: Mapping[Number, Settlement]
    now: datetime
    is_called: bool = False

    def __len__(self) -> int:
        """Count the recipients."""
        return len(self.settlements)

    @property
    def is_done(self) -> bool:
        """Say whether nothing is left to do for any recipient."""
        return self.is_called or set(map(type, self.settlements.values())) <= {Done}

    @property
    def done(self) -> RecipientOutcome:
        """Say where a recipient is for whom nothing is left to do."""
        return RecipientOutcome.ADDED if isinstance(self.event, OptOut) else RecipientOutcome.REMOVED

    def _where_is(self, settlement: Settlement) -> RecipientOutcome:
        if isinstance(settlement, RetryLater):
            return RecipientOutcome.WAITING
        return RecipientOutcome.DEAD_LETTERED if isinstance(settlement, DeadLetter) else self.done

    def effects(self) -> Counter[ConsentEffect]:
        """Count the recipients for whom another word of theirs made the difference."""
        effects: Counter[ConsentEffect] = Counter()
        for settlement, recipients in self._tally():
            if effect := _effect(settlement):
                effects[effect] += recipients
        return effects

    def count(self) -> Counter[tuple[RecipientOutcome, Reason | None]]:
        """Count the recipients by where they are, and why."""
        counts: Counter[tuple[RecipientOutcome, Reason | None]] = Counter()
        for settlement, recipients in self._tally():
            reason = settlement.reason if isinstance(settlement, DeadLetter) else None
            counts[self._where_is(settlement), reason] += recipients
        return counts

    def _tally(self) -> Iterator[tuple[Settlement, int]]:
        """Give each settlement once, and how many recipients share it: most do."""
        settlements = self.settlements.values()
        shared = dict(zip(map(id, settlements), settlements, strict=True))
        return ((shared[key], recipients) for key, recipients in Counter(map(id, settlements)).items())

    @property
    def age(self) -> float:
        """Give the seconds from the person's word to now."""
        return (self.now - self.event.time).total_seconds()

    def recipients(self) -> Iterator[RecipientReport]:
        """Report each recipient."""
        event, age = self.event, self.age
        for recipient, settlement in self.settlements.items():
            outcome, reason, attempts, next_try = self._where_is(settlement), None, self.lineage.attempt + 1, None
            if isinstance(settlement, RetryLater):
                attempts, next_try = settlement.attempt, settlement.at
            elif isinstance(settlement, DeadLetter):
                reason, attempts = settlement.reason, self.lineage.attempt + (settlement.outcome is not None)
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
                effect=_effect(settlement),
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
    events: tuple[Event | EventReport, ...] = ()
    settled: tuple[SettledEvent, ...] = ()
    dispatched: Dispatched = Dispatched()

    @property
    def recipients(self) -> Iterator[RecipientReport]:
        """Report every recipient of every event."""
        return (recipient for each in self.settled for recipient in each.recipients())


def _effect(settlement: Settlement) -> ConsentEffect | None:
    match settlement:
        case Done(is_called=False):
            return ConsentEffect.ALREADY_APPLIED
        case RetryLater(is_overlap=True):
            return ConsentEffect.ASSERTED_AGAIN
        case DeadLetter(reason=Reason.NEWER_OPT_OUT):
            return ConsentEffect.BLOCKED
    return None
