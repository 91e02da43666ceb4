"""What goes wrong at the endpoint on demand: the model of the fault file.

A fault says whom it meets (`to`, `sender`, `operation`; what is left out matches everything), how often, and has one
effect. `FIELDS_OF_EFFECT` says which further fields an effect takes. In JSON the names are camelCase, and an item is
written as ACS writes it::

    [{"to": "+15555555553", "items": [{"httpStatusCode": 500, "errorMessage": "Internal Server Error"}]},
     {"status": 429, "retryAfter": 2, "times": 1}, {"sender": "+18001234567", "delay": 0.5}]

The docstrings of the fields are the table in docs/sandbox.md: `python -m sandbox.endpoint.page` writes it.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic.alias_generators import to_camel

from optout_core.masking import mask

Operation = Literal["add", "remove", "check"]
Body = Literal[
    "error",
    "problem",
    "problem-from",
    "invalid-input",
    "html",
    "empty",
    "garbage",
    "truncated",
    "oversized",
    "gzip",
    "byte-order-mark",
]
Drop = Literal["reset", "close", "silence", "reset-mid-body", "close-mid-body"]
#: The first word of each list in `sandbox.endpoint.texts`; the other words do the same.
Text = Literal["STOP", "START"]
Seconds = Annotated[float, Field(ge=0, le=3600)]

#: The fields that each effect takes beside those that say whom it meets and how often. The first of these effects that
#: a fault has is its own; `applied` and `appliedAfter` are effects where they stand alone.
FIELDS_OF_EFFECT = {
    "items": {"applied", "applied_after"},
    "text": {"text_after"},
    "drop": {"delay", "applied", "applied_after"},
    "status": {
        "body",
        "code",
        "message",
        "errors",
        "retry_after",
        "retry_after_date",
        "location",
        "delay",
        "applied",
        "applied_after",
    },
    "body": {"code", "message", "errors", "delay", "applied", "applied_after"},
    "delay": {"applied", "applied_after"},
    "applied": set[str](),
    "applied_after": set[str](),
}
_FIELDS_OF_SOME_EFFECT = FIELDS_OF_EFFECT.keys() | set[str]().union(*FIELDS_OF_EFFECT.values())

#: A status answers with an error object, unless `body` says otherwise; these bodies are made from it.
_MADE_FROM_ERROR = {None, "error", "truncated", "oversized", "gzip", "byte-order-mark"}


class _Wire(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        for name, value in super().__repr_args__():
            if value is not None:
                yield name, mask(value) if name in {"to", "sender"} and isinstance(value, str) else value


class Item(_Wire):
    """One entry of the answer's `value`."""

    to: str | None = None
    """The number it is about; left out: the recipient asked about. Another number is an answer nobody asked for."""
    http_status_code: int | float | str | None = Field(default=200)
    """The item's own status. `200.0`, a text or `null` (no status at all) are against the specification."""
    is_opted_out: bool | int | str | None = None
    """Left out: not in the answer. A number or a text is against the specification."""
    error_message: str | None = Field(default=None, repr=False)
    """Left out: not in the answer."""

    def answer(self, to: str) -> dict[str, object]:
        """Return the entry as it goes over the wire, for the recipient `to`."""
        return {"to": to, **self.model_dump(by_alias=True, exclude_none=True)}


class Slowness(_Wire):
    """How slow answers are that are not all alike: exponentially distributed around a mean."""

    mean: Annotated[float, Field(gt=0, le=3600)]
    """Mean of the seconds, `atLeast` included."""
    at_least: Seconds = 0.0
    """No answer is faster; less than `mean`."""
    seed: int = 0
    """The same seed gives the same delays in the same order."""

    @model_validator(mode="after")
    def _has_a_mean_above_the_least(self) -> Self:
        if self.at_least >= self.mean:
            raise ValueError("atLeast has to be less than mean")
        return self


Delay = Annotated[
    Annotated[float, Field(gt=0, le=3600), Tag("seconds")] | Annotated[Slowness, Tag("drawn")],
    Discriminator(lambda delay: "drawn" if isinstance(delay, dict | Slowness) else "seconds"),
]


class Fault(_Wire):
    """One thing that goes wrong, for whom, and how often."""

    to: str | None = None
    """Recipient. An effect on the request meets every request that holds this recipient, neighbours included."""
    sender: str | None = None
    """The `from` of the request."""
    operation: Operation | None = None
    """Which of the three operations."""

    times: Annotated[int, Field(ge=1)] | None = None
    """How many requests it meets; left out: without end."""
    after: Annotated[int, Field(ge=0)] = 0
    """How many matching requests pass first."""
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Which share of the matching requests it meets, evenly spread: 0.75 is three of every four."""

    items: tuple[Item, ...] | None = None
    """What the answer's `value` holds for the recipient: nothing (missing), one item, two alike (duplicated), two that
    differ (contradictory), one with another number (extra). Without `to`, for every recipient: `[]` makes the answer
    `{"value": []}`."""

    text: Text | None = None
    """The recipient texts this word to the sender, and ACS changes its list by itself. Independent of all other faults.
    Without `to`, every recipient of the request does."""
    text_after: Seconds = 0.0
    """Seconds from the request's arrival to the text; 0 is before the request changes anything."""

    drop: Drop | None = None
    """How the answer gets lost. `reset` ends the connection by RST and `close` by FIN, before any answer;
    `reset-mid-body` and `close-mid-body` in the middle of its body. `silence` leaves it open and never answers."""

    status: Annotated[int, Field(ge=300, le=599)] | None = None
    """Answers the whole request with this status, before any credential is asked for, as an edge does."""
    body: Body | None = None
    """`error`: `{"error": {"code", "message"}}`, the default with a status. `problem`: problem+json with `errors`;
    `problem-from`: the same, naming `From` as recorded. `invalid-input`: the recorded `InvalidInput`, which names
    nobody. `html`: a page of the edge. `empty`. `garbage`: bytes that are no text. The others are made from the answer:
    `truncated`: its first half; `oversized`: behind 32 MiB of blanks, so valid JSON; `gzip`: compressed though nobody
    asked for it; `byte-order-mark`: behind one. Without a status: 200."""
    code: str | None = Field(default=None, repr=False)
    """Of the error object; left out: a word for the status, such as `TooManyRequests`."""
    message: str | None = Field(default=None, repr=False)
    """Of the error object; left out: the status' own phrase."""
    errors: dict[str, tuple[str, ...]] | None = Field(default=None, repr=False)
    """Of the `problem`: messages by field, such as `{"OptOutRequest.From": ["…"]}`; left out: it names nobody."""
    retry_after: int | str | None = Field(default=None, repr=False)
    """`Retry-After` in seconds, or any text to send as it is; with `times` 1, one-off."""
    retry_after_date: int | None = None
    """`Retry-After` as the HTTP date so many seconds from now."""
    location: str | None = Field(default=None, repr=False)
    """Where a redirect leads."""

    delay: Delay | None = None
    """Seconds from the request's arrival to its answer, and to the change of the list; an object draws them."""

    applied: bool | None = None
    """Whether the list changes, where that is not what the answer says: `true` with `items`, `status` or a `drop`
    before the answer is work that is done and not confirmed; `false`, alone or with `body`, `delay` or a `drop` in the
    middle of the body, is work that is confirmed and never done."""
    applied_after: Seconds | None = None
    """Seconds from the request's arrival to the change of the list, whatever is answered and when, and whether or not
    the client is still there."""

    @property
    def effect(self) -> str | None:
        """The first of its effects: the name of a field."""
        return next((name for name in FIELDS_OF_EFFECT if getattr(self, name) is not None), None)

    @property
    def refuses(self) -> bool:
        """Whether the effect stands in place of the work, which is then left undone unless a field says otherwise."""
        return self.items is not None or self.status is not None or self.drop in {"reset", "close", "silence"}

    @property
    def works(self) -> bool:
        """Whether the list changes, now or later."""
        if self.applied is not None:
            return self.applied
        return self.applied_after is not None or not self.refuses

    @model_validator(mode="after")
    def _has_one_effect_and_its_fields(self) -> Self:
        if self.effect is None:
            raise ValueError(f"a fault needs an effect: {', '.join(map(to_camel, FIELDS_OF_EFFECT))}")
        given = {name for name in self.model_fields_set & _FIELDS_OF_SOME_EFFECT if getattr(self, name) is not None}
        if strange := given - {self.effect} - FIELDS_OF_EFFECT[self.effect]:
            names = ", ".join(sorted(map(to_camel, strange)))
            raise ValueError(f"{to_camel(self.effect)} does not go with {names}: leave out, or make it two faults")
        return self

    @model_validator(mode="after")
    def _has_what_its_body_can_say(self) -> Self:
        has_error = self.body in _MADE_FROM_ERROR if self.status is not None else self.body == "error"
        if (self.code is not None or self.message is not None) and not has_error:
            raise ValueError("code and message need an error object: a status, or body error")
        if self.errors is not None and self.body != "problem":
            raise ValueError("errors need body problem")
        if self.retry_after is not None and self.retry_after_date is not None:
            raise ValueError("retryAfter and retryAfterDate exclude each other")
        return self

    @model_validator(mode="after")
    def _changes_the_list_once(self) -> Self:
        if self.applied is not None and self.applied_after is not None:
            raise ValueError("applied and appliedAfter exclude each other")
        if self.applied is not None and self.applied != self.refuses:
            raise ValueError(f"applied {str(self.applied).lower()} is what happens anyway: leave it out")
        if self.effect == "applied_after" and not self.applied_after:
            raise ValueError("appliedAfter 0 is what happens anyway, unless it goes with another effect")
        return self


REFERENCE_FAULTS = (
    Fault(to="+15555555553", items=(Item(http_status_code=500, error_message="Internal Server Error"),)),
)
"""Makes the example of the API reference (OptOutRemove.json) come out as printed there: `+15555555551` is removed,
`+123` is refused (which needs no fault: it is no E.164 number), `+15555555553` fails each time."""
