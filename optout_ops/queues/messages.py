"""A message as a queue holds it, whatever it means. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from msgspec.structs import asdict

from optout_core.arrivals import Arrival
from optout_core.consent import ConsentKey, Row


class MessageState(StrEnum):
    """Whether a queue gives a message out."""

    ACTIVE = "active"
    DEFERRED = "deferred"
    SCHEDULED = "scheduled"


class QueueMessage(Arrival, frozen=True, kw_only=True, gc=False):
    """One message of a queue, peeked or locked.

    Attributes:
        sequence_number: Its place in the queue; never given twice.
        state: Whether the queue gives it out: a deferred one only to who asks for its number, a scheduled one later.
        scheduled_at: When the queue gives a scheduled one out; aware; None for the others.
        encoded: What its sender wrote, as AMQP encodes it; b"" where nobody kept it.
        unread: Types of the application properties that are not read, by their names.
        known: What the consent ledger knows of the people in its opt-ins; None where it was not asked.
    """

    sequence_number: int
    state: MessageState = MessageState.ACTIVE
    scheduled_at: datetime | None = None
    encoded: bytes = b""
    unread: Mapping[str, str] = {}
    known: Mapping[ConsentKey, Row] | None = None

    @classmethod
    def at(cls, sequence_number: int, arrival: Arrival, **more: Any) -> Self:  # noqa: ANN401 - of any attribute
        """Say at which place of its queue a message stands, and what else is known of it there."""
        facts = asdict(arrival)
        return cls(sequence_number=sequence_number, **facts | more)

    @property
    def size(self) -> int:
        """Estimate the bytes of body and properties."""
        return len(self.body) + sum(len(name) + len(str(value)) + 8 for name, value in self.properties.items())


@dataclass(frozen=True, slots=True)
class EncodedMessage:
    """A message to send as it is encoded.

    Attributes:
        message_id: The id in it.
        content: Its bytes.
    """

    message_id: str
    content: bytes = field(repr=False)
