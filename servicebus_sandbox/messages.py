"""A message as the broker keeps it: the sender's bytes, and the few facts the broker itself must know.

What the broker does not need stays encoded and is handed out byte for byte: properties, application properties and body
reach the receiver exactly as the sender wrote them.

Source: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-messaging-v1.0-os.html, section 3.2
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from uuid import UUID

from servicebus_sandbox.amqp import DecodeError, Int, Symbol, Timestamp, Ubyte, Uint, Ulong
from servicebus_sandbox.decode import decode_at, map_entries
from servicebus_sandbox.encode import compound, encode
from servicebus_sandbox.limits import NO_LIMITS, STANDARD_PROPERTIES, Limits
from servicebus_sandbox.sections import (
    ANNOTATIONS,
    APPLICATION_PROPERTIES,
    DELIVERY_ANNOTATIONS,
    HEADER,
    NO_ENTRIES,
    PREFIXES,
    PROPERTIES,
    VALUE,
    Entries,
    data_sections,
    sections,
    with_fields,
)

LOCK_TOKEN = "x-opt-lock-token"  # noqa: S105 - a name, no secret
SCHEDULED_ENQUEUE_TIME = "x-opt-scheduled-enqueue-time"

#: Annotations that only the broker may set: a received message sent on must not carry its old ones.
BROKER_ANNOTATIONS = frozenset(
    {
        SCHEDULED_ENQUEUE_TIME,
        "x-opt-deadletter-source",
        "x-opt-enqueue-sequence-number",
        "x-opt-enqueued-time",
        "x-opt-locked-until",
        "x-opt-message-state",
        "x-opt-sequence-number",
    }
)

#: Durable, priority, time to live, first acquirer, delivery count (messaging, 3.2.1).
_HEADER_TYPES = (bool, Ubyte, Uint, bool, Uint)
_MAX_UINT, _MAX_LONG = 2**32 - 1, 2**63 - 1
_PROPERTY_NAMES = tuple(name for name, _ in STANDARD_PROPERTIES)
_MESSAGE_ID, _EXPIRY, _CREATION = map(_PROPERTY_NAMES.index, ("message_id", "absolute_expiry_time", "creation_time"))


@dataclass(frozen=True, slots=True)
class Message:
    """What a sender sent.

    `ttl_ms` and `scheduled_ms` (since 1970) are milliseconds, `size` is bytes as received. `durable` and `priority` are
    passed on and mean nothing to Service Bus. `expiry_is_off` when the sender's absolute expiry is not its creation and
    time to live together.
    """

    message_id: object = None
    durable: bool | None = None
    priority: Ubyte | None = None
    ttl_ms: int | None = None
    scheduled_ms: int | None = None
    expiry_is_off: bool = False
    delivery_annotations: Entries = NO_ENTRIES
    annotations: Entries = NO_ENTRIES
    application_entries: Entries = NO_ENTRIES
    properties_section: bytes = b""
    body_sections: bytes = b""
    size: int = 0

    @property
    def application_properties(self) -> dict[Any, Any]:
        """The application properties, decoded."""
        return {key: value for key, value, _ in map_entries(self.application_entries.as_map())}

    @property
    def properties(self) -> dict[str, Any]:
        """The properties that are set (`message_id`, `correlation_id`, `content_type` ...), decoded."""
        if not self.properties_section:
            return {}
        section, _ = decode_at(self.properties_section, 0)
        return {name: value for name, value in zip(_PROPERTY_NAMES, section.value, strict=False) if value is not None}

    @property
    def body(self) -> bytes:
        """The data sections, joined; empty when the body is a value or a sequence."""
        return b"".join(bytes(content) for content in data_sections(self.body_sections))

    @property
    def value(self) -> Any:
        """The body, when it is one value (as in requests to `$management`); else None."""
        for code, _, value_at, _ in sections(self.body_sections):
            if code == VALUE:
                return decode_at(self.body_sections, value_at)[0]
        return None

    def with_application_properties(self, extra: Mapping[str, object]) -> Message:
        """Return the message with more application properties."""
        return replace(self, application_entries=self.application_entries.with_(extra))

    def with_id(self, message_id: str) -> Message:
        """Return the message under another id."""
        properties = with_fields(self.properties_section, {_MESSAGE_ID: message_id})
        return replace(self, message_id=message_id, properties_section=properties)

    def with_time_to_live(self, ttl_ms: int | None, arrived_ms: int) -> Message:
        """Return the message with a time to live or none, which its expiry, where it has one, then says as well.

        .NET and JavaScript show the difference of expiry and creation as the time to live
        (https://github.com/Azure/azure-sdk-for-net/issues/40916). The expiry is ignored on input and holds on output:
        https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide
        """
        properties = self.properties
        section = self.properties_section
        if "absolute_expiry_time" in properties:
            created = properties.get("creation_time")
            start = created if isinstance(created, Timestamp) else arrived_ms
            expiry = None if ttl_ms is None else Timestamp(min(start + ttl_ms, _MAX_LONG))
            section = with_fields(section, {_EXPIRY: expiry})
        return replace(self, ttl_ms=ttl_ms, expiry_is_off=False, properties_section=section)

    def without_times(self) -> Message:
        """Return the message without the time to live, the expiry and the schedule its sender gave it."""
        return replace(self.with_time_to_live(None, arrived_ms=0), scheduled_ms=None)


@dataclass(frozen=True, slots=True)
class Stamps:
    """What the broker writes on a message when it hands it out. Times in milliseconds since 1970 in UTC.

    `state` is 0 active, 1 deferred, 2 scheduled; `first_sequence_number` is the number a forwarded
    message had before, else 0.
    """

    sequence_number: int
    enqueued_ms: int
    state: int
    delivery_count: int
    locked_until_ms: int | None = None
    lock_token: UUID | None = None
    dead_letter_source: str | None = None
    first_sequence_number: int = 0


def decode_message(payload: bytes, limits: Limits = NO_LIMITS) -> Message:
    """Read an encoded message.

    Args:
        payload: The bytes of its sections.
        limits: What its properties must keep to.

    Raises:
        DecodeError: The bytes are no message.
        Refused: The limits do not allow it.
    """
    facts: dict[str, Any] = {"size": len(payload)}
    fields: list[Any] = []
    body = []
    for code, start, value_at, end in sections(payload):
        if code == HEADER:
            facts |= _read_header(payload[value_at:end])
        elif code == DELIVERY_ANNOTATIONS:
            facts["delivery_annotations"] = _read_delivery_annotations(payload, value_at)
        elif code == ANNOTATIONS:
            facts |= _read_annotations(payload, value_at)
        elif code == PROPERTIES:
            fields = _read_properties(payload, value_at)
            limits.check_properties(fields, end - value_at)
            facts["properties_section"] = payload[start:end]
            facts["message_id"] = fields[_MESSAGE_ID] if fields else None
        elif code == APPLICATION_PROPERTIES:
            entries = list(map_entries(payload, value_at))
            limits.check_application_properties(entries)
            facts["application_entries"] = Entries(len(entries), b"".join([pair for _, _, pair in entries]))
        else:
            body.append(payload[start:end])
    body_sections = b"".join(body)
    limits.check_header_size(len(payload) - len(body_sections))
    if len(fields) > _EXPIRY and fields[_EXPIRY] is not None:
        facts |= _lifetime(fields, facts.get("ttl_ms"))
    return Message(**facts, body_sections=body_sections)


def encode_message(message: Message, stamps: Stamps) -> bytes:
    """Encode a message for a receiver.

    A time to live is written if the sender gave one, and what does not fit the header's 32 bits (49.7 days) as the
    longest that does.
    """
    ttl = None if message.ttl_ms is None else Uint(min(message.ttl_ms, _MAX_UINT))
    parts = [PREFIXES[HEADER], encode([message.durable, message.priority, ttl, None, Uint(stamps.delivery_count)])]
    count, encoded = message.delivery_annotations
    if stamps.lock_token is not None:
        count, encoded = count + 1, encoded + _LOCK_TOKEN + encode(stamps.lock_token)
    parts += PREFIXES[DELIVERY_ANNOTATIONS], compound(0xC1, count * 2, encoded)
    written = _annotations(message, stamps)
    count = message.annotations.pairs + len(written)
    parts += PREFIXES[ANNOTATIONS], compound(0xC1, count * 2, message.annotations.encoded + b"".join(written))
    parts.append(message.properties_section)
    if message.application_entries.pairs:
        parts += PREFIXES[APPLICATION_PROPERTIES], message.application_entries.as_map()
    parts.append(message.body_sections)
    return b"".join(parts)


def _annotations(message: Message, stamps: Stamps) -> list[bytes]:
    written = [
        _SEQUENCE_NUMBER + encode(stamps.sequence_number),
        _ENQUEUED_TIME + encode(Timestamp(stamps.enqueued_ms)),
    ]
    if stamps.first_sequence_number:
        # On a queue without partitions, azure-servicebus' own live test (`test_message_backcompat_peek_lock_databody`)
        # finds no such annotation on a message that came from nowhere.
        written.append(_ENQUEUE_SEQUENCE_NUMBER + encode(stamps.first_sequence_number))
    if stamps.state:
        written.append(_MESSAGE_STATE + encode(Int(stamps.state)))
    if stamps.locked_until_ms is not None:
        written.append(_LOCKED_UNTIL + encode(Timestamp(stamps.locked_until_ms)))
    if message.scheduled_ms is not None:
        written.append(_SCHEDULED_ENQUEUE_TIME + encode(Timestamp(message.scheduled_ms)))
    if stamps.dead_letter_source is not None:
        written.append(_DEAD_LETTER_SOURCE + encode(stamps.dead_letter_source))
    return written


_LOCK_TOKEN = encode(Symbol(LOCK_TOKEN))
_SEQUENCE_NUMBER = encode(Symbol("x-opt-sequence-number"))
_ENQUEUED_TIME = encode(Symbol("x-opt-enqueued-time"))
_MESSAGE_STATE = encode(Symbol("x-opt-message-state"))
_LOCKED_UNTIL = encode(Symbol("x-opt-locked-until"))
_SCHEDULED_ENQUEUE_TIME = encode(Symbol(SCHEDULED_ENQUEUE_TIME))
_DEAD_LETTER_SOURCE = encode(Symbol("x-opt-deadletter-source"))
_ENQUEUE_SEQUENCE_NUMBER = encode(Symbol("x-opt-enqueue-sequence-number"))


@lru_cache(maxsize=32)
def _read_header(encoded: bytes) -> Mapping[str, Any]:
    """Read what a header says. Most messages have one of a few headers."""
    fields, _ = decode_at(encoded, 0)
    if not isinstance(fields, list):
        raise DecodeError("a header is no list")
    durable, priority, ttl, *_ = *fields, None, None, None
    for value, kind in zip(fields, _HEADER_TYPES, strict=False):
        if value is not None and type(value) is not kind:
            raise DecodeError(f"a header holds a {type(value).__name__} where a {kind.__name__} belongs")
    return {"durable": durable, "priority": priority, "ttl_ms": ttl}


def _read_annotations(payload: bytes, value_at: int) -> dict[str, Any]:
    kept = []
    scheduled = None
    for key, value, pair in map_entries(payload, value_at):
        if key == SCHEDULED_ENQUEUE_TIME:
            if not isinstance(value, Timestamp | None):
                raise DecodeError(f"{SCHEDULED_ENQUEUE_TIME} is no timestamp")
            scheduled = value
        elif key not in BROKER_ANNOTATIONS:
            kept.append(pair)
    return {"scheduled_ms": scheduled, "annotations": Entries(len(kept), b"".join(kept))}


def _read_delivery_annotations(payload: bytes, value_at: int) -> Entries:
    """Read what a sender says to the next hop: the service gives it back, all but an old lock token."""
    kept = [pair for key, _, pair in map_entries(payload, value_at) if key != LOCK_TOKEN]
    return Entries(len(kept), b"".join(kept))


def _read_properties(payload: bytes, value_at: int) -> list[Any]:
    fields, _ = decode_at(payload, value_at)
    if not isinstance(fields, list):
        raise DecodeError("the properties are no list")
    if fields and not isinstance(fields[_MESSAGE_ID], str | bytes | Ulong | UUID | None):
        raise DecodeError("a message id is no string, binary, ulong or uuid")
    return fields


def _lifetime(fields: list[Any], ttl_ms: int | None) -> dict[str, Any]:
    """Read the time to live with the help of creation and expiry, and whether these two agree with it."""
    expiry, created, *_ = *fields[_EXPIRY:], None
    lifetime = expiry - created if isinstance(expiry, Timestamp) and isinstance(created, Timestamp) else None
    if ttl_ms == _MAX_UINT and lifetime is not None:
        # What does not fit the header's 32 bits is only in the two times.
        ttl_ms = max(lifetime, _MAX_UINT)
    return {"ttl_ms": ttl_ms, "expiry_is_off": ttl_ms is None or lifetime != ttl_ms}
