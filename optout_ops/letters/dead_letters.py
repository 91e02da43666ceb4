"""A message of the dead-letter queue as we understand it. Pure.

What made it a dead letter stands in its properties; what it is about stands in its body, which may be anything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256

from optout_core import arrivals
from optout_core.arrivals import Arrival, Lineage, read_lineage
from optout_core.errors import EventError
from optout_core.events import Event, Ignored, OptIn, decode
from optout_core.numbers import with_plus
from optout_core.reasons import Reason

#: Says which dead letter a replayed message was; a retry of it no longer carries this property.
REPLAY_OF = "optout-replay-of"

#: Stands in for the arrival while decoding, so that an event which takes its time from the arrival shows it.
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """Hold one message of a queue, peeked or received.

    Attributes:
        sequence_number: Its place in the queue; never given twice.
        enqueued_at: When this queue accepted it; aware.
        delivery_count: How often it was delivered in vain.
        body: The bytes, untouched.
        message_id: At most 128 characters, or None.
        content_type: As the sender set it, or None.
        correlation_id: As the sender set it, or None.
        subject: As the sender set it, or None.
        properties: Application properties, names as strings.
    """

    sequence_number: int
    enqueued_at: datetime
    delivery_count: int
    body: bytes = field(repr=False)
    message_id: str | None = None
    content_type: str | None = None
    correlation_id: str | None = None
    subject: str | None = None
    properties: Mapping[str, object] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """Give about how many bytes it has: body and properties."""
        return len(self.body) + sum(len(name) + len(str(value)) + 8 for name, value in self.properties.items())

    @property
    def arrival(self) -> Arrival:
        """Give what the core reads."""
        return Arrival(
            self.body, self.enqueued_at, self.message_id, self.content_type, self.correlation_id, self.properties
        )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Hold one dead letter, understood.

    Attributes:
        message: As it lies in the queue.
        code: The reason code as it stands there, "" when there is none.
        lineage: How often its event has been round.
        events: What it is about; empty when this version cannot read it.
        unreadable: Why it cannot be read, or None.
        untimed: Whether an event in it says nothing of when the person decided.
        late: Whether an event in it says a time after its own arrival, or none: sent again as it is, it would pass for
            newer than it is.
    """

    message: QueueMessage
    code: str
    lineage: Lineage
    events: tuple[Event, ...]
    unreadable: str | None
    untimed: bool
    late: bool

    @property
    def number(self) -> int:
        """Give the sequence number, by which operators name it."""
        return self.message.sequence_number

    @property
    def reason(self) -> Reason | None:
        """Give the reason, or None when the code is none of ours."""
        return _REASONS.get(self.code)

    @property
    def description(self) -> str:
        """Give what was said about it, for people."""
        return str(self.message.properties.get(arrivals.DEAD_LETTER_DESCRIPTION, ""))

    @property
    def status(self) -> int | None:
        """Give the last HTTP status of ACS for it, or None."""
        status = self.message.properties.get(arrivals.HTTP_STATUS)
        return status if isinstance(status, int) and not isinstance(status, bool) else None

    @property
    def opt_ins(self) -> Iterator[OptIn]:
        """Yield the opt-ins in it."""
        return (event for event in self.events if isinstance(event, OptIn))

    @property
    def event_id(self) -> str:
        """Give the id of its event, or what stands in for it."""
        known = self.message.properties.get(arrivals.EVENT_ID)
        if isinstance(known, str) and known:
            return known
        return self.events[0].id if self.events else self.message.arrival.id

    @property
    def recipients(self) -> tuple[str, ...]:
        """Give the numbers it is about; none when it cannot be read."""
        return tuple(to for event in self.events if not isinstance(event, Ignored) for to in event.recipients)

    @property
    def senders(self) -> frozenset[str]:
        """Give the senders it is about."""
        return frozenset(event.sender for event in self.events if not isinstance(event, Ignored))

    @property
    def weight(self) -> int:
        """Count the recipients; what cannot be read counts as one."""
        return len(self.recipients) or 1

    @property
    def fingerprint(self) -> str:
        """Give 16 hexadecimal characters that differ when id, reason or body differ."""
        digest = sha256()
        for part in ((self.message.message_id or "").encode(), self.code.encode(), self.message.body):
            digest.update(len(part).to_bytes(8) + part)
        return digest.hexdigest()[:16]

    def concerns(self, number: str) -> bool:
        """Say whether a number is among the recipients, however it is written; what cannot be read is searched."""
        if self.unreadable is not None:
            digits = "".join(filter(str.isdigit, number))
            # Only what people put between digits is passed over: two fields side by side are not one number.
            written = self.message.body.decode(errors="replace").translate(str.maketrans("", "", " -.()"))
            return bool(digits) and digits in written
        return with_plus(number) in map(with_plus, self.recipients)


_REASONS = {reason.value: reason for reason in Reason}


def read_dead_letter(message: QueueMessage) -> DeadLetter:
    """Understand a message of the dead-letter queue, whoever put it there."""
    lineage = read_lineage(message.arrival)
    unreadable: str | None = None
    try:
        decoded = decode(replace(message.arrival, enqueued_at=_NEVER))
    except EventError as error:
        decoded, unreadable = (), str(error)
    events = tuple(
        event if isinstance(event, Ignored) else replace(event, time=min(event.time, lineage.first_enqueued))
        for event in decoded
    )
    return DeadLetter(
        message=message,
        code=str(message.properties.get(arrivals.DEAD_LETTER_REASON, "")),
        lineage=lineage,
        events=events,
        unreadable=unreadable,
        untimed=any(not isinstance(event, Ignored) and event.time == _NEVER for event in decoded),
        late=any(not isinstance(event, Ignored) and event.time > lineage.first_enqueued for event in decoded),
    )
