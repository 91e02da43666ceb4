"""From bytes to envelopes: every accepted form, opened; what the event says is not read yet.

1. A CloudEvent in structured mode stands in the body; in binary mode its attributes are application properties. Where
   both are there, the content type decides, else they have to agree.
2. A bare request is taken only where nothing beside it could be an attribute of an event, since half a CloudEvent may
   be an opt-out.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from optout_core.arrivals import Arrival, moment
from optout_core.bodies import json_object, read_json, refuse_buffer
from optout_core.contract import ATTRIBUTES, MAX_NAME, OPT_IN_TYPE, refuse_other_spellings
from optout_core.errors import EventError, MalformedEvent, UnsupportedEvent

#: The source we name in a canonical event made from a bare request, which has none.
BARE_SOURCE = "urn:optout:bare-request"

_SPEC_VERSION = "specversion"
#: The attributes of an ordinary event: no spelling of another one is among them.
_USUAL = ATTRIBUTES | {_SPEC_VERSION, "datacontenttype", "dataschema", "subject", "traceparent", "tracestate"}
_STRUCTURED = "application/cloudevents"
#: AMQP's own two prefixes, and those of HTTP and Kafka, which publishers copy with the headers
#: (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/amqp-protocol-binding.md#3132-amqp-application-property-names,
#: its siblings for HTTP, 3.1.3.2, and for Kafka, 3.2.4).
_PREFIX = re.compile(r"(?:cloudevents?|ce)[:_.-]", re.IGNORECASE)
#: Names that say what happened, or to what it belongs, in the forms of events we know of; compared without case and
#: separators, so that `eventType`, `event-type` and `Type` are one.
_SAYS_WHAT = frozenset(
    {"type", "eventtype", "messagetype", "specversion", "source", "id", "eventid", "time", "eventtime", "subject"}
    | {"event", "eventname", "topic", "dataschema", "datacontenttype", "dataversion", "action", "operation"}
)
#: The ends of names under which frameworks say it: `rbs2-msg-type`, `NServiceBus.EnclosedMessageTypes`.
_TYPES = frozenset({"type", "eventtype", "messagetype", "enclosedmessagetypes"})
_SEPARATOR = re.compile(r"[^0-9A-Za-z]")


class Form(StrEnum):
    """The ways in which an event may be written."""

    CLOUD_EVENT = "cloud-event"
    CLOUD_EVENT_BINARY = "cloud-event-binary"
    EVENT_GRID = "event-grid"
    BARE_REQUEST = "bare-request"


class Envelope(NamedTuple):
    """What every form has in common.

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
    content: object

    def __repr__(self) -> str:
        """Show nothing that a publisher wrote."""
        return f"<Envelope of a {self.form}>"


def open_envelopes(arrival: Arrival) -> list[Envelope]:
    """Open the events of one message, at least one.

    Raises:
        MalformedEvent: The body is not the JSON of any accepted form.
        UnsupportedEvent: A CloudEvent of another version than 1.0.
    """
    if arrival.unreadable:
        raise MalformedEvent(arrival.unreadable)
    attributes = {} if _is_structured(arrival) else _attributes(arrival)
    documents, alone = _documents(arrival, attributes)
    return [_open(document, arrival, attributes, alone=alone) for document in documents]


def open_readable(arrival: Arrival) -> list[Envelope]:
    """Open those events of one message that can be opened, for whoever must not miss a STOP among bad neighbours."""
    if arrival.unreadable:
        return []
    try:
        attributes = {} if _is_structured(arrival) else _attributes(arrival)
        documents, alone = _documents(arrival, attributes)
    except MalformedEvent:
        return []
    readable = []
    for document in documents:
        with suppress(EventError):
            readable.append(_open(document, arrival, attributes, alone=alone))
    return readable


def _documents(arrival: Arrival, attributes: Mapping[str, object]) -> tuple[list[object], bool]:
    """Give the events of a message as JSON, and whether there is one that stands alone."""
    document = read_json(arrival.body)
    refuse_buffer(document, "the body")
    if not isinstance(document, list) or _SPEC_VERSION in attributes:
        return [document], True
    if not document:
        raise MalformedEvent("the array holds no events")
    return document, False


def _open(item: object, arrival: Arrival, attributes: Mapping[str, object], *, alone: bool) -> Envelope:
    if _SPEC_VERSION in attributes:
        return _binary(attributes, item)
    event = json_object(item, "an event" if alone else "each event of an array")
    if _SPEC_VERSION in event or any(name.lower() == _SPEC_VERSION for name in event):
        return _structured(event)
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
        return _bare_request(event, arrival, alone=alone)
    refuse_other_spellings(event, frozenset({_SPEC_VERSION}), "the event")
    raise MalformedEvent(
        "`specversion` is missing, and it is neither an Event Grid event nor a request with `from` and `recipients`"
    )


def _structured(event: Mapping[str, Any]) -> Envelope:
    return _cloud_event(event, _content(event), Form.CLOUD_EVENT)


def _binary(attributes: Mapping[str, object], document: object) -> Envelope:
    if isinstance(document, dict) and any(name.lower() == _SPEC_VERSION for name in document):
        # A bridge may stamp the attributes on a message whose body is the whole event already.
        inner = _structured(document)
        outer = _cloud_event(attributes, inner.content, Form.CLOUD_EVENT_BINARY)
        if (inner.type, inner.source, inner.id) != (outer.type, outer.source, outer.id):
            raise MalformedEvent("the properties and the body name different events")
        return inner
    return _cloud_event(attributes, document, Form.CLOUD_EVENT_BINARY)


def _cloud_event(attributes: Mapping[str, Any], content: object, form: Form) -> Envelope:
    if attributes.get(_SPEC_VERSION) != "1.0" or not attributes.keys() <= _USUAL:
        versions = {str(value) for name, value in attributes.items() if name.lower() == _SPEC_VERSION}
        if versions != {"1.0"}:
            raise UnsupportedEvent("`specversion` is not 1.0, the only version of CloudEvents that we read")
        refuse_other_spellings(attributes, ATTRIBUTES, "the event")
    return Envelope(
        form=form,
        type=_name(attributes, "type"),
        source=_name(attributes, "source"),
        id=_name(attributes, "id"),
        time=_moment(attributes.get("time")) if form is Form.CLOUD_EVENT_BINARY else attributes.get("time"),
        content=content,
    )


def _content(event: Mapping[str, Any]) -> object:
    if "data_base64" not in event:
        return event.get("data")
    if "data" in event:
        raise MalformedEvent("`data` and `data_base64` are both there: which one counts is not known")
    try:
        return read_json(b64decode(text_field(event, "data_base64"), validate=True))
    except ValueError:
        raise MalformedEvent("`data_base64` is not base64") from None


def _bare_request(request: dict[str, Any], arrival: Arrival, *, alone: bool) -> Envelope:
    if not alone:
        raise MalformedEvent("a bare request cannot stand in an array: it has no id of its own")
    if signs := _signs_of_an_event(request, arrival):
        raise MalformedEvent(
            f"a request beside {signs} may be half an event, and that an opt-out: send a whole CloudEvent with"
            " `specversion`, or the request alone"
        )
    return Envelope(
        form=Form.BARE_REQUEST,
        type=OPT_IN_TYPE,
        source=BARE_SOURCE,
        # What we write into a retry must be what we read there.
        id=_name({"MessageId": arrival.id}, "MessageId"),
        time=None,
        content=request,
    )


def _signs_of_an_event(request: Mapping[str, object], arrival: Arrival) -> str:
    """Name the first thing beside a request that could be an attribute of an event; nothing when there is none."""
    if _is_structured(arrival):
        return "a content type of CloudEvents"
    if arrival.subject:
        return "a subject"
    for name in request:
        if _plain(name) in _SAYS_WHAT:
            return "a field that could be an attribute"
    for name in arrival.properties:
        if _PREFIX.match(name) or _plain(name) in _SAYS_WHAT or _plain(_SEPARATOR.split(name)[-1]) in _TYPES:
            return "a property that could be an attribute"
    return ""


def _plain(name: str) -> str:
    return "".join(character for character in name if character.isalnum()).casefold()


def _is_structured(arrival: Arrival) -> bool:
    return (arrival.content_type or "").strip().lower().startswith(_STRUCTURED)


def _attributes(arrival: Arrival) -> dict[str, object]:
    attributes: dict[str, object] = {}
    for name, value in arrival.properties.items():
        if attribute := attribute_in(name):
            said = str(value) if isinstance(value, UUID) else value
            if attributes.setdefault(attribute, said) != said:
                raise MalformedEvent("two properties give the same CloudEvents attribute different values")
    return attributes


@lru_cache(maxsize=1024)
def attribute_in(name: str) -> str:
    """Give the attribute of a CloudEvent that a property holds by its name; nothing where it holds none."""
    prefix = _PREFIX.match(name)
    return name[prefix.end() :].lower() if prefix else ""


def _moment(value: object) -> object:
    # What is no time of AMQP is refused with the words that any other value is refused with.
    return moment(value) or value if isinstance(value, int | datetime) else value


def text_field(fields: Mapping[str, Any], name: str) -> str:
    """Return a field that must be text that can be stored, or raise MalformedEvent: no NUL, no half of a surrogate."""
    value = fields.get(name)
    if value is None:
        raise MalformedEvent(f"`{name}` is missing")
    if not isinstance(value, str):
        raise MalformedEvent(f"`{name}` must be a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MalformedEvent(f"`{name}` holds half a surrogate pair") from None
    if "\0" in value:
        raise MalformedEvent(f"`{name}` holds NUL")
    return value


def _name(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if isinstance(value, str) and value.isprintable() and 0 < len(value) <= MAX_NAME:
        # Neither NUL nor half a surrogate pair is printable.
        return value
    value = text_field(fields, name)
    if not 0 < len(value) <= MAX_NAME:
        raise MalformedEvent(f"`{name}` must have 1 to {MAX_NAME:,} characters")
    return value
