"""A message that is ready to be sent, and what can be done when the broker does not take it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto

from msgspec import Struct
from msgspec.structs import replace

from optout_core import properties
from optout_core.arrivals import Arrival
from optout_core.reasons import Reason

#: Service Bus takes 64 KB of properties and system headers in one message
#: (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas); the rest is for the headers.
MAX_PROPERTY_BYTES = 60 * 1024
#: Bytes of a property beside its name and text: codes of types and lengths, at most 5 each (AMQP 1.0, 1.6).
_CODES = 10

#: What a message cannot do without: it decides what becomes of it when it comes back.
_ESSENTIAL = frozenset(
    {
        properties.ATTEMPT,
        properties.HOP,
        properties.ALONE,
        properties.PARKED,
        properties.PART,
        properties.FIRST_ENQUEUED,
        properties.DEAD_LETTER_REASON,
    }
)
#: The end of the id of a dead letter that waits in the queue of the opt-ins.
_PARKED_ID = re.compile(r":w[1-9][0-9]{0,2}\Z")
_MOST_ROUNDS = 999
_REASONS: Mapping[object, Reason] = {reason.value: reason for reason in Reason}


class Queue(StrEnum):
    """The queue that a message is for; the settings know what it is called."""

    OPT_INS = auto()
    DEAD_LETTERS = auto()


class Outgoing(Struct, frozen=True, kw_only=True):
    """A message that is ready to be sent.

    Attributes:
        queue: Where it goes.
        message_id: At most 128 characters.
        body: UTF-8 JSON, or the publisher's own bytes.
        content_type: Of the body, or None when the publisher named none.
        properties: Application properties; ours are strings and integers, a publisher's are as they came.
        scheduled_at: When the broker makes it visible; aware; None for at once.
        correlation_id: The publisher's, or None.
        reason: Why it is a dead letter, or None for a retry.
    """

    queue: Queue
    message_id: str
    body: bytes
    content_type: str | None
    properties: Mapping[str, object]
    scheduled_at: datetime | None = None
    correlation_id: str | None = None
    reason: Reason | None = None

    def __repr__(self) -> str:
        """Show neither the body nor what a publisher wrote beside it."""
        return f"<Outgoing {self.message_id} to {self.queue}, {self.reason or 'a retry'}>"

    def bounded(self) -> "Outgoing":
        """Leave out as many properties as the broker would refuse, ours first, then the publisher's largest."""
        if _size(self.properties) <= MAX_PROPERTY_BYTES:
            return self
        kept = dict(self.slimmed().properties)
        for name in sorted(kept.keys() - _ESSENTIAL, key=lambda each: len(str(kept[each])), reverse=True):
            if _size(kept) <= MAX_PROPERTY_BYTES:
                break
            del kept[name]
        return replace(self, properties=kept)

    def slimmed(self) -> "Outgoing":
        """Leave out those of our own facts that can be done without, for a message that is too large with them."""
        kept = {name: value for name, value in self.properties.items() if name in _ESSENTIAL or not _is_ours(name)}
        return replace(self, properties=kept)

    def bare(self) -> "Outgoing":
        """Leave out what the publisher wrote beside the body as well: the body is what must not be lost."""
        kept = {name: value for name, value in self.properties.items() if name in _ESSENTIAL}
        return replace(self, properties=kept, correlation_id=None)

    def halves(self) -> tuple["Outgoing", "Outgoing"]:
        """Cut the body in two: the last resort for a publisher's message that fills the limit to the last bytes.

        Joined in order, the bodies are the publisher's bytes. One message that cannot be dead-lettered whole must not
        hold up the invocation it came with.
        """
        middle = len(self.body) // 2
        first, second = (
            replace(
                self,
                message_id=f"{self.message_id}:{part}",
                body=body,
                properties={**self.properties, properties.PART: f"{part} of 2"},
            )
            for part, body in ((1, self.body[:middle]), (2, self.body[middle:]))
        )
        return first, second

    def parked(self, at: datetime) -> "Outgoing":
        """Let a dead letter that its queue did not take wait in the queue of the opt-ins: its verdict stands.

        Args:
            at: When it is to come back; aware.
        """
        rounds = self.rounds + 1
        return replace(
            self,
            queue=Queue.OPT_INS,
            # An id that was used before would be dropped as a duplicate.
            message_id=f"{_PARKED_ID.sub('', self.message_id)}:w{rounds}",
            properties={**self.properties, properties.PARKED: rounds},
            scheduled_at=at,
            reason=None,
        )

    def refused(self) -> "Outgoing":
        """Make a dead letter of a retry that the queue of the opt-ins did not take."""
        reason = Reason.RETRY_REFUSED
        return replace(
            self,
            queue=Queue.DEAD_LETTERS,
            properties={
                **self.properties,
                properties.DEAD_LETTER_REASON: reason.value,
                properties.DEAD_LETTER_DESCRIPTION: reason.meaning,
            },
            scheduled_at=None,
            reason=reason,
        )

    @property
    def rounds(self) -> int:
        """Count how often it has waited as a dead letter in the queue of the opt-ins."""
        rounds = self.properties.get(properties.PARKED)
        return min(rounds, _MOST_ROUNDS - 1) if isinstance(rounds, int) else 0


def _is_ours(name: str) -> bool:
    return name.startswith("optout-") or name == properties.DEAD_LETTER_DESCRIPTION


def _size(facts: Mapping[str, object]) -> int:
    return sum(len(f"{name}{value}".encode(errors="surrogatepass")) + _CODES for name, value in facts.items())


@dataclass(frozen=True, slots=True)
class NotTaken:
    """A message that the broker did not take, and why.

    Attributes:
        message: The message.
        why: What went wrong; its text may name the namespace.
    """

    message: Outgoing
    why: Exception


def read_parked(arrival: Arrival) -> Outgoing | None:
    """Read a dead letter that waited in the queue of the opt-ins; None where the message is none.

    Its id is the one under which its own queue was asked to take it, so that it cannot lie there twice.
    """
    message_id = arrival.message_id or ""
    reason = _REASONS.get(arrival.properties.get(properties.DEAD_LETTER_REASON))
    if properties.PARKED not in arrival.properties or reason is None or not _PARKED_ID.search(message_id):
        return None
    return Outgoing(
        queue=Queue.DEAD_LETTERS,
        message_id=_PARKED_ID.sub("", message_id),
        body=arrival.body,
        content_type=arrival.content_type,
        properties=arrival.properties,
        correlation_id=arrival.correlation_id,
        reason=reason,
    )
