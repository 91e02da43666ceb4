"""From bytes to events and back. No I/O, no clock: what is not in the message is not known here.

Every accepted form is first opened into one envelope (type, id, source, time, data); the type alone decides what the
envelope means. The accepted forms and the contract for publishers: docs/events.md.
"""

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from enum import StrEnum, auto
from functools import lru_cache
from typing import Any, ClassVar

from msgspec import Struct
from msgspec.json import encode as to_json

from optout_core.arrivals import Arrival
from optout_core.bodies import json_object
from optout_core.contract import OPT_IN_TYPE, OPT_OUT_TYPE, Consent, read_moment, read_request
from optout_core.envelopes import Envelope, Form, open_envelopes, open_readable, text_field
from optout_core.errors import EventError, MalformedEvent, UnsupportedEvent
from optout_core.keywords import Keywords
from optout_core.masking import Untrusted
from optout_core.numbers import Number, read_number_of_acs, read_numbers, read_sender

CONTENT_TYPE = "application/cloudevents+json"

_ACS_PREFIX = "microsoft.communication."
_SMS_RECEIVED = "microsoft.communication.smsreceived"
_ORDINARY = Keywords()
#: What tells how an event was written, and not what it says.
_HOW_WRITTEN = frozenset({"form", "is_texted"})


class EventResult(StrEnum):
    """What became of an event as a whole."""

    DECODED = auto()
    RECORDED = auto()
    """A STOP: it holds back older opt-ins."""
    IGNORED = auto()
    """None of our business."""
    DEAD_LETTERED = auto()


class _Event(Struct, eq=False, gc=False):
    """What is common to all events.

    Attributes:
        result: What became of it as a whole.
        reason: Why it is a dead letter as a whole: never.
        form: The way it was written.
        source: Who said it, at most 1,024 characters.
        id: Unique within the source, at most 1,024 characters.
    """

    result: ClassVar[EventResult]
    reason: ClassVar[None] = None

    form: Form
    source: Untrusted
    id: Untrusted

    def __eq__(self, other: object) -> bool:
        """Compare what two events say, in whatever way they were written."""
        if type(self) is not type(other):
            return False
        said = [name for name in self.__struct_fields__ if name not in _HOW_WRITTEN]
        return all(getattr(self, name) == getattr(other, name) for name in said)

    def __ne__(self, other: object) -> bool:
        """Say the opposite: a struct has an operator of its own for that."""
        return not self == other

    #: As of everything that can change.
    __hash__ = None  # type: ignore[assignment]


class OptIn(_Event, eq=False, gc=False):
    """People opted in again to the messages of one sender.

    Attributes:
        time: The earliest of when the person did it, when it was said, and when its first message reached us; aware.
        sender: Whose messages.
        recipients: Who, in order, each once, at least 1; some may be no number.
        consent: The evidence, or None.
    """

    result = EventResult.DECODED

    time: datetime
    sender: Number
    recipients: tuple[Number, ...]
    consent: Consent | None = None


class OptOut(_Event, eq=False, gc=False):
    """People said STOP to one sender: no older opt-in of theirs may be applied.

    Attributes:
        time: When the person did it, never later than its arrival; aware.
        sender: To whom.
        recipients: Who, in order, each once, at least 1; some may be no clear number.
        consent: The evidence, or None.
        is_texted: Whether ACS itself told of it, and so has put it on its list.
    """

    result = EventResult.RECORDED

    time: datetime
    sender: Number
    recipients: tuple[Number, ...]
    consent: Consent | None = None
    is_texted: bool = False


class Ignored(_Event, eq=False, gc=False):
    """An event that is none of our business, such as a delivery report or a text that is not a keyword."""

    result = EventResult.IGNORED


Event = OptIn | OptOut | Ignored


def decode(arrival: Arrival, keywords: Keywords = _ORDINARY) -> tuple[Event, ...]:
    """Decode one message into its events.

    Args:
        arrival: The message as it came.
        keywords: The texts that are a STOP or an opt-in.

    Returns:
        At least one event, in the order of the message. An array is refused whole when one of its events is bad, so
        that the dead letter's bytes are the publisher's bytes.

    Raises:
        MalformedEvent: The bytes have the wrong shape.
        UnsupportedEvent: The event has a type or version that we do not know.
    """
    return tuple(_understand(envelope, arrival, keywords) for envelope in open_envelopes(arrival))


def decode_stops(arrival: Arrival, keywords: Keywords = _ORDINARY) -> tuple[OptOut, ...]:
    """Decode the STOPs that can be read in a message that `decode` refuses: a bad neighbour in its array hides none."""
    stops = []
    for envelope in open_readable(arrival):
        with suppress(EventError):
            if isinstance(event := _understand(envelope, arrival, keywords), OptOut):
                stops.append(event)
    return tuple(stops)


def encode(event: OptIn | OptOut, recipients: Iterable[Number] | None = None) -> bytes:
    """Write the canonical event for some recipients of an opt-in or opt-out, or for all of them.

    Returns:
        Compact UTF-8 JSON. Decoding it gives the same event with these recipients.
    """
    content: dict[str, object] = {
        "from": event.sender.text,
        "recipients": [{"to": to.text} for to in (event.recipients if recipients is None else recipients)],
    }
    if event.consent is not None:
        content["consent"] = event.consent.facts()
    document = {
        "specversion": "1.0",
        "type": OPT_IN_TYPE if isinstance(event, OptIn) else OPT_OUT_TYPE,
        "source": event.source.raw,
        "id": event.id.raw,
        "time": event.time,
        "datacontenttype": "application/json",
        "data": content,
    }
    return to_json(document)


def _understand(envelope: Envelope, arrival: Arrival, keywords: Keywords) -> Event:
    if envelope.type == OPT_IN_TYPE:
        return _opt_in(envelope, arrival)
    if envelope.type == OPT_OUT_TYPE:
        return _opt_out(envelope, arrival)
    kind = envelope.type.lower()
    if kind == _SMS_RECEIVED:
        return _sms_received(envelope, arrival, keywords)
    if kind.startswith(_ACS_PREFIX):
        return Ignored(**_named(envelope))
    raise UnsupportedEvent(
        f"we do not know the event type {Untrusted(envelope.type[:100])!r}; ours are `{OPT_IN_TYPE}` and"
        f" `{OPT_OUT_TYPE}`"
    )


def _named(envelope: Envelope) -> dict[str, Any]:
    return {"form": envelope.form, "source": Untrusted(envelope.source), "id": Untrusted(envelope.id)}


def _opt_in(envelope: Envelope, arrival: Arrival) -> OptIn:
    # Data of a bare request is the body itself.
    request = read_request(json_object(envelope.content, "`data`"), _where(envelope))
    said = None if envelope.time is None else read_moment(envelope.time, "time")
    captured = request.consent.captured_at if request.consent else None
    return OptIn(
        **_named(envelope),
        time=_earliest(arrival, said, captured),
        sender=read_event_sender(request.sender),
        recipients=read_numbers(request.written()),
        consent=request.consent,
    )


def _opt_out(envelope: Envelope, arrival: Arrival) -> OptOut:
    request = read_request(json_object(envelope.content, "`data`"), _where(envelope))
    return OptOut(
        **_named(envelope),
        time=_of_stop(arrival, envelope.time),
        sender=read_event_sender(request.sender),
        recipients=read_numbers(request.written()),
        consent=request.consent,
    )


def _sms_received(envelope: Envelope, arrival: Arrival, keywords: Keywords) -> Event:
    content = json_object(envelope.content, "`data`")
    sms = {field_name.lower(): value for field_name, value in content.items()}
    if len(sms) < len(content):
        raise MalformedEvent("`data` names the same field twice")
    message = sms.get("message")
    if not isinstance(message, str):
        # Half an emoji in it is no fault: the text is compared with the keywords and never written down.
        raise MalformedEvent("`message` must be a string")
    is_stop, is_opt_in = keywords.mean_stop(message), keywords.mean_opt_in(message)
    if not is_stop and not is_opt_in:
        return Ignored(**_named(envelope))
    # The roles swap: who wrote to us is now the recipient, and the number that was written to is the sender.
    person = read_number_of_acs(text_field(sms, "from"))
    sender = read_event_sender(text_field(sms, "to"), of_acs=True)
    said = sms.get("receivedtimestamp") or envelope.time
    if is_stop:
        time = _of_stop(arrival, said)
        return OptOut(**_named(envelope), time=time, sender=sender, recipients=(person,), is_texted=True)
    moment = None if said is None else read_moment(said, "receivedTimestamp")
    return OptIn(**_named(envelope), time=_earliest(arrival, moment), sender=sender, recipients=(person,))


def _where(envelope: Envelope) -> str:
    return "the request" if envelope.form is Form.BARE_REQUEST else "data"


@lru_cache(maxsize=1024)
def read_event_sender(written: str, *, of_acs: bool = False) -> Number:
    """Read the sender of an event.

    Raises:
        MalformedEvent: It is none.
    """
    sender = read_sender(written, of_acs=of_acs)
    if not sender.is_clear:
        raise MalformedEvent("the sender is no phone number, no short code and no name")
    return sender


def _earliest(arrival: Arrival, *said: datetime | None) -> datetime:
    """Give the time of an opt-in: a later one could make it look newer than a STOP that came before it."""
    time = arrival.first_enqueued
    for moment in said:
        if moment is not None and moment < time:
            time = moment
    return time


def _of_stop(arrival: Arrival, said: object) -> datetime:
    """Give the time of a STOP: what it says, but nobody can have said it after we heard of it.

    A time that cannot be read must not hide the STOP: its arrival counts.
    """
    try:
        return min(read_moment(said, "time"), arrival.enqueued_at)
    except MalformedEvent:
        return arrival.enqueued_at
