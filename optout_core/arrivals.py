"""What the broker hands us: the bytes of a message and the facts that travel beside them.

The property names are a contract with operators and tools; docs/events.md lists them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Protocol

EVENT_ID = "optout-event-id"
ATTEMPT = "optout-attempt"
HOP = "optout-hop"
FIRST_ENQUEUED = "optout-first-enqueued"
RECIPIENTS = "optout-recipients"
OF = "optout-of"
PART = "optout-part"
REPLAY_ID = "optout-replay-id"
REPLAY_COUNT = "optout-replay-count"
HTTP_STATUS = "optout-http-status"
ERROR_CODE = "optout-error-code"
MS_CV = "optout-ms-cv"
DEAD_LETTER_REASON = "DeadLetterReason"
DEAD_LETTER_DESCRIPTION = "DeadLetterErrorDescription"

#: Carried through unchanged, in the order in which the trace context of a message is looked up
#: (docs/facts/functions-and-service-bus.md, "Telemetry").
TRACE = ("traceparent", "tracestate", "Diagnostic-Id")

#: A counter from a property is believed up to here; beyond it somebody is playing, and ids must stay short.
_MAX_COUNT = 999_999
#: azure-servicebus writes every integer property in 32 bits and fails on a larger one.
_SENDABLE_INTEGERS = range(-(2**31), 2**31)


@dataclass(frozen=True, slots=True)
class Arrival:
    """Hold one message as it came.

    Attributes:
        body: The bytes the publisher sent, untouched.
        enqueued_at: When the broker accepted this message; aware.
        message_id: At most 128 characters, or None when the publisher set none.
        content_type: As the publisher set it, or None.
        correlation_id: As the publisher set it, or None.
        properties: Application properties, names as strings, integers in 32 bits.
    """

    body: bytes = field(repr=False)
    enqueued_at: datetime
    message_id: str | None = None
    content_type: str | None = None
    correlation_id: str | None = None
    properties: Mapping[str, object] = field(default_factory=dict, repr=False)

    @property
    def id(self) -> str:
        """Give the MessageId, or where there is none an id that is the same at every delivery."""
        if self.message_id:
            return self.message_id
        # Properties count: in binary mode they are what tells one event from another.
        beside = repr((self.enqueued_at.isoformat(), sorted(self.properties.items(), key=repr)))
        return sha256(self.body + beside.encode()).hexdigest()[:32]

    @property
    def event_id(self) -> str:
        """Give the event's id as far as it is known without the body: when sent again it stands in a property."""
        known = self.properties.get(EVENT_ID)
        return known if isinstance(known, str) and known else self.id


class TriggerMessage(Protocol):
    """The part of `azure.functions.ServiceBusMessage` that we read."""

    def get_body(self) -> bytes:
        """Give the body."""

    @property
    def message_id(self) -> str | None:
        """Give the MessageId."""

    @property
    def content_type(self) -> str | None:
        """Give the content type."""

    @property
    def correlation_id(self) -> str | None:
        """Give the correlation id."""

    @property
    def enqueued_time_utc(self) -> datetime | None:
        """Give the time of arrival in the queue."""

    @property
    def application_properties(self) -> Mapping[str, object] | None:
        """Give the application properties."""


def from_trigger(message: TriggerMessage, now: datetime) -> Arrival:
    """Take a message from the trigger, whatever the host left out of it.

    Args:
        message: What the trigger gave.
        now: The current time; aware; stands in where the host sent no time of arrival.
    """
    enqueued_at = message.enqueued_time_utc or now
    return Arrival(
        body=message.get_body(),
        enqueued_at=enqueued_at if enqueued_at.tzinfo else enqueued_at.replace(tzinfo=UTC),
        message_id=_sendable(message.message_id),
        content_type=_sendable(message.content_type),
        correlation_id=_sendable(message.correlation_id),
        properties={
            str(_sendable(name)): _sendable_value(value)
            for name, value in (message.application_properties or {}).items()
        },
    )


def _sendable(value: object) -> str | None:
    # A dead letter carries these on: what the client could not encode must not stop it.
    return None if value is None else str(value).encode(errors="replace").decode()


def _sendable_value(value: object) -> object:
    is_number = isinstance(value, float) or (isinstance(value, int) and value in _SENDABLE_INTEGERS)
    return value if is_number else _sendable(value)


@dataclass(frozen=True, slots=True)
class Lineage:
    """Say how often an event has been round already.

    Attributes:
        attempt: Recipient-level attempts used up before this delivery, at least 0.
        hop: Re-sends of any kind before this delivery, at least 0.
        first_enqueued: When the original message was accepted by the broker; aware.
        of: Recipients in the original event, or None when this is the original.
        replay_id: The operators' replay that sent it last, or None.
        replay_count: How often operators replayed it, at least 0.
        trace: Trace context properties to carry on.
        correlation_id: The publisher's correlation id, or None.
    """

    attempt: int
    hop: int
    first_enqueued: datetime
    of: int | None = None
    replay_id: str | None = None
    replay_count: int = 0
    trace: Mapping[str, str] = field(default_factory=dict)
    correlation_id: str | None = None


def read_lineage(arrival: Arrival) -> Lineage:
    """Read the lineage from a message's properties; a property that makes no sense counts as absent."""
    properties = arrival.properties
    replay_id = properties.get(REPLAY_ID)
    return Lineage(
        attempt=_count(properties.get(ATTEMPT)) or 0,
        hop=_count(properties.get(HOP)) or 0,
        first_enqueued=_time(properties.get(FIRST_ENQUEUED)) or arrival.enqueued_at,
        of=_count(properties.get(OF)),
        replay_id=replay_id if isinstance(replay_id, str) and replay_id else None,
        replay_count=_count(properties.get(REPLAY_COUNT)) or 0,
        trace={name: value for name in TRACE if isinstance(value := properties.get(name), str)},
        correlation_id=arrival.correlation_id,
    )


def _count(value: object) -> int | None:
    # Some clients send numbers as text; both forms are one number.
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(_MAX_COUNT)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        return None
    return value


def _time(value: object) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
