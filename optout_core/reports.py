"""What an invocation did, as values: the processor fills them, metrics, log, sandbox and tests read them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum, auto

from optout_core.arrivals import Lineage
from optout_core.events import Event, OptIn
from optout_core.reasons import Reason
from optout_core.settlement import DeadLetter, RetryLater, Settlement


class EventResult(StrEnum):
    """Say what became of an event as a whole."""

    DECODED = auto()
    IGNORED = auto()
    DEAD_LETTERED = auto()


class RecipientOutcome(StrEnum):
    """Say where a recipient is now; it is in exactly one of these places."""

    REMOVED = auto()
    WAITING = auto()
    DEAD_LETTERED = auto()


@dataclass(frozen=True, slots=True)
class EventReport:
    """Report one event, or one message that is no event.

    Attributes:
        source: Who said it, or an empty string for what could not be decoded.
        id: The event's id, or the message's id for what could not be decoded.
        form: The way it was written, or "unknown".
        result: What became of it.
        reason: Why it was dead-lettered as a whole, or None.
    """

    source: str
    id: str
    form: str
    result: EventResult
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class RecipientReport:
    """Report one recipient of one event.

    Attributes:
        source: Of the event.
        event: The event's id.
        sender: Whose list is meant.
        recipient: Who opted in.
        outcome: Where the recipient is now.
        reason: Why it was dead-lettered, or None.
        attempts: Tries made for it so far that count, at least 0.
        next_try: When it is tried again; aware; None unless it waits.
        age: Seconds from the opt-in to now.
    """

    source: str
    event: str
    sender: str = field(repr=False)
    recipient: str = field(repr=False)
    outcome: RecipientOutcome
    reason: Reason | None
    attempts: int
    next_try: datetime | None
    age: float


@dataclass(frozen=True, slots=True)
class Report:
    """Report one invocation.

    Attributes:
        messages: How many messages came in.
        events: Every event in them, and every message that is no event.
        recipients: Every recipient of every decoded event.
        retries: How many retry messages were sent.
        dead_letters: The reason of each dead letter that was sent.
    """

    messages: int
    events: tuple[EventReport, ...]
    recipients: tuple[RecipientReport, ...]
    retries: int
    dead_letters: tuple[Reason, ...]


def report_event(event: Event) -> EventReport:
    """Report an event that was decoded; only an opt-in leads to a call, the others are ignored."""
    result = EventResult.DECODED if isinstance(event, OptIn) else EventResult.IGNORED
    return EventReport(event.source, event.id, event.form, result)


def report_recipients(
    opt_in: OptIn, lineage: Lineage, settlements: Mapping[str, Settlement], now: datetime
) -> Iterator[RecipientReport]:
    """Report every recipient of an opt-in."""
    for recipient, settlement in settlements.items():
        outcome, reason, attempts, next_try = RecipientOutcome.REMOVED, None, lineage.attempt + 1, None
        if isinstance(settlement, RetryLater):
            outcome, attempts, next_try = RecipientOutcome.WAITING, settlement.attempt, settlement.at
        elif isinstance(settlement, DeadLetter):
            outcome, reason = RecipientOutcome.DEAD_LETTERED, settlement.reason
            attempts = lineage.attempt + (settlement.outcome is not None)
        age = (now - opt_in.time).total_seconds()
        yield RecipientReport(
            opt_in.source, opt_in.id, opt_in.sender, recipient, outcome, reason, attempts, next_try, age
        )
