"""What the broker hands us: the bytes of a message and the facts that travel beside them."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from msgspec import Struct

from optout_core.masking import Untrusted, holds_number
from optout_core.properties import (
    ALONE,
    ATTEMPT,
    DEAD_LETTER_REASON,
    DIAGNOSTIC_ID,
    EVENT_ID,
    FIRST_ENQUEUED,
    HOP,
    OF,
    OURS,
    REPLAY_COUNT,
    REPLAY_ID,
    TRACEPARENT,
    TRACESTATE,
)

#: What a trace context looks like (https://www.w3.org/TR/trace-context/, 3.2.2 and 3.3.1); a member of `tracestate` is
#: a vendor's own text, so it is carried on only where it holds no number.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MEMBER = r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[ -+\--<>-~]{1,256}"
_TRACESTATE = re.compile(rf"{_MEMBER}(?:,[ \t]*{_MEMBER})*")
#: What W3C asks vendors to carry at least.
_MAX_TRACESTATE = 512
#: The end of every MessageId that we give: kind, hop, hash (docs/events.md), and what may stand behind it.
_OUR_ID = re.compile(r":[rdp][0-9]{1,7}:[0-9a-f]{16}(?::[12])?(?::w[0-9]{1,3})?\Z")
#: `optout` makes its replay ids of these characters (optout_ops/machine.py).
_REPLAY_ID = re.compile(r"[0-9A-Za-z-]{1,64}")

#: The largest counter that is accepted from a property; a larger one counts as absent. It stands in the MessageId,
#: which has 128 characters.
_MAX_COUNT = 999_999
#: What a time property can be as a number: milliseconds since 1970 up to the year 9999 (an AMQP timestamp), above that
#: units of 100 ns since the year 1 (a DateTimeOffset of .NET): only one that lies within the year 1 would be misread.
_FIRST_MILLISECOND, _END_OF_MILLISECONDS, _END_OF_TICKS = (
    -62_135_596_800_000,
    253_402_300_800_000,
    3_155_378_976_000_000_000,
)
_EPOCH, _YEAR_ONE = datetime(1970, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)


# What is made for each message or recipient and can be in no cycle is left to reference counting (gc=False).
class Arrival(Struct, frozen=True, kw_only=True, gc=False):
    """One message as it came.

    Attributes:
        body: The bytes the publisher sent, untouched.
        enqueued_at: When the broker accepted this message; aware.
        message_id: At most 128 characters, or None when the publisher set none.
        content_type: As the publisher set it, or None.
        correlation_id: As the publisher set it, or None.
        subject: As the publisher set it, or None; .NET once called it Label.
        properties: Application properties, names as strings; None, bool, int of 64 bits, float, UUID or str.
        delivery_count: Earlier deliveries that ended without a settlement, at least 0.
        locked_until: When the broker gives the message to somebody else; aware; None where it is not locked.
        unreadable: Why the message holds no event, in words for its publisher; None when it may hold one.
    """

    body: bytes
    enqueued_at: datetime
    message_id: str | None = None
    content_type: str | None = None
    correlation_id: str | None = None
    subject: str | None = None
    properties: Mapping[str, object] = {}
    delivery_count: int = 0
    locked_until: datetime | None = None
    unreadable: str | None = None

    def __repr__(self) -> str:
        """Show nothing that a publisher wrote."""
        return f"<{type(self).__name__} of {self.enqueued_at:%Y-%m-%dT%H:%M:%SZ}, {len(self.body)} bytes>"

    @property
    def id(self) -> str:
        """Give the MessageId, or where there is none an id that is the same at every delivery."""
        if self.message_id:
            return self.message_id
        # Properties count: in binary mode they are what tells one event from another.
        beside = repr((self.enqueued_at.isoformat(), sorted(self.properties.items(), key=repr)))
        return sha256(self.body + beside.encode()).hexdigest()[:32]

    @property
    def event_id(self) -> Untrusted:
        """Give the event's id as far as it is known without the body: when sent again it stands in a property."""
        known = self.properties.get(EVENT_ID)
        return Untrusted(known if isinstance(known, str) and known else self.id)

    @property
    def first_enqueued(self) -> datetime:
        """Give when the broker accepted the event's first message, never later than this one; aware."""
        if (written := self.properties.get(FIRST_ENQUEUED)) is None or isinstance(written, int):
            return self.enqueued_at
        return min(moment(written) or self.enqueued_at, self.enqueued_at)


class Lineage(Struct, frozen=True, gc=False):
    """How often an event has been round already.

    Attributes:
        attempt: Recipient-level attempts used up before this delivery, at least 0.
        hop: Re-sends of any kind before this delivery, at least 0.
        first_enqueued: When the original message was accepted by the broker, never later than this one; aware.
        of: Recipients in the original event, or None when this is the original.
        replay_id: The operators' replay that sent it last, or None.
        replay_count: How often operators replayed it, at least 0.
        trace: Trace context properties to carry on; well formed, without a phone number, at most 1,200 characters.
        correlation_id: The publisher's correlation id, masked if it holds a number, or None.
        sent_back: Why the message was a dead letter before somebody sent it back by hand, or None.
        alone: Whether its recipients are asked for apart from those of other events: they, or others beside them, made
            whole requests fail.
    """

    attempt: int
    hop: int
    first_enqueued: datetime
    of: int | None = None
    replay_id: str | None = None
    replay_count: int = 0
    trace: Mapping[str, str] = {}
    correlation_id: str | None = None
    sent_back: Untrusted | None = None
    alone: bool = False


def read_lineage(arrival: Arrival) -> Lineage:
    """Read the lineage from a message's properties; a property that makes no sense counts as absent."""
    properties = arrival.properties
    if arrival.correlation_id is None and properties.keys().isdisjoint(OURS):
        return Lineage(0, 0, arrival.enqueued_at)
    # What counts for or against a recipient is believed only on a message that we sent, or a copy of one.
    counted = properties if properties and _OUR_ID.search(arrival.message_id or "") else {}
    replay_id, sent_back = counted.get(REPLAY_ID), properties.get(DEAD_LETTER_REASON)
    return Lineage(
        attempt=_count(counted.get(ATTEMPT)) or 0,
        # Believed in any case: a hop that begins anew could repeat an id that the broker knows.
        hop=_count(properties.get(HOP)) or 0,
        first_enqueued=arrival.first_enqueued,
        of=_count(counted.get(OF)),
        replay_id=replay_id if isinstance(replay_id, str) and _is_replay_id(replay_id) else None,
        replay_count=_count(counted.get(REPLAY_COUNT)) or 0,
        trace=_trace(properties),
        correlation_id=None if arrival.correlation_id is None else str(Untrusted(arrival.correlation_id)),
        sent_back=Untrusted(sent_back) if isinstance(sent_back, str) and sent_back else None,
        alone=counted.get(ALONE) == 1,
    )


def _is_replay_id(text: str) -> bool:
    return bool(_REPLAY_ID.fullmatch(text)) and not holds_number(text)


def _trace(properties: Mapping[str, object]) -> dict[str, str]:
    trace = {}
    for name, pattern in ((TRACEPARENT, _TRACEPARENT), (DIAGNOSTIC_ID, _TRACEPARENT), (TRACESTATE, _TRACESTATE)):
        value = properties.get(name)
        if isinstance(value, str) and len(value) <= _MAX_TRACESTATE and pattern.fullmatch(value):
            trace[name] = value
    # The digits of a trace id are random and may look like a number; those of a vendor's text may be one.
    if TRACESTATE in trace and holds_number(trace[TRACESTATE]):
        del trace[TRACESTATE]
    return trace


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
