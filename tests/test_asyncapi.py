"""docs/asyncapi.yaml is an AsyncAPI document, and says of the queue what the code says."""

import json
from datetime import UTC, datetime

import jsonschema  # type: ignore[import-untyped] # it carries none
import pytest
import yaml

from optout_core.arrivals import Arrival
from optout_core.contract import OPT_IN_TYPE, OPT_OUT_TYPE
from optout_core.events import CONTENT_TYPE, OptIn, OptOut, decode
from tests.build import QUEUES_FILE, SAMPLES
from tests.test_citations import ROOT

DOCS = ROOT / "docs"
DOCUMENT = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
MESSAGES = DOCUMENT["components"]["messages"]


def references(value):
    """Yield all that a document refers to."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from [each] if name == "$ref" else references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_the_document_is_one_of_asyncapi():
    schema = json.loads((SAMPLES / "asyncapi" / "3.0.0.json").read_text())

    errors = jsonschema.Draft7Validator(schema).iter_errors(DOCUMENT)

    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_the_schema_of_asyncapi_refuses_what_is_none():
    schema = json.loads((SAMPLES / "asyncapi" / "3.0.0.json").read_text())
    operation = {"operations": {"receive": {"action": "take", "channel": {"$ref": "#/channels/opt-ins"}}}}

    assert not jsonschema.Draft7Validator(schema).is_valid(DOCUMENT | operation)
    assert not jsonschema.Draft7Validator(schema).is_valid({**DOCUMENT, "queues": {}})


@pytest.mark.parametrize("reference", sorted(set(references(DOCUMENT))))
def test_what_it_refers_to_is_there(reference):
    file, _, pointer = reference.partition("#/")
    found = yaml.safe_load((DOCS / file).read_text()) if file else DOCUMENT
    for step in filter(None, pointer.split("/")):
        found = found[step]

    assert found


def test_the_queue_is_the_one_that_is_deployed():
    [channel] = DOCUMENT["channels"].values()

    assert channel["address"] == json.loads(QUEUES_FILE.read_text())["optIns"]["name"]


def test_its_messages_are_the_two_events_with_our_content_type():
    assert [message["name"] for message in MESSAGES.values()] == [OPT_IN_TYPE, OPT_OUT_TYPE]
    assert DOCUMENT["defaultContentType"] == CONTENT_TYPE
    assert DOCUMENT["components"]["messageTraits"]["cloudEvent"]["contentType"] == CONTENT_TYPE


@pytest.mark.parametrize("name", MESSAGES)
def test_its_examples_are_allowed_by_the_schema_and_read_by_the_function(name):
    message = MESSAGES[name]
    schema = json.loads((DOCS / message["payload"]["$ref"]).read_text())
    for example in message["examples"]:
        body = json.dumps(example["payload"]).encode()

        jsonschema.Draft202012Validator(schema).validate(example["payload"])
        [event] = decode(Arrival(body=body, enqueued_at=datetime.now(UTC)))
        assert isinstance(event, OptIn if name == "optIn" else OptOut)
