"""What waits in the queue of the opt-ins, and what that says of the function. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from optout_core.arrivals import Arrival
from optout_core.errors import EventError
from optout_core.events import OptIn, OptOut, decode
from optout_core.numbers import Number
from optout_ops.health.findings import Health
from optout_ops.queues.messages import MessageState, QueueMessage
from optout_ops.wording import count, duration

#: A function that runs takes a message within seconds, and within minutes from a queue that it works off.
_STALLED = timedelta(minutes=5)
_HOUR = timedelta(hours=1)


@dataclass(slots=True)
class Backlog:
    """The messages of the queue of the opt-ins.

    Attributes:
        now: The time of the look; aware.
        ready: Messages that the function may take, locked ones too.
        scheduled: Messages that wait for their time.
        deferred: Messages that somebody set aside.
        stops: STOPs among them, which hold back no opt-in until they are taken.
        size: Bytes of all of them, about.
        arrived: Bytes of those that came within the last hour.
        senders: How many messages are about which sender.
        oldest: When the person of the oldest opt-in decided; aware; None when there is none.
        next_due: When the next scheduled one falls due; aware; None when there is none.
        waiting_since: When the longest waiting of the ready ones came; aware.
        sign_of_life: When the function last put something off or gave it up, as far as both queues tell; aware.
    """

    now: datetime
    ready: int = 0
    scheduled: int = 0
    deferred: int = 0
    stops: int = 0
    size: int = 0
    arrived: int = 0
    senders: Counter[Number] = field(default_factory=Counter)
    oldest: datetime | None = None
    next_due: datetime | None = None
    waiting_since: datetime | None = None
    sign_of_life: datetime | None = None

    def add(self, message: QueueMessage) -> None:
        """Count one message."""
        self.size += message.size
        if self.now - message.enqueued_at <= _HOUR:
            self.arrived += message.size
        if message.state is MessageState.SCHEDULED:
            self.scheduled += 1
            self.next_due = _earliest(self.next_due, message.scheduled_at)
            self.note_life(message)
        elif message.state is MessageState.DEFERRED:
            self.deferred += 1
        else:
            self.ready += 1
            self.waiting_since = _earliest(self.waiting_since, message.enqueued_at)
        for event in _events(message):
            if isinstance(event, OptIn | OptOut):
                self.senders[event.sender] += 1
            if isinstance(event, OptOut):
                self.stops += 1
            elif isinstance(event, OptIn):
                self.oldest = _earliest(self.oldest, min(event.time, message.first_enqueued))

    def note_life(self, message: QueueMessage) -> None:
        """Take a retry or a dead letter of the function for a sign of life."""
        if message.first_enqueued < message.enqueued_at <= self.now:
            self.sign_of_life = max(self.sign_of_life or message.enqueued_at, message.enqueued_at)

    def function(self) -> tuple[Health, str]:
        """Say whether the function works, as far as the queues tell."""
        if self.sign_of_life is None:
            life = "nothing in the queues says when it last worked"
        else:
            life = f"it last put something off or gave it up {duration(self.now - self.sign_of_life)} ago"
        if self.waiting_since is None:
            return Health.UNKNOWN, f"nothing waits for it; {life}"
        waited = self.now - self.waiting_since
        waits = f"{count(self.ready, 'message')} ready, the first since {duration(waited)}"
        if self.sign_of_life is not None and self.now - self.sign_of_life < _STALLED:
            return Health.GOOD, f"{waits}; it works: {life}"
        if waited < _STALLED:
            return Health.UNKNOWN, f"{waits}: too short to say whether it takes them; look again"
        return Health.BAD, f"{waits}: it does not take them; {life}"

    def hours_left(self, max_age: timedelta, room: int | None) -> float | None:
        """Say in how many hours the first message becomes a dead letter, by age or for lack of room; None when never.

        Args:
            max_age: An older opt-in is given up.
            room: Bytes that the queue holds, or None where that is not known.
        """
        limits = []
        if self.oldest is not None:
            limits.append((max_age - (self.now - self.oldest)) / _HOUR)
        if room is not None and self.arrived:
            limits.append((room - self.size) / self.arrived)
        return max(0.0, min(limits)) if limits else None

    def as_document(self) -> dict[str, object]:
        """Give the counts for programs."""
        return {
            "ready": self.ready,
            "scheduled": self.scheduled,
            "deferred": self.deferred,
            "stops": self.stops,
            "bytes": self.size,
            "oldest": self.oldest.isoformat() if self.oldest else None,
            "nextDue": self.next_due.isoformat() if self.next_due else None,
            "waitingSince": self.waiting_since.isoformat() if self.waiting_since else None,
        }


def _events(message: Arrival) -> tuple[object, ...]:
    try:
        return decode(message)
    except EventError:
        return ()


def _earliest(known: datetime | None, another: datetime | None) -> datetime | None:
    if known is None or another is None:
        return known or another
    return min(known, another)
