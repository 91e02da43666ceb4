"""Reads what almost every publisher sends, opt-ins as one CloudEvent in its body, in a tenth of the time. Pure.

`events.decode` reads every form, and says in words what is wrong. What is read here, that reads as the same event; all
else is left to it (tests/core/test_ordinary.py).
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta, MsgspecError, Struct
from msgspec.json import Decoder

from optout_core.arrivals import Arrival
from optout_core.contract import MAX_NAME, Consent
from optout_core.envelopes import Form, attribute_in
from optout_core.errors import MalformedEvent
from optout_core.events import OptIn, read_event_sender
from optout_core.masking import Untrusted
from optout_core.numbers import Number, read_number, read_numbers

_Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
_Fact = Annotated[str, Meta(max_length=MAX_NAME)]

#: Texts that every event has: `specversion`, `type`, `source`, `id` and `from`, with what each says; `data` and
#: `recipients`. Each recipient has two more.
_TEXTS = 12

#: A byte: looked for as bytes of length one, it costs five times as much.
_BACKSLASH = ord("\\")


class _Part(Struct, gc=False, forbid_unknown_fields=True):
    def __repr__(self) -> str:
        """Show nothing that a publisher wrote."""
        return f"<{type(self).__name__}>"


class _Recipient(_Part, gc=False):
    to: str


class _Facts(_Part, gc=False, rename={"captured_at": "capturedAt"}):
    captured_at: str | None = None
    method: _Fact | None = None
    reference: _Fact | None = None


class _Request(_Part, gc=False, rename={"sender": "from"}):
    sender: _Name
    recipients: Annotated[list[_Recipient], Meta(min_length=1)]
    consent: _Facts | None = None


class _Event(_Part, gc=False):
    specversion: Literal["1.0"]
    type: Literal["sms.opt-in.v1"]
    source: _Name
    id: _Name
    data: _Request
    time: str | None = None
    datacontenttype: str | None = None


_DECODER = Decoder(_Event)


def read_ordinary(arrival: Arrival, first_enqueued: datetime) -> OptIn | None:
    """Read an ordinary opt-in; None where the message may be anything else.

    Args:
        arrival: The message as it came.
        first_enqueued: `arrival.first_enqueued`, which its lineage knows already.
    """
    body = arrival.body
    if _BACKSLASH in body or arrival.unreadable or not _say_nothing(tuple(arrival.properties)):
        return None
    try:
        event = _DECODER.decode(body)
        request, name = event.data, event.id
        facts, written = request.consent, request.recipients
        time, consent, texts = first_enqueued, None, _TEXTS + 2 * len(written)
        if event.time is not None:
            time = min(time, _moment(event.time))
            texts += 2
        if event.datacontenttype is not None:
            texts += 2
        if facts is not None:
            consent = Consent(None, facts.method, facts.reference)
            texts += 1 + 2 * ((facts.method is not None) + (facts.reference is not None))
            if facts.captured_at is not None:
                consent.captured_at = _moment(facts.captured_at)
                time = min(time, consent.captured_at)
                texts += 2
        # Without escapes each text is between two quotes: a field that was named twice has texts that were dropped.
        if body.count(b'"') != 2 * texts or not name.isprintable():
            return None
        source, sender = _source(event.source), _sender(request.sender)
        recipients = (read_number(written[0].to),) if len(written) == 1 else read_numbers([each.to for each in written])
        return OptIn(Form.CLOUD_EVENT, source, Untrusted(name), time, sender, recipients, consent)
    except (MsgspecError, MalformedEvent, ValueError, OverflowError):
        return None


def _moment(written: str) -> datetime:
    """Read a time as `contract.read_time` does; ValueError where it may be anything else."""
    moment = datetime.fromisoformat(written)
    if moment.tzinfo is None or moment.year == 1 or written[10:11] not in {"T", " "}:
        raise ValueError
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


@lru_cache(maxsize=1024)
def _say_nothing(properties: tuple[str, ...]) -> bool:
    """Say whether no property holds an attribute of a CloudEvent, by their names; most messages have the same ones."""
    return not any(map(attribute_in, properties))


# Few publishers send most events, and for few senders.
@lru_cache(maxsize=1024)
def _source(written: str) -> Untrusted:
    if not written.isprintable():
        raise ValueError
    return Untrusted(written)


@lru_cache(maxsize=1024)
def _sender(written: str) -> Number:
    if not written.isprintable():
        raise ValueError
    return read_event_sender(written)
