"""Reads a decoded message: the function and `optout` read every message through this.

Nothing about one message raises: what a client may have written into it is anything that AMQP 1.0 has a type for.
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from optout_core.amqp import DATA, SEQUENCE, VALUE, Message
from optout_core.arrivals import Arrival

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage

#: What an integer of AMQP can be: from the least long to below the end of ulong.
_LEAST, _END = -(2**63), 2**64
_AS_IT_IS = (bool, UUID)
#: Places of what is read of the header and of the standard properties (AMQP messaging, 3.2.1 and 3.2.4).
_DELIVERY_COUNT = 4
_MESSAGE_ID, _SUBJECT, _CORRELATION_ID, _CONTENT_TYPE = 0, 3, 5, 6
_HOW = "send the event as JSON in a data section, or as text"


def within(message: "ServiceBusReceivedMessage") -> Message:
    """Give what the client library decoded of a message.

    Reading the attributes of its own class can raise (`azure/servicebus/_common/message.py`).
    """
    decoded: Any = message._message  # noqa: SLF001 - there is no public way to it
    body = [(DATA, each) for each in decoded.data or ()] + [(SEQUENCE, each) for each in decoded.sequence or ()]
    return Message(
        decoded.header or (),
        _entries(decoded.message_annotations),
        decoded.properties or (),
        _entries(decoded.application_properties),
        body or [(VALUE, decoded.value)],
    )


def _entries(section: object) -> Mapping[Any, Any]:
    # The library takes whatever stands there.
    return section if isinstance(section, dict) else {}


def read(message: Message, enqueued_at: datetime) -> Arrival:
    """Read a message.

    Args:
        message: As it was decoded.
        enqueued_at: When the broker accepted it (see `enqueued_at`), or what stands in for that; aware.
    """
    header, standard, sections = message.header, (*message.properties, *_NO_PROPERTIES), message.body
    if len(sections) == 1 and sections[0][0] == DATA and isinstance(sections[0][1], bytes):
        # Almost always.
        body, unreadable = sections[0][1], None
    else:
        body, unreadable = _body(sections)
    deliveries = header[_DELIVERY_COUNT] if len(header) > _DELIVERY_COUNT else 0
    return Arrival(
        body=body,
        enqueued_at=enqueued_at,
        message_id=text(standard[_MESSAGE_ID]),
        content_type=text(standard[_CONTENT_TYPE]),
        correlation_id=text(standard[_CORRELATION_ID]),
        subject=text(standard[_SUBJECT]),
        properties=read_properties(message.application_properties),
        delivery_count=deliveries if isinstance(deliveries, int) else 0,
        locked_until=_moment(message, b"x-opt-locked-until"),
        unreadable=unreadable,
    )


#: Behind those that a message has.
_NO_PROPERTIES = (None,) * (1 + _CONTENT_TYPE)


def enqueued_at(message: Message) -> datetime | None:
    """Give when the broker accepted a message, aware; None where that is not there or cannot be read."""
    return _moment(message, b"x-opt-enqueued-time")


def _moment(message: Message, annotation: bytes) -> datetime | None:
    if not (millis := message.annotations.get(annotation)):
        return None
    try:
        return datetime.fromtimestamp(millis / 1000, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def attribute(part: object, name: str) -> Any:  # noqa: ANN401 - whatever a client put there
    """Give an attribute of a message, or of a part of one; None where it cannot be read."""
    try:
        return getattr(part, name)
    except Exception:  # noqa: BLE001 - ValueError, OverflowError, TypeError and AttributeError were seen
        return None


def text(value: object) -> str | None:
    """Give an id or another text as the .NET client shows it: a uuid with dashes, a binary in hexadecimal digits.

    The client library does not tell text from binary: what is UTF-8 is taken for text.
    """
    if value is None:
        return None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex().upper()
    # Half a surrogate pair has no encoding, and a dead letter carries this on.
    return str(value).encode(errors="replace").decode()


def read_properties(properties: Mapping[Any, object]) -> dict[str, object]:
    """Give application properties with names as text, and values that can be sent on.

    A value keeps its type when it is null, a boolean, a number, a uuid or text. A binary that is no text becomes
    base64, as the .NET client shows it; a list or a map, which AMQP forbids here, becomes JSON.
    """
    return {text(name) or "": _property(value) for name, value in properties.items()}


def _property(value: object) -> object:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return b64encode(value).decode()
    if value is None or isinstance(value, _AS_IT_IS):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int) and _LEAST <= value < _END:
        # A described integer is of a class of its own, which is no int to `range` and none to `type`.
        return int(value)
    return _written(value) if isinstance(value, list | dict) else text(value)


def _body(sections: Sequence[tuple[int, Any]]) -> tuple[bytes, str | None]:
    """Give the bytes of the event; and if there is none, what the body is instead, its content written as JSON."""
    contents = {code: [content for each, content in sections if each == code] for code in (DATA, SEQUENCE, VALUE)}
    if data := contents[DATA]:
        if all(isinstance(section, bytes) for section in data):
            return b"".join(data), None
        return _written(data).encode(), f"a data section of the body holds no binary; {_HOW}"
    body = contents[VALUE][-1] if contents[VALUE] else None
    if contents[SEQUENCE]:
        body = [value for each in contents[SEQUENCE] for value in (each if isinstance(each, list) else [each])]
        if len(body) != 1:
            return _written(body).encode(), f"the body is an AMQP sequence of {len(body)} values; {_HOW}"
        body = body[0]
    if body is None or isinstance(body, bytes):
        return body or b"", None
    return _written(body).encode(), f"the body is an AMQP {_kind(body)}; {_HOW}"


def _kind(value: object) -> str:
    names = {dict: "map", list: "list", bool: "boolean", int: "number", float: "number", UUID: "uuid"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "value that is no text")


def _written(value: object) -> str:
    return json.dumps(_as_json(value), ensure_ascii=False)


def _as_json(value: object) -> object:
    if isinstance(value, Mapping):
        return {text(name) or "": _as_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    return value if isinstance(value, bool | int | float | None) else text(value)
