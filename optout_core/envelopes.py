"""From bytes to envelopes: every accepted form, opened, with what it says still unread.

The JSON is read strictly (UTF-8, no NaN, no field named twice): whatever we guessed here could lose a recipient.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NoReturn
from uuid import UUID

from optout_core.arrivals import Arrival, moment
from optout_core.contract import MAX_NAME, OPT_IN_TYPE
from optout_core.errors import MalformedEvent, UnsupportedEvent

#: The source we name in a canonical event made from a bare request, which has none.
BARE_SOURCE = "urn:optout:bare-request"

#: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/amqp-protocol-binding.md#3132-amqp-application-property-names
_BINARY_PREFIXES = ("cloudevents:", "cloudevents_")
_SPEC_VERSION = "specversion"
#: Every 64-bit integer has fewer digits.
_SAFE_DIGITS = 20


class Form(StrEnum):
    """Name the way in which an event was written."""

    CLOUD_EVENT = "cloud-event"
    CLOUD_EVENT_BINARY = "cloud-event-binary"
    EVENT_GRID = "event-grid"
    BARE_REQUEST = "bare-request"


@dataclass(frozen=True, slots=True)
class Envelope:
    """Hold what every form has in common.

    Attributes:
        form: The way it was written.
        type: What happened, at least 1 character.
        source: Who said it, 1 to 1,024 characters.
        id: Unique within the source, 1 to 1,024 characters.
        time: When it happened, as written and not yet checked; None when left out.
        content: What the event says, not yet checked.
    """

    form: Form
    type: str
    source: str
    id: str
    time: object
    content: object = field(repr=False)


def open_envelopes(arrival: Arrival) -> list[Envelope]:
    """Open the events of one message, at least one.

    Raises:
        MalformedEvent: The body is not the JSON of any accepted form.
        UnsupportedEvent: A CloudEvent of another version than 1.0.
    """
    if arrival.unreadable:
        raise MalformedEvent(arrival.unreadable)
    attributes = _binary_attributes(arrival.properties)
    document = _json(arrival.body)
    if _SPEC_VERSION in attributes:
        return [_cloud_event(attributes, document, Form.CLOUD_EVENT_BINARY)]
    if isinstance(document, list):
        if not document:
            raise MalformedEvent("the array holds no events")
        return [_structured(json_object(item, "each event of an array"), arrival) for item in document]
    return [_structured(json_object(document, "an event"), arrival, bare_id=arrival.id)]


def _structured(event: dict[str, Any], arrival: Arrival, bare_id: str | None = None) -> Envelope:
    if any(name.lower() == _SPEC_VERSION for name in event):
        if "data_base64" in event:
            raise MalformedEvent("`data_base64` is not read: send `data` as JSON")
        return _cloud_event(event, event.get("data"), Form.CLOUD_EVENT)
    if "eventType" in event:
        return Envelope(
            form=Form.EVENT_GRID,
            type=_name(event, "eventType"),
            source=_name(event, "topic"),
            id=_name(event, "id"),
            time=event.get("eventTime"),
            content=event.get("data"),
        )
    if "from" in event and "recipients" in event:
        if bare_id is None:
            raise MalformedEvent("a bare request cannot stand in an array: it has no id of its own")
        if "type" in event or _binary_attributes(arrival.properties):
            # Half a CloudEvent: taken for a bare request, an opt-out would pass for an opt-in.
            raise MalformedEvent("a request with a `type` or other attributes of CloudEvents needs `specversion`")
        return Envelope(Form.BARE_REQUEST, OPT_IN_TYPE, BARE_SOURCE, bare_id, arrival.enqueued_at.isoformat(), event)
    raise MalformedEvent("neither a CloudEvent, an Event Grid event nor a request with `from` and `recipients`")


def _cloud_event(attributes: Mapping[str, Any], content: object, form: Form) -> Envelope:
    versions = {str(value) for name, value in attributes.items() if name.lower() == _SPEC_VERSION}
    if versions != {"1.0"}:
        raise UnsupportedEvent("`specversion` is not 1.0")
    time = attributes.get("time")
    return Envelope(
        form=form,
        type=_name(attributes, "type"),
        source=_name(attributes, "source"),
        id=_name(attributes, "id"),
        time=time.isoformat() if isinstance(time, datetime) else time,
        content=content,
    )


def _binary_attributes(properties: Mapping[str, object]) -> dict[str, object]:
    named = [
        (attribute := name[len(_BINARY_PREFIXES[0]) :].lower(), _attribute(attribute, value))
        for name, value in properties.items()
        if name.lower().startswith(_BINARY_PREFIXES)
    ]
    attributes = dict(named)
    if len(attributes) < len(named):
        raise MalformedEvent("the properties name the same CloudEvents attribute twice")
    return attributes


def _attribute(name: str, value: object) -> object:
    # AMQP has types for what JSON writes as text.
    if name == "time" and isinstance(value, int):
        return moment(value) or value
    return str(value) if isinstance(value, UUID) else value


def _json(body: bytes) -> object:
    try:
        return json.loads(
            body.decode("utf-8-sig"), object_pairs_hook=_unique, parse_int=_integer, parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        raise MalformedEvent("not UTF-8") from None
    except RecursionError:
        raise MalformedEvent("nested too deeply") from None
    except ValueError as error:
        # A JSONDecodeError's text holds a position and never the document.
        raise MalformedEvent(f"not JSON: {error}") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        # Keeping one of two values could lose recipients without a trace.
        raise MalformedEvent("an object names the same field twice")
    return mapping


def _integer(digits: str) -> float:
    # int() refuses more than 4,300 digits; a field that nobody reads must not make an event unreadable.
    return int(digits) if len(digits) <= _SAFE_DIGITS else float(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def json_object(value: object, what: str) -> dict[str, Any]:
    """Return a JSON object as it is, or raise MalformedEvent that says `what` must be one."""
    if not isinstance(value, dict):
        raise MalformedEvent(f"{what} must be a JSON object")
    return value


def text_field(fields: Mapping[str, Any], name: str) -> str:
    """Return a field that must be a string of characters UTF-8 can write, or raise MalformedEvent."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise MalformedEvent(f"`{name}` must be a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MalformedEvent(f"`{name}` holds half a surrogate pair") from None
    return value


def _name(fields: Mapping[str, Any], name: str) -> str:
    value = text_field(fields, name)
    if not 0 < len(value) <= MAX_NAME:
        raise MalformedEvent(f"`{name}` must have 1 to {MAX_NAME:,} characters")
    return value
