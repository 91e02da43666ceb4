"""Reads what almost every publisher sends, opt-ins as one CloudEvent in its body, in a quarter of the time. Pure.

`events.decode` reads every form, and says in words what is wrong. What is read here, that reads as the same event; all
else is left to it (tests/core/test_ordinary.py).
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeGuard

from pydantic_core import from_json

from optout_core.arrivals import Arrival
from optout_core.contract import MAX_NAME, OPT_IN_TYPE, Consent
from optout_core.envelopes import Form, attribute_in
from optout_core.errors import MalformedEvent
from optout_core.events import OptIn, read_event_sender
from optout_core.masking import Untrusted
from optout_core.numbers import Number, read_numbers

#: Texts that every event has: `specversion`, `type`, `source`, `id` and `from`, with what each says; `data` and
#: `recipients`. Each recipient has two more.
_TEXTS = 12
#: Where the `T` stands between date and time.
_T = 10


def read_ordinary(arrival: Arrival) -> OptIn | None:
    """Read an ordinary opt-in; None where the message may be anything else."""
    body = arrival.body
    if arrival.unreadable or b"\\" in body or any(map(attribute_in, arrival.properties)):
        return None
    try:
        event = from_json(body, allow_inf_nan=False, cache_strings="keys")
        source, name, content = event["source"], event["id"], event["data"]
        sender, written = content["from"], [each["to"] for each in content["recipients"]]
        if event["type"] != OPT_IN_TYPE or event["specversion"] != "1.0" or not written:
            return None
        if not _is_name(name):
            return None
        texts, consent, captured_at = _TEXTS + 2 * len(written), None, None
        time = arrival.first_enqueued
        if (said := event.get("time")) is not None:
            texts += 2
            time = min(time, _moment(said))
        if isinstance(event.get("datacontenttype"), str):
            texts += 2
        if (facts := content.get("consent")) is not None:
            method, reference = facts.get("method"), facts.get("reference")
            if (captured := facts.get("capturedAt")) is not None:
                captured_at = _moment(captured)
                time = min(time, captured_at)
            texts += 1 + 2 * (_is_fact(method) + _is_fact(reference) + (captured_at is not None))
            consent = Consent(captured_at, method, reference)
        # Without escapes each text is between two quotes. Are there as many as of what was read, there is nothing else,
        # and no field was named twice.
        if body.count(b'"') != 2 * texts:
            return None
        recipients = read_numbers(written)
        return OptIn(Form.CLOUD_EVENT, _source(source), Untrusted(name), time, _sender(sender), recipients, consent)
    except (ValueError, TypeError, KeyError, AttributeError, MalformedEvent):
        return None


# Few publishers send most events, and for few senders.
@lru_cache(maxsize=1024)
def _source(written: object) -> Untrusted:
    if not _is_name(written):
        raise ValueError
    return Untrusted(written)


@lru_cache(maxsize=1024)
def _sender(written: object) -> Number:
    if not _is_name(written):
        raise ValueError
    return read_event_sender(written)


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= MAX_NAME


def _is_fact(value: object) -> bool:
    if value is None:
        return False
    if isinstance(value, str) and len(value) <= MAX_NAME:
        return True
    raise ValueError


def _moment(written: str) -> datetime:
    """Read a time in UTC, in the form that almost everybody writes."""
    moment = datetime.fromisoformat(written)
    if moment.tzinfo is not UTC or written[_T] != "T" or moment.year == 1:
        raise ValueError
    return moment
