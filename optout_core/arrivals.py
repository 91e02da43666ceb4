"""What the broker hands us: the bytes of a message and the facts that travel beside them.

The property names are a contract with operators and tools; docs/events.md lists them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

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
#: (facts/functions-and-service-bus.md, "Telemetry").
TRACE = ("traceparent", "tracestate", "Diagnostic-Id")

#: A counter from a property is believed up to here; beyond it somebody is playing, and ids must stay short.
_MAX_COUNT = 999_999
#: What a time property can be as a number: milliseconds since 1970 up to the year 9999 (an AMQP timestamp), above that
#: units of 100 ns since the year 1 (a DateTimeOffset of .NET): only one that lies within the year 1 would be misread.
_FIRST_MILLISECOND, _END_OF_MILLISECONDS, _END_OF_TICKS = (
    -62_135_596_800_000,
    253_402_300_800_000,
    3_155_378_976_000_000_000,
)
_EPOCH, _YEAR_ONE = datetime(1970, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Arrival:
    """Hold one message as it came.

    Attributes:
        body: The bytes the publisher sent, untouched.
        enqueued_at: When the broker accepted this message; aware.
        message_id: At most 128 characters, or None when the publisher set none.
        content_type: As the publisher set it, or None.
        correlation_id: As the publisher set it, or None.
        properties: Application properties, names as strings; None, bool, int of 64 bits, float, UUID or str.
        unreadable: Why the message holds no event, in words for its publisher; None when it may hold one.
    """

    body: bytes = field(repr=False)
    enqueued_at: datetime
    message_id: str | None = None
    content_type: str | None = None
    correlation_id: str | None = None
    properties: Mapping[str, object] = field(default_factory=dict, repr=False)
    unreadable: str | None = None

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
    replay_id, first = properties.get(REPLAY_ID), properties.get(FIRST_ENQUEUED)
    return Lineage(
        attempt=_count(properties.get(ATTEMPT)) or 0,
        hop=_count(properties.get(HOP)) or 0,
        first_enqueued=(None if isinstance(first, int) else moment(first)) or arrival.enqueued_at,
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


def moment(value: object) -> datetime | None:
    """Read a time property, in any of the types in which clients send times; None when it is none.

    Args:
        value: ISO 8601, UTC unless it says otherwise; a datetime; milliseconds since 1970; 100 ns since the year 1.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if not _FIRST_MILLISECOND <= value < _END_OF_TICKS:
            return None
        if value < _END_OF_MILLISECONDS:
            return _EPOCH + timedelta(milliseconds=value)
        return _YEAR_ONE + timedelta(microseconds=value // 10)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
