"""Frames and performatives: the verbs of an AMQP 1.0 connection.

A performative is a tuple of typed fields; a field that may be absent says so in its annotation. A frame whose fields
have other types is refused when it is decoded, so that nothing behind this module has to check them again.

Sources: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-transport-v1.0-os.html and
https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-security-v1.0-os.html
"""

import struct
from typing import Any, NamedTuple, get_type_hints

from servicebus_sandbox.amqp import DecodeError, Described, Symbol, Ubyte, Uint, Ulong, Ushort
from servicebus_sandbox.decode import decode_at
from servicebus_sandbox.encode import compound, encode

AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
SASL_HEADER = b"AMQP\x03\x01\x00\x00"
EMPTY_FRAME = b"\x00\x00\x00\x08\x02\x00\x00\x00"

#: Size of the whole frame, data offset in words of 4 bytes, frame type, channel.
FRAME_HEAD = struct.Struct(">IBBH")

AMQP_TYPE, SASL_TYPE = 0, 1

#: The two values of the field `role`.
SENDER, RECEIVER = False, True


class Open(NamedTuple):
    """The start of a connection. `idle_time_out` in milliseconds, `max_frame_size` in bytes."""

    container_id: str
    hostname: str | None = None
    max_frame_size: Uint | None = None
    channel_max: Ushort | None = None
    idle_time_out: Uint | None = None
    outgoing_locales: object = None
    incoming_locales: object = None
    offered_capabilities: object = None
    desired_capabilities: object = None
    properties: object = None


class Begin(NamedTuple):
    """The start of a session. Windows count transfer frames."""

    remote_channel: Ushort | None
    next_outgoing_id: Uint
    incoming_window: Uint
    outgoing_window: Uint
    handle_max: Uint | None = None
    offered_capabilities: object = None
    desired_capabilities: object = None
    properties: object = None


class Attach(NamedTuple):
    """The start of a link. `role` is that of the one who says it."""

    name: str
    handle: Uint
    role: bool
    snd_settle_mode: Ubyte | None = None
    rcv_settle_mode: Ubyte | None = None
    source: Described | None = None
    target: Described | None = None
    unsettled: object = None
    incomplete_unsettled: object = None
    initial_delivery_count: Uint | None = None
    max_message_size: Ulong | None = None
    offered_capabilities: object = None
    desired_capabilities: object = None
    properties: object = None


class Flow(NamedTuple):
    """How much more may be sent: transfer frames on the session, messages (credit) on a link."""

    next_incoming_id: Uint | None
    incoming_window: Uint
    next_outgoing_id: Uint
    outgoing_window: Uint
    handle: Uint | None = None
    delivery_count: Uint | None = None
    link_credit: Uint | None = None
    available: Uint | None = None
    drain: bool | None = None
    echo: bool | None = None
    properties: object = None


class Transfer(NamedTuple):
    """A message, or with `more` a part of it."""

    handle: Uint
    delivery_id: Uint | None = None
    delivery_tag: bytes | None = None
    message_format: Uint | None = None
    settled: bool | None = None
    more: bool | None = None
    rcv_settle_mode: Ubyte | None = None
    state: Described | None = None
    resume: bool | None = None
    aborted: bool | None = None
    batchable: bool | None = None


class Disposition(NamedTuple):
    """What became of the deliveries `first` to `last`."""

    role: bool
    first: Uint
    last: Uint | None = None
    settled: bool | None = None
    state: Described | None = None
    batchable: bool | None = None


class Detach(NamedTuple):
    """The end of a link, for good when `closed`."""

    handle: Uint
    closed: bool | None = None
    error: Described | None = None


class End(NamedTuple):
    """The end of a session."""

    error: Described | None = None


class Close(NamedTuple):
    """The end of a connection."""

    error: Described | None = None


class SaslMechanisms(NamedTuple):
    """The ways to authenticate that there are."""

    mechanisms: object


class SaslInit(NamedTuple):
    """The choice of one of them."""

    mechanism: Symbol
    initial_response: bytes | None = None
    hostname: str | None = None


class SaslOutcome(NamedTuple):
    """What came of it. Code 0: welcome; 1: authentication failed."""

    code: Ubyte


Performative = (
    Open
    | Begin
    | Attach
    | Flow
    | Transfer
    | Disposition
    | Detach
    | End
    | Close
    | SaslMechanisms
    | SaslInit
    | SaslOutcome
)

_BY_CODE: dict[int, type[Any]] = {
    0x10: Open,
    0x11: Begin,
    0x12: Attach,
    0x13: Flow,
    0x14: Transfer,
    0x15: Disposition,
    0x16: Detach,
    0x17: End,
    0x18: Close,
    0x40: SaslMechanisms,
    0x41: SaslInit,
    0x44: SaslOutcome,
}
_PREFIXES = {kind: b"\x00\x53" + bytes((code,)) for code, kind in _BY_CODE.items()}
_FIELD_TYPES = {kind: tuple(get_type_hints(kind).values()) for kind in _BY_CODE.values()}


def encode_frame(channel: int, performative: Performative, payload: bytes = b"") -> bytes:
    """Encode a whole frame, trailing absent fields left out."""
    fields: tuple[object, ...] = performative
    count = len(fields)
    while count and fields[count - 1] is None:
        count -= 1
    kind = type(performative)
    encoded = compound(0xC0, count, b"".join(map(encode, fields[:count])))
    body = b"".join((_PREFIXES[kind], encoded, payload))
    frame_type = SASL_TYPE if kind in (SaslMechanisms, SaslInit, SaslOutcome) else AMQP_TYPE
    return FRAME_HEAD.pack(len(body) + FRAME_HEAD.size, 2, frame_type, channel) + body


def decode_performative(body: bytes) -> tuple[Performative, bytes]:
    """Decode a frame's body.

    Returns:
        The performative, and the payload behind it (of a transfer; empty otherwise).

    Raises:
        DecodeError: The bytes are no performative, or its fields are not those of the specification.
    """
    described, end = decode_at(body, 0)
    if not isinstance(described, Described) or not isinstance(described.value, list):
        raise DecodeError("a frame holds no performative")
    try:
        kind = _BY_CODE[described.descriptor]
        performative: Performative = kind(*described.value)
    except (KeyError, TypeError):
        raise DecodeError("a frame holds an unknown performative, or one with too few or too many fields") from None
    for value, expected in zip(performative, _FIELD_TYPES[kind], strict=True):
        if not isinstance(value, expected):
            raise DecodeError(f"a field of {kind.__name__} is of the wrong type: {type(value).__name__}")
    return performative, body[end:]


ACCEPTED = Described(Ulong(0x24), [])
RELEASED = Described(Ulong(0x26), [])
_ERROR, _REJECTED, _MODIFIED = Ulong(0x1D), Ulong(0x25), Ulong(0x27)


def error(condition: str, description: str) -> Described:
    """Make an AMQP error. All three fields are written: pyamqp reads the third without looking whether it is there."""
    return Described(_ERROR, [Symbol(condition), description, None])


def rejected(reason: Described | None = None) -> Described:
    """Make the outcome `rejected`, with an error when what was asked could not be done."""
    return Described(_REJECTED, [reason] if reason is not None else [])


def modified(*, failed: bool, undeliverable_here: bool) -> Described:
    """Make the outcome `modified`, which is how Service Bus says abandoned or deferred."""
    return Described(_MODIFIED, [failed, undeliverable_here])
