"""A message of azure-servicebus as the commands see it."""

from datetime import UTC, datetime

from azure.servicebus import ServiceBusReceivedMessage
from msgspec.structs import replace

from optout_core.adapters import received
from optout_core.amqp import APPLICATION_PROPERTIES
from optout_ops.queues import amqp, decoding
from optout_ops.queues.messages import MessageState, QueueMessage


def read_message(message: ServiceBusReceivedMessage) -> QueueMessage:
    """Read a message as the function reads it, and what only operators need; never raises."""
    decoded = decoding.decoded(message)
    arrival = received.read(decoded, received.enqueued_at(decoded) or datetime.now(UTC))
    unread: dict[str, str] = {}
    if APPLICATION_PROPERTIES in decoded.left_out:
        # One that cannot be read hides the others.
        properties, unread = decoding.unread_properties(decoded)
        arrival = replace(arrival, properties={**arrival.properties, **properties})
    state = str(getattr(received.attribute(message, "state"), "name", "")).lower()
    due = received.attribute(message, "scheduled_enqueue_time_utc")
    return QueueMessage.at(
        received.attribute(message, "sequence_number") or 0,
        arrival,
        state=MessageState(state) if state in set(MessageState) else MessageState.ACTIVE,
        scheduled_at=due if isinstance(due, datetime) and state == MessageState.SCHEDULED else None,
        encoded=amqp.bare(decoding.encoded(message)),
        unread=unread,
    )
