"""What an invocation did, as values: the processor fills them, metrics, log, sandbox and tests read them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto

from optout_core.arrivals import Lineage
from optout_core.events import Event, Ignored, OptIn, OptOut
from optout_core.masking import Untrusted
from optout_core.numbers import Number
from optout_core.reasons import Reason
from optout_core.settlement import DeadLetter, RetryLater, Settlement


class EventResult(StrEnum):
    """What became of an event as a whole."""

    DECODED = auto()
    RECORDED = auto()
    """A STOP: nothing is called for it, and it holds back older opt-ins."""
    IGNORED = auto()
    """None of our business."""
    DEAD_LETTERED = auto()


class RecipientOutcome(StrEnum):
    """Where a recipient is now; it is in exactly one of these places."""

    REMOVED = auto()
    WAITING = auto()
    DEAD_LETTERED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReport:
    """One event, or one message that is no event.

    Attributes:
        source: Who said it, or an empty string for what could not be decoded.
        id: The event's id, or the message's id for what could not be decoded.
        form: The way it was written, or "unknown".
        result: What became of it.
        reason: Why it was dead-lettered as a whole, or None.
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
        recipient: Who opted in.
        outcome: Where the recipient is now.
        reason: Why it was dead-lettered, or None.
        attempts: Tries made for it so far that count, at least 0.
        next_try: When it is tried again; aware; None unless it waits.
        age: Seconds from the opt-in to now.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One invocation.

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
    """Report an event that was decoded."""
    results = {OptIn: EventResult.DECODED, OptOut: EventResult.RECORDED, Ignored: EventResult.IGNORED}
    return EventReport(source=event.source, id=event.id, form=event.form, result=results[type(event)])


def report_recipients(
    event: OptIn | OptOut, lineage: Lineage, settlements: Mapping[Number, Settlement], now: datetime
) -> Iterator[RecipientReport]:
    """Report every recipient of an event that was settled."""
    age = (now - event.time).total_seconds()
    for recipient, settlement in settlements.items():
        outcome, reason, attempts, next_try = RecipientOutcome.REMOVED, None, lineage.attempt + 1, None
        if isinstance(settlement, RetryLater):
            outcome, attempts, next_try = RecipientOutcome.WAITING, settlement.attempt, settlement.at
        elif isinstance(settlement, DeadLetter):
            outcome, reason = RecipientOutcome.DEAD_LETTERED, settlement.reason
            attempts = lineage.attempt + (settlement.outcome is not None)
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
        )
