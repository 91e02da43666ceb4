"""From bytes to events and back. No I/O, no clock: what is not in the message is not known here.

Every accepted form is first opened into one envelope (type, id, source, time, data); the type alone decides what the
envelope means. The accepted forms and the contract for publishers: docs/events.md.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from unicodedata import normalize

from pydantic import TypeAdapter, ValidationError

from optout_core.arrivals import Arrival
from optout_core.contract import OPT_IN_TYPE, OPT_OUT_TYPE, Consent, OptInRequest, Time
from optout_core.envelopes import Envelope, Form, json_object, open_envelopes, text_field
from optout_core.errors import MalformedEvent, UnsupportedEvent
from optout_core.numbers import clean, mask_text, with_plus

CONTENT_TYPE = "application/cloudevents+json"

#: What lifts an opt-out (facts/acs-optouts.md, section 5); `OPT_IN_KEYWORDS` changes it.
OPT_IN_KEYWORDS = frozenset({"START", "UNSTOP"})
#: What ACS and the FCC (47 CFR 64.1200(a)(10)) take as STOP.
OPT_OUT_KEYWORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPT OUT", "OPTOUT"})

_STOPS = frozenset(keyword.replace(" ", "") for keyword in OPT_OUT_KEYWORDS)

_ACS_PREFIX = "microsoft.communication."
_SMS_RECEIVED = "microsoft.communication.smsreceived"


@dataclass(frozen=True, slots=True)
class _Event:
    """Attributes common to all events.

    Attributes:
        form: The way it was written.
        source: Who said it, at most 1,024 characters.
        id: Unique within the source, at most 1,024 characters.
    """

    form: Form = field(compare=False)
    source: str
    id: str


@dataclass(frozen=True, slots=True)
class OptIn(_Event):
    """People opted in again to the messages of one sender.

    Attributes:
        time: The earliest of when the person did it, when it was said, and when it reached us; aware.
        sender: Cleaned, at least 1 character.
        recipients: Cleaned, in order, each once, at least 1.
        consent: The evidence, or None.
    """

    time: datetime
    sender: str = field(repr=False)
    recipients: tuple[str, ...] = field(repr=False)
    consent: Consent | None = None


@dataclass(frozen=True, slots=True)
class OptOut(_Event):
    """People said STOP to one sender: nothing to call, but no older opt-in of theirs may be applied.

    Attributes:
        time: When the person did it; aware.
        sender: Cleaned, at least 1 character.
        recipients: Cleaned, each once, at least 1.
    """

    time: datetime
    sender: str = field(repr=False)
    recipients: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ignored(_Event):
    """An event that is none of our business, such as a delivery report or a text that is not a keyword."""


Event = OptIn | OptOut | Ignored


def decode(arrival: Arrival, opt_in_keywords: Iterable[str] = OPT_IN_KEYWORDS) -> tuple[Event, ...]:
    """Decode one message into its events.

    Args:
        arrival: The message as it came.
        opt_in_keywords: Upper-case texts that lift an opt-out.

    Returns:
        At least one event, in the order of the message. An array is refused whole when one of its events is bad, so
        that the dead letter's bytes are the publisher's bytes.

    Raises:
        MalformedEvent: The bytes have the wrong shape.
        UnsupportedEvent: The event has a type or version that we do not know.
    """
    keywords = frozenset(opt_in_keywords)
    return tuple(_understand(envelope, arrival, keywords) for envelope in open_envelopes(arrival))


def encode(event: OptIn | OptOut, recipients: Iterable[str] | None = None) -> bytes:
    """Write the canonical event for some recipients of an opt-in or opt-out, or for all of them.

    Returns:
        Compact UTF-8 JSON. Decoding it gives the same event with these recipients.
    """
    content: dict[str, object] = {
        "from": event.sender,
        "recipients": [{"to": to} for to in (event.recipients if recipients is None else recipients)],
    }
    if isinstance(event, OptIn) and event.consent is not None:
        content["consent"] = event.consent.model_dump(mode="json", by_alias=True, exclude_none=True)
    document = {
        "specversion": "1.0",
        "type": OPT_IN_TYPE if isinstance(event, OptIn) else OPT_OUT_TYPE,
        "source": event.source,
        "id": event.id,
        "time": event.time.isoformat(),
        "datacontenttype": "application/json",
        "data": content,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def means_stop(text: str) -> bool:
    """Say whether a text is a STOP, however it is written: `Stop!`, `“STOP”`, `opt-out`, `STOP ALL`.

    An opt-in has to be exact; a STOP that we miss lets an older opt-in win.
    """
    letters = "".join(character for character in normalize("NFKC", text) if character.isalnum())
    return letters.upper() in _STOPS


def _understand(envelope: Envelope, arrival: Arrival, keywords: frozenset[str]) -> Event:
    if envelope.type in (OPT_IN_TYPE, OPT_OUT_TYPE):
        return _consent_event(envelope, arrival)
    if envelope.type.lower() == _SMS_RECEIVED:
        return _sms_received(envelope, arrival, keywords)
    if envelope.type.lower().startswith(_ACS_PREFIX):
        return Ignored(envelope.form, envelope.source, envelope.id)
    raise UnsupportedEvent(f"we do not know the event type {mask_text(envelope.type[:100])!r}")


def _consent_event(envelope: Envelope, arrival: Arrival) -> OptIn | OptOut:
    request = _validated(_REQUEST, json_object(envelope.content, "`data`"), "data")
    said = None if envelope.time is None else _validated(_TIME, envelope.time, "time")
    recipients = tuple(dict.fromkeys(clean(recipient.to) for recipient in request.recipients))
    sender = clean(request.sender)
    if not sender or not all(recipients):
        raise MalformedEvent("a number consists of separators only")
    if envelope.type == OPT_OUT_TYPE:
        return OptOut(envelope.form, envelope.source, envelope.id, said or arrival.enqueued_at, sender, recipients)
    # A person cannot have opted in after we were told; the earliest time is the one that no STOP can wrongly lose to.
    captured = request.consent.captured_at if request.consent else None
    time = min(moment for moment in (said, captured, arrival.enqueued_at) if moment is not None)
    return OptIn(envelope.form, envelope.source, envelope.id, time, sender, recipients, request.consent)


def _sms_received(envelope: Envelope, arrival: Arrival, keywords: frozenset[str]) -> Event:
    content = json_object(envelope.content, "`data`")
    sms = {name.lower(): value for name, value in content.items()}
    if len(sms) < len(content):
        raise MalformedEvent("`data` names the same field twice")
    message = sms.get("message")
    if not isinstance(message, str):
        raise MalformedEvent("`message` must be a string")
    stops, starts = means_stop(message), message.strip().upper() in keywords
    if not stops and not starts:
        return Ignored(envelope.form, envelope.source, envelope.id)
    # The roles swap: who wrote to us is now the recipient, and the number that was written to is the sender.
    person, sender = with_plus(text_field(sms, "from")), with_plus(text_field(sms, "to"))
    if not person or not sender:
        raise MalformedEvent("a number of the SMSReceived event is empty")
    said = sms.get("receivedtimestamp") or envelope.time
    time = arrival.enqueued_at if said is None else _validated(_TIME, said, "receivedTimestamp")
    if stops:
        return OptOut(envelope.form, envelope.source, envelope.id, time, sender, (person,))
    time = min(time, arrival.enqueued_at)
    return OptIn(envelope.form, envelope.source, envelope.id, time, sender, (person,))


_Value = TypeVar("_Value")
#: What pydantic says in words of its own.
_PLAIN = {"too_short": "must hold at least one", "missing": "is missing"}
_REQUEST = TypeAdapter(OptInRequest)
_TIME: TypeAdapter[datetime] = TypeAdapter(Time)


def _validated(adapter: TypeAdapter[_Value], value: object, where: str) -> _Value:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False, include_context=False)
        path = ".".join((where, *(str(step) for step in errors[0]["loc"])))
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        problem = _PLAIN.get(errors[0]["type"]) or mask_text(errors[0]["msg"])
        raise MalformedEvent(f"{path}: {problem}{more}") from None
