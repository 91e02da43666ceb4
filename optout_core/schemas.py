"""The events that publishers send us, whole, as JSON Schema.

The function reads an event in two steps (`envelopes`, `contract`), since it takes other forms as well; this is the form
that is published.
"""

import json
from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema

from optout_core.contract import OPT_IN_TYPE, OPT_OUT_TYPE, Contract, Name, OptInRequest, Time

#: Old on purpose: who publishes the example as it stands finds it dead-lettered, and not somebody's list changed.
_EXAMPLE_TIME = "2026-01-23T10:00:00Z"


class _Event(Contract):
    specversion: Literal["1.0"] = Field(description="The version of CloudEvents.")
    source: Name = Field(description="Who says so, a URI reference. No personal data.")
    id: Name = Field(description="Unique within the source; a repeated id is the same event. No personal data.")
    time: Time | None = Field(
        None, description="When the person decided, with UTC offset; the arrival in the queue when left out."
    )


class OptInEvent(_Event):
    """The event to publish when people opted in again."""

    model_config = ConfigDict(title=OPT_IN_TYPE)

    type: Literal["sms.opt-in.v1"] = Field(description="What happened.")
    data: OptInRequest = Field(description="Who opted in, and to whose messages.")


class OptOutEvent(_Event):
    """The event to publish when people opted out by another way than a text to the sender."""

    model_config = ConfigDict(title=OPT_OUT_TYPE)

    type: Literal["sms.opt-out.v1"] = Field(description="What happened.")
    data: OptInRequest = Field(description="Who opted out, and of whose messages; `consent` is not needed.")


class _WithoutTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 - as pydantic declares it
        """Leave out the titles that pydantic makes of names, such as Capturedat."""
        return False


def schema(event: type[OptInEvent | OptOutEvent]) -> str:
    """Write the JSON Schema of an event, as docs/opt-in-event.schema.json or its sibling holds it."""
    kind = event.model_config["title"]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:optout:schema:{kind}"}
    example: dict[str, object] = {
        "specversion": "1.0",
        "type": kind,
        "source": "https://shop.example/preferences",
        "id": "7f3a",
        "time": _EXAMPLE_TIME,
        "data": {"from": "+18001234567", "recipients": [{"to": "+15555555551"}]},
    }
    if event is OptInEvent:
        consent = {"capturedAt": _EXAMPLE_TIME, "method": "web-form", "reference": "consents/7f3a"}
        example["data"] = {"from": "+18001234567", "recipients": [{"to": "+15555555551"}], "consent": consent}
    document = event.model_json_schema(schema_generator=_WithoutTitles)
    return json.dumps(head | document | {"examples": [example]}, indent=2)
