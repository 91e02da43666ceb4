"""A phone number stands in message bodies and nowhere else: not in properties, ids, descriptions, errors or `repr`."""

import asyncio
import json
from dataclasses import is_dataclass
from importlib import import_module
from inspect import getmembers, isclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel

from optout_core import errors
from optout_core.addresses import read_ledger
from optout_core.amqp import DATA, Message
from optout_core.api import _ALL_CONFIRMED, _ORDINARY, _Reading, read_answer
from optout_core.asked import Answers, Asked
from optout_core.batches import Operation, plan
from optout_core.consent import OptInRule
from optout_core.contract import Consent, OptInRequest
from optout_core.envelopes import open_envelopes
from optout_core.errors import EventError, RequestError
from optout_core.events import decode
from optout_core.incoming import Incoming
from optout_core.keywords import Keywords
from optout_core.masking import Untrusted
from optout_core.messages import dead_letters, retry_messages
from optout_core.numbers import Number, read_number, read_sender
from optout_core.ordinary import _DECODER
from optout_core.outcomes import Outcome, Verdict
from optout_core.outgoing import NotTaken
from optout_core.published import Published, settings_to_publish
from optout_core.reasons import Reason
from optout_core.reports import SettledEvent
from optout_core.schemas import OptInEvent, OptOutEvent
from optout_core.settings import Settings
from optout_core.settlement import DeadLetter, Done, RetryLater, Settlement
from tests.build import (
    MINUTE,
    NOW,
    SCHEDULE,
    answer,
    arrival,
    bare,
    canonical,
    lineage,
    numbers,
    opt_in,
    opt_out,
    pair,
    text_message,
    wanted,
    wire,
)
from tests.core.job import Job
from tests.core.strategies import people

CORE = [path.stem for path in (Path(__file__).parents[2] / "optout_core").glob("[a-z]*.py")]


def classes_with_values():
    """Every class of the core that holds values, the private ones included."""
    for name in CORE:
        for _, found in getmembers(import_module(f"optout_core.{name}"), isclass):
            holds_values = is_dataclass(found) or issubclass(found, BaseModel | Struct)
            if holds_values and found.__module__ == f"optout_core.{name}" and not found.__subclasses__():
                yield found


def values(sender, recipients):
    """Make one value of every class, with these numbers wherever a number may stand."""
    message = arrival(canonical(data=bare(*recipients, sender=sender) | {"consent": {"reference": sender}}))
    stop = text_message("STOP", person=recipients[0][1:], number=sender[1:])
    words = f"no: {sender}, {' '.join(recipients)}"
    answers = answer(400, {"error": {"code": "x", "message": words}})
    batches = plan(Operation.REMOVE, wanted([pair(to, sender) for to in recipients]))
    with pytest.raises(RequestError) as refused:
        read_answer(batches[0], answers)
    said = Outcome.of_error(refused.value)
    first, *_ = people = numbers(*recipients)
    settlements: dict[Number, Settlement] = {to: DeadLetter(Reason.RECIPIENT_REJECTED, said) for to in people}
    settlements |= {first: RetryLater(NOW, 1), read_number(sender): Done()}
    event = opt_in(*recipients, sender=sender)
    job = Job()
    asyncio.run(job.process([message, arrival(stop)]))
    [report] = job.telemetry.reports
    settled = SettledEvent(event=event, lineage=lineage(), of_each=settlements, now=NOW)
    letter, *_ = dead_letters(event, lineage(), settlements)
    rule = OptInRule(MINUTE, frozenset({read_sender(sender)}))
    incoming = Incoming.read(message, lineage(), Keywords())
    asked = Asked.of(opt_out(*recipients, sender=sender), incoming, rule, NOW)
    settings = Settings.from_environ(
        {
            "ACS_ENDPOINT": "https://x.example",
            "ServiceBusConnection": "Endpoint=sb://x;SharedAccessKeyName=n;SharedAccessKey=k",
            "ALLOWED_SENDERS": sender,
        }
    )
    read = _DECODER.decode(message.body)
    listed = wire({"value": [{"to": to, "httpStatusCode": 200} for to in recipients]})
    confirmed, ordinary = _ALL_CONFIRMED.decode(listed), _ORDINARY.decode(listed)
    return [
        message,
        Message(application_properties={b"phone": sender.encode()}, body=[(DATA, message.body)]),
        lineage(),
        *open_envelopes(message),
        *decode(message),
        *decode(arrival(stop)),
        *decode(arrival(text_message(words))),
        opt_out(*recipients, sender=sender),
        OptInEvent.model_validate(json.loads(message.body) | {"unknown": words}),
        OptOutEvent.model_validate(json.loads(message.body) | {"type": "sms.opt-out.v1", "unknown": words}),
        OptInRequest.model_validate(bare(*recipients, sender=sender)),
        Consent(captured_at=None, method=sender, reference=sender),
        pair(recipients[0], sender),
        *people,
        Untrusted(words),
        Keywords(),
        *batches,
        answers,
        said,
        *(kind(said.detail) for kind in (*errors.RequestError.__subclasses__(), errors.NotSent)),
        *settlements.values(),
        SCHEDULE,
        rule,
        *retry_messages(event, lineage(), settlements),
        *dead_letters(event, lineage(), settlements),
        settled,
        *settled.recipients(),
        *report.events,
        report,
        report.dispatched,
        NotTaken(letter, ConnectionError()),
        settings,
        Published(function="f", started_at=NOW, version="1", settings=settings_to_publish(settings)),
        Job(rule=rule).processor,
        read,
        read.data,
        read.data.consent,
        *read.data.recipients,
        confirmed,
        *confirmed.value,
        ordinary,
        *ordinary.value,
        incoming,
        asked,
        Answers(outcomes={event.sender: {first: said}}, unasked=said, newer={}, now=NOW),
        *asked.words,
        *(word.evidence for word in asked.words),
        _Reading(Operation.REMOVE, None, NOW),
        *map(
            read_ledger,
            (
                "sqlite:////tmp/ledger",
                f"postgresql://name:{sender[1:]}@host/optout",
                "postgresql://name@localhost/optout",
            ),
        ),
    ]


def shows(text, numbers):
    """Say which of the numbers a text shows, with or without the plus."""
    return [number for number in numbers if number[1:] in text]


@given(sender=people, recipients=st.lists(people, min_size=2, max_size=5, unique=True))
def test_no_value_shows_a_number_in_its_repr(sender, recipients):
    for value in values(sender, recipients):
        assert not shows(f"{value!r}{value}", [sender, *recipients]), type(value)


def test_every_class_that_holds_values_is_among_them():
    shown = {type(value) for value in values("+18001234567", ["+15555555551", "+15555555552"])}

    assert set(classes_with_values()) <= shown


@given(sender=people, recipients=st.lists(people, min_size=2, max_size=30, unique=True), choose=st.data())
def test_no_number_stands_in_what_is_sent_but_in_the_body(sender, recipients, choose):
    words = f"{sender} cannot write to {', '.join(recipients)}"
    outcomes = st.sampled_from(
        [
            Outcome(Verdict.CONFIRMED),
            Outcome(Verdict.UNAVAILABLE),
            Outcome(Verdict.FAILED, status=500),
            *read_answer(
                plan(Operation.REMOVE, wanted([pair(recipients[0], sender)]))[0],
                answer(200, {"value": [_item(recipients[0], words)]}),
            ).values(),
        ]
    )
    script = {to: [choose.draw(outcomes)] for to in recipients}
    job = Job(script)
    bad = [arrival(body, message_id="bad") for body in (wire(words), wire(bare(sender, *recipients))[:-9])]
    unknown = arrival(canonical(type=words))

    asyncio.run(job.process([arrival(bare(*recipients, sender=sender)), *bad, unknown]))

    sent = [*job.outbox.retries, *job.outbox.dead_letters]
    assert len(job.outbox.dead_letters) >= 3
    for message in sent:
        beside_the_body = repr(replace(message, body=b"")) + repr(dict(message.properties)) + message.message_id
        assert not shows(beside_the_body, [sender, *recipients])


def _item(to, words):
    return {"to": to, "httpStatusCode": 400, "errorMessage": words}


@given(numbers=st.lists(people, min_size=1, max_size=5), choose=st.data())
def test_no_error_about_an_event_shows_a_number(numbers, choose):
    number = st.sampled_from([*numbers, *(each[1:] for each in numbers), *(int(each) for each in numbers)])
    body = {
        "from": choose.draw(number),
        "recipients": choose.draw(st.lists(st.fixed_dictionaries({"to": number}) | number, max_size=4) | number),
        "consent": choose.draw(st.none() | number | st.fixed_dictionaries({"capturedAt": number, "method": number})),
    }
    event = canonical(
        data=body, time=choose.draw(st.none() | number), type=choose.draw(number | st.just("sms.opt-in.v1"))
    )

    for document in (body, event):
        assert not shows(refusal(document), numbers)


def refusal(document):
    """Say why a document is refused, or nothing when it is not."""
    try:
        decode(arrival(document))
    except EventError as error:
        return f"{error!r}{error}"
    return ""
