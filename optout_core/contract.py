"""What publishers say in an event, as types; `schemas` makes the published schemas of it.

CloudEvents 1.0, structured JSON: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md.
Unknown fields are tolerated everywhere, so that publishers may add to their events without asking us; only a known
field under another spelling is refused, since what it says would be lost without a word.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from optout_core.errors import MalformedEvent

OPT_IN_TYPE = "sms.opt-in.v1"
OPT_OUT_TYPE = "sms.opt-out.v1"

#: A longer id or source would not fit beside the body: Service Bus allows 32 KB for one property and 64 KB for all
#: (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas).
MAX_NAME = 1024

#: Two spellings of ISO 8601 that `datetime` does not read: a leap second, and midnight as the end of a day.
_LEAP_SECOND = re.compile(r"(?<=[0-9]{2}:[0-9]{2}:)60|(?<=T[0-9]{4})60")
_END_OF_DAY = re.compile(r"(?<=[T ])24(?=:?00(?::?00(?:[.,]0+)?)?(?:[Z+-]|$))")

_NOTHING = timedelta()

#: What .NET writes for a time that nobody set. For a STOP its arrival then counts, and for an opt-in nobody knows when
#: the person said it.
_NEVER_SET = datetime(1, 1, 1, tzinfo=UTC)


def read_time(written: str) -> datetime:
    """Read a time with its UTC offset.

    Args:
        written: RFC 3339 or ISO 8601, such as 2026-01-23T10:00:00Z. A leap second is the second after 59, and 24:00 is
            the midnight that ends the day.

    Returns:
        The moment, in UTC.

    Raises:
        ValueError: It is no date and time, has no offset, or lies outside the calendar.
    """
    if "\0" in written:
        # `fromisoformat` of CPython stops reading there, and says nothing of what follows.
        raise ValueError("NUL in a time")
    text, later = written.upper(), _NOTHING
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        later = timedelta(days=bool(_END_OF_DAY.search(text)), seconds=bool(_LEAP_SECOND.search(text)))
        moment = datetime.fromisoformat(_END_OF_DAY.sub("00", _LEAP_SECOND.sub("59", text, count=1), count=1))
    if moment.tzinfo is None:
        raise ValueError("a time needs a UTC offset, such as Z or +02:00")
    if moment.tzinfo is UTC and not later:
        return moment
    try:
        return (moment + later).astimezone(UTC)
    except OverflowError:
        raise ValueError("a time must lie between the years 1 and 9999") from None


def _time(value: object) -> datetime:
    moment = value if isinstance(value, datetime) else _written_time(value)
    if moment == _NEVER_SET:
        raise PydanticCustomError("contract", "it is the first moment of the year 1: no time was set")
    return moment


def _written_time(value: object) -> datetime:
    # Pydantic would read a number, in quotes or not, as seconds or milliseconds since 1970, as it guesses.
    if not isinstance(value, str) or "T" not in value.upper().replace(" ", "T") or not value[:4].isdecimal():
        raise PydanticCustomError("contract", "a time is a string such as 2026-01-23T10:00:00Z")
    try:
        return read_time(value)
    except ValueError as error:
        known = str(error) if str(error).startswith("a time") else "a time is a string such as 2026-01-23T10:00:00Z"
        raise PydanticCustomError("contract", known) from None


#: RFC 3339 with an offset. `format` alone asserts nothing in most validators. We read more: blanks, basic format.
_TIME_PATTERN = (
    r"^(?!0000|0001-01-01[Tt ]00:00:00)[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$"
)
#: What `numbers.read_number` reads, as far as it is ASCII: 3 to 15 digits, the first no 0, with what people put there.
#: A `(0)` is left to the function: which zero goes depends on the digits around it.
_DIGITS_PATTERN = r"(?:\+|00)?[ .()\/\-]*[1-9](?:[ .()\/\-]*[0-9]){2,14}[ .()\/\-]*"
_NUMBER_PATTERN = rf"^(?!.*\(0\))(?:(?:tel|sms):)?{_DIGITS_PATTERN}$"
#: A number, or a name with a letter in it.
_SENDER_PATTERN = rf"^(?!.*\(0\))(?:{_DIGITS_PATTERN}|[ -~]*[A-Za-z][ -~]*)$"

Time = Annotated[
    AwareDatetime,
    BeforeValidator(_time),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _TIME_PATTERN}),
]
#: Half a surrogate pair is refused by pydantic itself.
_WITHOUT_NUL = r"^[^\x00]*$"
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=_WITHOUT_NUL)]
Fact = Annotated[str, Field(max_length=MAX_NAME, pattern=_WITHOUT_NUL)]


class Contract(BaseModel):
    """What is common to all types of the contract."""

    # Input values stay out of errors and repr: they hold phone numbers.
    # Built when an event is read that is not quite ordinary: loading the function does not wait for that.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, defer_build=True)


@dataclass(slots=True)
class Consent:
    """How the person opted in: the evidence one has to keep for at least four years."""

    # No model: one is made for every event.
    __pydantic_config__ = ConfigDict(hide_input_in_errors=True, defer_build=True)

    captured_at: Annotated[
        Time | None,
        Field(
            alias="capturedAt",
            description="When the person opted in, with UTC offset. The earliest of this, `time` and the arrival"
            " counts.",
        ),
    ] = None
    method: Annotated[Fact | None, Field(description="How, for example web-form, call-centre, app.")] = field(
        default=None, repr=False
    )
    reference: Annotated[Fact | None, Field(description="Where the evidence is kept.")] = field(
        default=None, repr=False
    )

    def facts(self) -> dict[str, datetime | str]:
        """Give what is known, by the names that publishers use."""
        facts: dict[str, datetime | str] = {}
        if self.captured_at is not None:
            facts["capturedAt"] = self.captured_at
        if self.method is not None:
            facts["method"] = self.method
        if self.reference is not None:
            facts["reference"] = self.reference
        return facts


class Recipient(TypedDict, total=False):
    """One person."""

    # The published schema asks for `to`; here one who is left out costs the others nothing. A mapping and no model: an
    # event may hold 10,000 of them. An integer is what a spreadsheet makes of a number column.
    __pydantic_config__ = ConfigDict(json_schema_extra={"required": ["to"]})  # type: ignore[misc] # of pydantic

    to: Annotated[
        StrictStr | StrictInt | None,
        WithJsonSchema({"maxLength": MAX_NAME, "pattern": _NUMBER_PATTERN, "type": "string"}),
        Field(
            description="Phone number in E.164 format. Blanks, dashes and brackets are removed; see docs/events.md."
            " What is no number then is refused by itself, and the others of the event go on.",
            examples=["+15555555551"],
        ),
    ]


class OptInRequest(Contract):
    """The sender and the people it is about: the body of the API's request."""

    sender: Name = Field(
        alias="from",
        description="The sender whose opt-out list is meant: E.164 number, short code or alphanumeric sender ID.",
        repr=False,
        examples=["+18001234567"],
        json_schema_extra={"pattern": _SENDER_PATTERN},
    )
    recipients: list[Recipient] = Field(
        min_length=1, description="Any number of people; a repeated number counts once.", repr=False
    )
    consent: Consent | None = Field(None, description="The facts of the consent.")

    def written(self) -> list[str]:
        """Give each recipient as it was written; an empty text for one that was left out."""
        return [
            to if isinstance(to := recipient.get("to"), str) else "" if to is None else str(to)
            for recipient in self.recipients
        ]


#: The attributes of an event that we read, beside `specversion`, which is read in any case.
ATTRIBUTES = frozenset({"type", "source", "id", "time", "data", "data_base64"})
_FIELDS = frozenset({"from", "recipients", "consent"})
_RECIPIENT_FIELDS = frozenset({"to"})
_CONSENT_FIELDS = frozenset({"capturedAt", "method", "reference"})
_REQUEST = TypeAdapter(OptInRequest)
_Value = TypeVar("_Value")
_BRANCHES = frozenset({"str", "int"})

#: What publishers read, by the kinds of errors that pydantic knows (https://docs.pydantic.dev/latest/errors/validation_errors/).
_WORDS = {
    "missing": "is missing",
    "too_short": "must hold at least one",
    "list_type": "must be an array",
    "model_type": "must be an object",
    "string_type": "must be a string",
    "string_pattern_mismatch": "must not hold NUL",
    "string_unicode": "must not hold half a surrogate pair",
    "string_too_short": f"must have 1 to {MAX_NAME:,} characters",
    "string_too_long": f"must have at most {MAX_NAME:,} characters",
}


def read_request(content: Mapping[str, Any], where: str) -> OptInRequest:
    """Read what an event says: the sender, the people, the evidence.

    Raises:
        MalformedEvent: It has not the shape of the contract; the text names the field, and says what it may be.
    """
    refuse_other_spellings(content, _FIELDS, where)
    if isinstance(consent := content.get("consent"), dict):
        refuse_other_spellings(consent, _CONSENT_FIELDS, f"{where}.consent")
    recipients = content.get("recipients")
    if not isinstance(recipients, list) or not any(isinstance(item, dict) and "to" in item for item in recipients):
        _refuse_recipients(recipients, f"{where}.recipients")
    return _validated(_REQUEST, content, where)


def _refuse_recipients(recipients: object, where: str) -> None:
    """Say how recipients are written instead of these; of none, and of nothing, the type itself says it."""
    if isinstance(recipients, list) and recipients:
        people = [item for item in recipients if isinstance(item, dict)]
        if not people:
            raise MalformedEvent(f'{where}: a recipient is an object, write {{"to": "+1555…"}}')
        refuse_other_spellings(people[0], _RECIPIENT_FIELDS, f"{where}.0")
        raise MalformedEvent(f'{where}: no recipient has a `to`, write {{"to": "+1555…"}}')
    if isinstance(recipients, dict) and "$values" in recipients:
        raise MalformedEvent(
            f"{where}: `$values` found, an array expected: JSON.NET must not write types (TypeNameHandling.None)"
        )
    if recipients is not None and recipients != []:
        raise MalformedEvent(f'{where}: must be an array, write [{{"to": "+1555…"}}]')


def read_moment(value: object, where: str) -> datetime:
    """Read the time of an event.

    Raises:
        MalformedEvent: It is no time with a UTC offset; `where` names the field.
    """
    try:
        return _time(value)
    except PydanticCustomError as error:
        raise MalformedEvent(f"{where}: {error.message()}") from None


def refuse_other_spellings(fields: Mapping[str, object], known: frozenset[str], where: str) -> None:
    """Refuse a field that is a known one but for case, `_` or `-`: what it says would be lost without a word.

    Raises:
        MalformedEvent: There is one; the text says how it is spelled here.
    """
    if fields.keys() <= known:
        return
    expected = _expected(known)
    for name in fields:
        if name not in known and (right := expected.get(_plain(name))):
            raise MalformedEvent(f"{where}: `{name}` found, `{right}` expected: names are case-sensitive")


@cache
def _expected(known: frozenset[str]) -> Mapping[str, str]:
    return {_plain(name): name for name in known}


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").casefold()


def _validated(adapter: TypeAdapter[_Value], value: object, where: str) -> _Value:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False, include_context=False)
        # Pydantic names the branch of a union as a step of the path, and counts an error for each branch.
        paths = list(dict.fromkeys(tuple(step for step in each["loc"] if step not in _BRANCHES) for each in errors))
        path = ".".join((where, *map(str, paths[0])))
        more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
        kind = errors[0]["type"]
        problem = errors[0]["msg"] if kind == "contract" else _WORDS.get(kind, "is not as docs/events.md says")
        raise MalformedEvent(f"{path}: {problem}{more}") from None
