"""No phone number in anything the core and its telemetry put out, whatever it was disguised as.

Each disguise is put wherever text from outside can stand: ids, source, type, subject, properties, trace context, replay
id, the words of ACS. Then all that left the function, bodies of messages aside, is searched for the digits.
"""

import logging
from dataclasses import fields, is_dataclass, replace
from itertools import cycle

import pytest

from optout_core.api import read_answer
from optout_core.arrivals import read_lineage
from optout_core.errors import EventError, RequestError
from optout_core.events import decode, decode_stops
from optout_core.masking import mask_body
from optout_core.outcomes import Outcome, Verdict
from tests.adapters.telemetry import open_telemetry
from tests.build import (
    OTHER,
    PERSON,
    SENDER,
    answer,
    arrival,
    bare,
    batch,
    canonical,
    text_message,
)
from tests.core.job import Job
from tests.disguises import DIGITS, DISGUISES, digits
from tests.fakes import CONFIRMED, FakeEndpoint


def values_in(value):
    """Give every text that printing a value, or each of its parts, shows."""
    yield from (str(value), repr(value))
    if is_dataclass(value):
        for each in fields(value):
            yield repr(getattr(value, each.name))


def outcomes_of(words):
    """Give the outcomes that ACS's own words lead to, for one recipient and for the whole request."""
    items = {"value": [{"to": PERSON, "httpStatusCode": 400, "errorMessage": words}]}
    (item,) = read_answer(batch(), answer(body=items, headers={"ms-cv": words})).values()
    error = {"error": {"code": words, "message": words}}
    with pytest.raises(RequestError) as refused:
        read_answer(batch(), answer(401, error, headers={"ms-cv": words}))
    return item, Outcome.of_error(refused.value)


class Echo(FakeEndpoint):
    """ACS, which repeats in its answers what was asked."""

    def __init__(self, words):
        super().__init__()
        item, error = outcomes_of(words)
        self.outcomes = cycle([CONFIRMED, item, error, replace(item, verdict=Verdict.FAILED)])

    def answer(self, _sender, _recipient):
        return next(self.outcomes)


def messages(disguise):
    """Put a disguise wherever text from outside can stand, with a neighbour in whom nothing is odd."""
    known = {"message_id": f"m{disguise}"[:128], "correlation_id": disguise, "subject": None}
    properties = {
        "tracestate": f"vendor={disguise}",
        "traceparent": disguise,
        "Diagnostic-Id": disguise,
        "optout-replay-id": disguise,
        "optout-event-id": disguise,
        "optout-first-enqueued": disguise,
        "optout-attempt": disguise,
        "optout-of": disguise,
        "DeadLetterReason": disguise,
        "DeadLetterErrorDescription": disguise,
    }
    bodies = [
        bare(OTHER),
        canonical(OTHER, id=disguise),
        canonical(OTHER, source=f"/{disguise}"),
        canonical(OTHER, id=disguise, time="2026-01-01T00:00:00Z"),
        canonical(OTHER, disguise, id="recipient"),
        canonical(OTHER, type=disguise),
        canonical(OTHER, type="sms.opt-out.v1", id=disguise),
        canonical(disguise + "x", type="sms.opt-out.v1", id="unclear"),
        canonical(OTHER, time=disguise),
        canonical(data=bare(OTHER, sender=f"{disguise}x"), id="sender"),
        canonical(data=bare(OTHER) | {"consent": {"capturedAt": disguise}}),
        canonical(data=bare(OTHER) | {"consent": {"method": disguise, "reference": disguise}}, id="consent"),
        canonical(data={"from": SENDER, disguise: 1, "recipients": disguise}),
        canonical(data=disguise),
        text_message(disguise, id=disguise),
        text_message("START", id=disguise, topic=disguise),
        text_message("START", received=disguise),
        text_message("START", person=disguise),
        text_message("STOP", person=f"{disguise}x", id=disguise),
        [text_message("STOP"), {disguise: disguise}],
        {disguise: disguise},
        disguise,
    ]
    yield arrival(bare(OTHER), **known, properties={"tenant": "contoso"})
    for body in bodies:
        yield arrival(body, **known, properties=properties)
        yield arrival(body, **known)
    yield arrival(disguise.encode(errors="replace"), **known, properties=properties)
    yield arrival(bare(OTHER), **(known | {"subject": disguise}))
    yield arrival(bare(OTHER), **known, properties={"ce-type": disguise})
    yield arrival(
        bare(OTHER),
        **known,
        properties={"ce-specversion": "1.0", "ce-id": disguise, "ce-type": disguise, "ce-source": "s"},
    )


def is_ours(name):
    return name.startswith("optout-") or name in {
        "DeadLetterReason",
        "DeadLetterErrorDescription",
        "traceparent",
        "tracestate",
        "Diagnostic-Id",
    }


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
async def test_no_number_leaves_the_function_but_in_the_body_of_a_message(disguise, caplog):
    caplog.set_level(logging.DEBUG)
    with open_telemetry() as measured:
        job = Job(telemetry=measured.telemetry, endpoint=Echo(disguise))
        arrivals = list(messages(disguise))
        report = await job.process(arrivals)
        shown = [measured.everything(), caplog.text, *(str(vars(record)) for record in caplog.records)]
    shown += values_in(report)
    for each in (*report.events, *report.recipients):
        shown += values_in(each)
    for message in arrivals:
        shown += [repr(message), repr(read_lineage(message)), repr(decode_stops(message))]
        try:
            shown += [text for event in decode(message) for text in values_in(event)]
        except EventError as error:
            shown += [str(error), repr(error)]
    sent = [*job.outbox.retries, *job.outbox.dead_letters]
    for message in sent:
        ours = {name: value for name, value in message.properties.items() if is_ours(name)}
        shown += [repr(message), message.message_id, str(message.correlation_id), *map(str, ours.values())]
        shown.append(mask_body(message.body))
    shown += [mask_body(message.body) for message in arrivals]

    assert len(job.outbox.dead_letters) > 10
    for text in shown:
        assert DIGITS not in digits(text), text[:2000]
        assert "\x1b" not in text
