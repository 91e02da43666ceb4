"""What we publish for publishers: the schema is fresh, and it and `decode` agree."""

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped] # it carries none
import pytest
from hypothesis import given
from pydantic import ValidationError

from optout_core.contract import OptInEvent, schema
from optout_core.events import OptIn
from tests.build import bare, canonical, decoded, sample
from tests.core.strategies import published_events

PUBLISHED = Path(__file__).parents[2] / "docs" / "opt-in-event.schema.json"
CONTRACT = jsonschema.Draft202012Validator(
    json.loads(schema()), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)


def test_the_published_schema_is_fresh():
    again = 'python -c "from optout_core.contract import schema; print(schema())" > docs/opt-in-event.schema.json'

    assert PUBLISHED.read_text() == schema() + "\n", f"write it again: {again}"


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(json.loads(schema()))


@pytest.mark.parametrize("name", ["canonical.json", "canonical-unknown-fields.json"])
def test_the_schema_allows_our_samples(name):
    CONTRACT.validate(json.loads(sample(f"events/{name}"), parse_int=float))


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

    assert isinstance(decoded(event), OptIn)


def test_the_schema_says_what_every_field_is_for():
    document = json.loads(schema())

    for model in (document, *document["$defs"].values()):
        assert model["description"]
        for name, field in model["properties"].items():
            assert "description" in field or "$ref" in field, name


def test_an_event_that_the_models_refuse_is_not_shown():
    with pytest.raises(ValidationError) as refused:
        OptInEvent.model_validate(canonical(data={"from": 18001234567, "recipients": ["+15555555551"]}))

    assert "18001234567" not in str(refused.value)
    assert "15555555551" not in str(refused.value)
