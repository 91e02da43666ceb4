"""Small builders: what a test does not name has an ordinary value."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import structs

from optout_core.api import Answer
from optout_core.arrivals import Arrival, Lineage
from optout_core.batches import Batch, Pair
from optout_core.consent import OptInRule
from optout_core.envelopes import Form
from optout_core.events import OptIn, OptOut, decode
from optout_core.keywords import Keywords
from optout_core.masking import Untrusted
from optout_core.numbers import read_number, read_sender
from optout_core.outcomes import Outcome, Verdict
from optout_core.settlement import Schedule
from optout_ops.queues.messages import QueueMessage

SAMPLES = Path(__file__).parent / "samples"
QUEUES_FILE = Path(__file__).parents[1] / "infra" / "queues.json"

NOW = datetime(2026, 1, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
#: The designed schedule of recipient-level retries: 30 s, 2 min, 10 min, 30 min, 2 h.
SCHEDULE = Schedule(
    retries=tuple(timedelta(seconds=seconds) for seconds in (30, 120, 600, 1800, 7200)),
    outage_first=timedelta(seconds=30),
    outage_max=timedelta(minutes=15),
)

RULE = OptInRule(timedelta(hours=72))
ORDINARY = Keywords()

SENDER = "+18001234567"
PERSON = "+15555555551"
OTHER = "+15555555552"
SOURCE = "https://shop.example/preferences"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def sample(name):
    """Read a wire sample, such as `events/canonical.json`."""
    return (SAMPLES / name).read_bytes()


def wire(document):
    """Write a JSON document as a publisher would."""
    return json.dumps(document).encode()


#: A MessageId as we give it: what counts for or against a recipient is believed only beside such a one.
OUR_ID = "urn:test/e1:r1:0123456789abcdef"


def arrival(body=b"{}", **fields):
    """Make a message; `body` may be a JSON document."""
    body = body if isinstance(body, bytes) else wire(body)
    return structs.replace(Arrival(body=body, enqueued_at=NOW - MINUTE, message_id="message-1"), **fields)


def decoded(body, *, keywords=ORDINARY, **fields):
    """Decode a message that holds one event."""
    (event,) = decode(arrival(body, **fields), keywords)
    return event


def bare(*recipients, sender=SENDER):
    """Make a bare API request."""
    return {"from": sender, "recipients": [{"to": to} for to in recipients or (PERSON,)]}


def canonical(*recipients, **attributes):
    """Make a canonical event; an attribute that is None is left out."""
    event = {
        "specversion": "1.0",
        "type": "sms.opt-in.v1",
        "source": SOURCE,
        "id": "preference-1",
        "time": "2026-01-23T11:50:00Z",
        "data": bare(*recipients),
    }
    return {name: value for name, value in (event | attributes).items() if value is not None}


def text_message(message, *, received="2026-01-23T11:55:00Z", person="15555555551", number="18001234567", **event):
    """Make an SMSReceived event in the Event Grid schema."""
    return {
        "id": "Incoming_1",
        "topic": "/subscriptions/contoso",
        "eventType": "Microsoft.Communication.SMSReceived",
        "eventTime": "2026-01-23T11:55:02Z",
        "data": {"from": person, "to": number, "message": message, "receivedTimestamp": received},
    } | event


def opt_in(*recipients, **fields):
    """Make a decoded opt-in."""
    return _event(OptIn, Form.CLOUD_EVENT, recipients, {"id": "preference-1"} | fields)


def opt_out(*recipients, **fields):
    """Make a decoded STOP."""
    return _event(OptOut, Form.EVENT_GRID, recipients, {"id": "Incoming_1"} | fields)


def _event(kind, form, recipients, fields):
    known = {"form": form, "source": SOURCE, "time": NOW - 10 * MINUTE, "sender": SENDER} | fields
    known |= {name: Untrusted(known[name]) for name in ("source", "id")}
    return kind(**known | {"sender": read_sender(known["sender"]), "recipients": numbers(*recipients or (PERSON,))})


def numbers(*written):
    """Read numbers, as a decoded event holds them."""
    return tuple(map(read_number, written))


def number(written):
    """Read one number."""
    return read_number(written)


def pair(recipient, sender=SENDER):
    """Make one entry of the opt-out list."""
    return Pair(read_sender(sender), read_number(recipient))


def wanted(pairs):
    """Ask for pairs, as an event for each does."""
    return [((each.sender,), [each.recipient]) for each in pairs]


def batch(*recipients, sender=SENDER):
    """Make what one request asks."""
    return Batch(read_sender(sender), numbers(*recipients or (PERSON,)))


def texts(recipients):
    """Write numbers down, as they are sent."""
    return tuple(number.text for number in recipients)


def lineage(attempt=0, hop=0, **fields):
    """Say how often an event has been round."""
    return structs.replace(Lineage(attempt=attempt, hop=hop, first_enqueued=NOW - MINUTE), **fields)


def answer(status=200, body=b"", headers=None):
    """Make an answer of ACS; `body` may be a JSON document."""
    content = body if isinstance(body, bytes) else wire(body)
    return Answer(status=status, headers=headers or {}, body=content, received_at=NOW)


def outcome(verdict=Verdict.FAILED, **facts):
    """Make what the API said of a recipient."""
    return replace(Outcome(verdict, "Internal Server Error", 500), **facts)


def dead_letter_properties(reason="RetriesExhausted", **properties):
    """Make the properties that the function writes on a dead letter; a property that is None is left out."""
    ordinary = {
        "DeadLetterReason": reason,
        "DeadLetterErrorDescription": f"{reason}, says the test",
        "optout-event-id": "e1",
        "optout-attempt": 5,
        "optout-hop": 6,
        "optout-first-enqueued": (NOW - MINUTE).isoformat(),
        "optout-recipients": 1,
        "optout-of": 3,
        "optout-http-status": 500,
        "traceparent": "00-9a29da02af5978aed1a381e03dab39f9-4667f38b0fbfea6c-00",
    }
    return {name: value for name, value in (ordinary | properties).items() if value is not None}


def dead_letter(number=1, reason="RetriesExhausted", *recipients, body=None, name=None, time=None, **properties):
    """Make a dead letter as the function writes it, dead-lettered at NOW, with the sequence number in its names.

    Args:
        number: Its sequence number.
        reason: Its reason code.
        recipients: The recipients of its event.
        body: Bytes or a JSON document, in place of an event.
        name: The id of its event; `e<number>` when left out.
        time: When the person decided, in place of ten minutes ago.
        properties: Properties of the message, in place of the ordinary ones.
    """
    name = name or f"e{number}"
    recipients = recipients or (f"+1555{number:07}",)
    event = canonical(*recipients, source="urn:test", id=name, time=(time or NOW - 10 * MINUTE).isoformat())
    body = event if body is None else body
    properties = {"optout-event-id": name, "optout-recipients": len(recipients)} | properties
    return QueueMessage(
        sequence_number=number,
        enqueued_at=NOW,
        delivery_count=0,
        body=body if isinstance(body, bytes) else wire(body),
        message_id=f"urn:test/{name}:d6:{number:016x}",
        content_type="application/cloudevents+json",
        correlation_id="c-1",
        properties=dead_letter_properties(reason, **properties),
    )


def dead_letters(count, *arguments, **fields):
    """Make dead letters with the numbers from 1 on, alike in everything else."""
    return [dead_letter(number, *arguments, **fields) for number in range(1, count + 1)]
