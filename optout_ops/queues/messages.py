"""A message as a queue holds it, whatever it means. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from optout_core.arrivals import Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMessage:
    """One message of a queue, peeked or locked.

    Attributes:
        sequence_number: Its place in the queue; never given twice.
        enqueued_at: When this queue accepted it; aware.
        delivery_count: How many deliveries ended without a settlement.
        body: The bytes, untouched.
        message_id: At most 128 characters, or None.
        content_type: As the sender set it, or None.
        correlation_id: As the sender set it, or None.
        subject: As the sender set it, or None.
        properties: Application properties, names as strings.
        unreadable: Why it holds no event, or None when it may hold one.
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
    unreadable: str | None = None

    @property
    def size(self) -> int:
        """Estimate the bytes of body and properties."""
        return len(self.body) + sum(len(name) + len(str(value)) + 8 for name, value in self.properties.items())

    @property
    def arrival(self) -> Arrival:
        """Give the message in the form that optout_core decodes."""
        return Arrival(
            body=self.body,
            enqueued_at=self.enqueued_at,
            message_id=self.message_id,
            content_type=self.content_type,
            correlation_id=self.correlation_id,
            subject=self.subject,
            properties=self.properties,
            unreadable=self.unreadable,
        )
