"""The event that publishers send us, as types: the source of docs/opt-in-event.schema.json.

CloudEvents 1.0, structured JSON: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md.
Unknown fields are tolerated everywhere, so that publishers may add to their events without asking us.
"""

import json
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

OPT_IN_TYPE = "sms.opt-in.v1"
OPT_OUT_TYPE = "sms.opt-out.v1"

#: A longer id or source would not fit beside the body: Service Bus allows 32 KB for one property and 64 KB for all
#: (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas).
MAX_NAME = 1024


def _text_only(value: object) -> object:
    # Without this, pydantic reads a number, in quotes or not, as seconds or milliseconds since 1970, as it guesses.
    if not isinstance(value, str) or value[4:5] != "-":
        raise ValueError("a time is a string such as 2026-01-23T10:00:00Z")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_text_only, json_schema_input_type=AwareDatetime)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
PhoneNumber = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]


class _Contract(BaseModel):
    # Input values stay out of errors and repr: they hold phone numbers.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Consent(_Contract):
    """Say how the person opted in: the evidence one has to keep for at least four years."""

    captured_at: Time | None = Field(
        None,
        alias="capturedAt",
        description="When the person opted in, with UTC offset. The earliest of this, `time` and the arrival counts.",
    )
    method: Annotated[str, StringConstraints(max_length=MAX_NAME)] | None = Field(
        None, description="How, for example web-form, call-centre, app.", repr=False
    )
    reference: Annotated[str, StringConstraints(max_length=MAX_NAME)] | None = Field(
        None, description="Where the evidence is kept.", repr=False
    )


class Recipient(_Contract):
    """Name one person who opted in again."""

    to: PhoneNumber = Field(
        description="Phone number in E.164 format. Blanks, '-', '.', '(' and ')' are removed; nothing else is changed.",
        repr=False,
    )


class OptInRequest(_Contract):
    """Name the sender and the people who opted in to its messages: the body of the API's request."""

    sender: PhoneNumber = Field(
        alias="from",
        description="The sender whose opt-out list is meant: E.164 number, short code or alphanumeric sender ID.",
        repr=False,
    )
    recipients: tuple[Recipient, ...] = Field(
        min_length=1, description="Any number of people; a repeated number counts once.", repr=False
    )
    consent: Consent | None = Field(None, description="The facts of the consent.")


class OptInEvent(_Contract):
    """Publish this when people opted in again."""

    model_config = ConfigDict(title="sms.opt-in.v1")

    specversion: Literal["1.0"] = Field(description="The version of CloudEvents.")
    type: Literal["sms.opt-in.v1"] = Field(description="What happened.")
    source: Name = Field(description="Who says so, a URI reference. No personal data.")
    id: Name = Field(description="Unique within the source; a repeated id is the same event. No personal data.")
    time: Time | None = Field(
        None, description="When the person opted in, with UTC offset; the arrival in the queue when left out."
    )
    data: OptInRequest


def schema() -> str:
    """Write the JSON Schema of the event, as docs/opt-in-event.schema.json holds it."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | OptInEvent.model_json_schema(), indent=2)
