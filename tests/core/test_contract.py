"""What we publish for publishers: the schema is fresh, and it and `decode` agree."""

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped] # it carries none
import pytest
from hypothesis import given
from pydantic import ValidationError

from optout_core.errors import MalformedEvent
from optout_core.events import OptIn, OptOut
from optout_core.schemas import OptInEvent, OptOutEvent, schema
from tests.build import bare, canonical, decoded, sample
from tests.core.strategies import published_events

DOCS = Path(__file__).parents[2] / "docs"
PUBLISHED = {
    OptInEvent: DOCS / "opt-in-event.schema.json",
    OptOutEvent: DOCS / "opt-out-event.schema.json",
}
of_each_event = pytest.mark.parametrize("event", PUBLISHED, ids=lambda event: event.__name__)


def validator(event):
    # Formats are not asserted, as in most validators: the patterns have to do.
    return jsonschema.Draft202012Validator(json.loads(schema(event)))


CONTRACT = validator(OptInEvent)


@of_each_event
def test_the_published_schema_is_fresh(event):
    again = f"from optout_core.schemas import {event.__name__}, schema; print(schema({event.__name__}))"

    assert PUBLISHED[event].read_text() == schema(event) + "\n", (
        f'write it again: python -c "{again}" > {PUBLISHED[event]}'
    )


@of_each_event
def test_the_schema_is_a_schema_with_a_name_and_an_example_that_it_allows(event):
    document = json.loads(schema(event))
    jsonschema.Draft202012Validator.check_schema(document)
    [example] = document["examples"]

    assert document["$id"] == f"urn:optout:schema:{example['type']}"
    validator(event).validate(example)
    assert isinstance(decoded(example), OptIn if event is OptInEvent else OptOut)


@pytest.mark.parametrize("name", ["canonical.json", "canonical-unknown-fields.json"])
def test_the_schema_allows_our_samples(name):
    CONTRACT.validate(json.loads(sample(f"events/{name}"), parse_int=float))


def test_the_schema_of_the_opt_out_allows_our_sample():
    validator(OptOutEvent).validate(json.loads(sample("events/canonical-opt-out.json")))


REFUSED_TIMES = ["2026-01-23 10:00:00", "2026-01-23T10:00:00", "2026-01-23", "10:00:00Z", "", "yesterday", "1769162400"]
REFUSED_TIMES += ["0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "2026-13-01T10:00:00Z", "2026-01-23T25:00:00Z"]
REFUSED_TIMES += ["Fri, 23 Jan 2026 10:00:00 GMT", "/Date(1769162400000)/"]
REFUSED_NUMBERS = ["", "+1", "none", "+1555555555512345", "0555551", "+0155555555", "+1555 555 CALL", "a@b.example"]


@pytest.mark.parametrize("time", REFUSED_TIMES)
def test_a_time_that_we_refuse_is_refused_by_the_schema_alone(time):
    for event in (canonical(time=time), canonical(data=bare() | {"consent": {"capturedAt": time}})):
        assert not CONTRACT.is_valid(event)
        with pytest.raises(MalformedEvent):
            decoded(event)


@pytest.mark.parametrize("number", REFUSED_NUMBERS)
def test_a_recipient_that_we_refuse_is_refused_by_the_schema_alone(number):
    event = canonical(number)

    assert not CONTRACT.is_valid(event)
    assert not decoded(event).recipients[0].is_clear


@pytest.mark.parametrize("sender", ["", "12", "!!", "\u260e", "+1\x005551234567", "Sho\x7fp", "+12345678901234567"])
def test_a_sender_that_we_refuse_is_refused_by_the_schema_alone(sender):
    event = canonical(data=bare(sender=sender))

    assert not CONTRACT.is_valid(event)
    with pytest.raises(MalformedEvent):
        decoded(event)


@pytest.mark.parametrize(
    "number", [*("+15555555551", "+1 (425) 555-0111", "15555555551", "0015555555551", "tel:+1-425-555-0111", "+123")]
)
def test_a_spelling_that_people_use_is_allowed_by_the_schema(number):
    CONTRACT.validate(canonical(number))


@pytest.mark.parametrize(
    "event",
    [
        bare(),
        canonical(specversion="0.3"),
        canonical(type="sms.opt-in.v2"),
        canonical(id=""),
        canonical(id=None),
        canonical(source="x" * 1025),
        canonical(time=1769162400),
        canonical(data=None),
        canonical(data={"from": "+18001234567", "recipients": []}),
        canonical(data={"from": "+18001234567", "recipients": ["+15555555551"]}),
        canonical(data={"from": "", "recipients": [{"to": "+15555555551"}]}),
        canonical(data={"recipients": [{"to": "+15555555551"}]}),
    ],
)
def test_the_schema_refuses_what_is_no_opt_in_event(event):
    assert not CONTRACT.is_valid(event)


@given(event=published_events())
def test_what_the_schema_allows_is_decoded(event):
    CONTRACT.validate(event)

    opt_in = decoded(event)
    assert isinstance(opt_in, OptIn)
    assert all(recipient.is_clear for recipient in opt_in.recipients)


@of_each_event
def test_the_schema_says_what_every_field_is_for(event):
    document = json.loads(schema(event))

    for model in (document, *document["$defs"].values()):
        assert model["description"]
        for name, field in model["properties"].items():
            assert "description" in field or "$ref" in field, name


def test_an_event_that_the_models_refuse_is_not_shown():
    with pytest.raises(ValidationError) as refused:
        OptInEvent.model_validate(canonical(data={"from": 18001234567, "recipients": ["+15555555551"]}))

    assert "18001234567" not in str(refused.value)
    assert "15555555551" not in str(refused.value)
