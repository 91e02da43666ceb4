"""Faults on demand: what goes wrong, for whom, and how often.

A fault has matchers (`to`, `sender`, `operation`; what is left out matches everything) and one kind of effect:

- on one recipient's answer: `items`, which takes the place of the answer for each matching recipient;
- on the whole request: `status` and/or `body`, or `drop`, and `delay` with any of them or alone.

In JSON the names are camelCase, and an item is written as ACS writes it::

    [{"to": "+15555555553", "items": [{"httpStatusCode": 500, "errorMessage": "Internal Server Error"}]},
     {"status": 429, "retryAfter": 2, "times": 1}, {"sender": "+18001234567", "delay": 0.5}]

Faults are tried in order, and the first that matches counts: one for the request, and one for each recipient.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from optout_core.numbers import mask

Operation = Literal["add", "remove", "check"]

Body = Literal["error", "problem-from", "problem", "empty", "html", "garbage", "truncated", "oversized"]
"""`error`: `{"error": {"code", "message"}}`. `problem-from` and `problem`: problem+json that names `from`, or nobody.
`html`: a page of the edge. `garbage`: bytes that are no text. `truncated`: the first half of the answer. `oversized`:
the answer after 32 MiB of blanks, so still valid JSON."""

Drop = Literal["reset", "close", "reset-mid-body", "close-mid-body"]
"""How the connection ends: by RST or by FIN, before any answer or in the middle of its body."""


class _Wire(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        for name, value in super().__repr_args__():
            if value is not None:
                yield name, mask(value) if name in {"to", "sender"} and isinstance(value, str) else value


class Item(_Wire):
    """One entry of the answer's `value`."""

    to: str | None = None
    """None stands for the recipient asked about; another number makes an answer that nobody asked for."""
    http_status_code: int = 200
    is_opted_out: bool | None = None
    error_message: str | None = None

    def answer(self, to: str) -> dict[str, object]:
        """Return the entry as it goes over the wire, for the recipient `to`."""
        return {"to": to, **self.model_dump(by_alias=True, exclude_none=True)}


class Fault(_Wire):
    """One thing that goes wrong, for whom, and how often."""

    to: str | None = None
    """Recipient. With an effect on the request: a request that holds this recipient."""
    sender: str | None = None
    operation: Operation | None = None

    items: tuple[Item, ...] | None = None
    """What to answer for the recipient: nothing (missing), one item, two alike (duplicated), two that differ
    (contradictory), or one with another number (extra)."""

    status: Annotated[int, Field(ge=300, le=599)] | None = None
    body: Body | None = None
    """None stands for `error` with a status, else for the true answer."""
    code: str | None = None
    """Of the error object; by default a word for the status, such as `TooManyRequests`."""
    message: str | None = None
    """Of the error object; by default the status' own phrase."""
    retry_after: int | str | None = None
    """`Retry-After` in seconds, or any text to send as it is."""
    retry_after_date: int | None = None
    """`Retry-After` as the HTTP date so many seconds from now."""
    location: str | None = None
    """Where a redirect leads."""

    drop: Drop | None = None

    delay: Annotated[float, Field(gt=0, le=3600)] | None = None
    """Seconds before anything is answered."""

    applied: bool = False
    """Whether the list changes although `items`, `status` or a drop before the answer says otherwise: work that is done
    and not confirmed. Without those three it always changes."""

    times: Annotated[int, Field(ge=1)] | None = None
    """How often it applies; None means always."""
    after: Annotated[int, Field(ge=0)] = 0
    """How many matches it lets pass first."""

    @property
    def on_request(self) -> bool:
        """Whether the effect is on the whole request."""
        return self.items is None

    @property
    def refuses(self) -> bool:
        """Whether the effect stands in place of the work, which is then left undone unless `applied`."""
        return self.items is not None or self.status is not None or self.drop in {"reset", "close"}

    @model_validator(mode="after")
    def _has_effects_that_go_together(self) -> Self:
        answer = self.status is not None or self.body is not None
        if self.items is None and not (answer or self.drop or self.delay):
            raise ValueError("a fault needs an effect: items, status, body, drop or delay")
        if self.items is not None and (answer or self.drop or self.delay):
            raise ValueError(
                "items change one recipient's answer, status, body, drop and delay the whole: make it two faults"
            )
        if answer and self.drop:
            raise ValueError("a dropped connection has no status or body of its own: make it two faults")
        if self.status is None and any(
            one is not None for one in (self.retry_after, self.retry_after_date, self.location)
        ):
            raise ValueError("retryAfter, retryAfterDate and location need a status")
        if self.retry_after is not None and self.retry_after_date is not None:
            raise ValueError("retryAfter and retryAfterDate exclude each other")
        error_object = self.body == "error" or (
            self.status is not None and self.body in {None, "truncated", "oversized"}
        )
        if not error_object and (self.code is not None or self.message is not None):
            raise ValueError("code and message need an error object: a status, or body error")
        if self.applied and not self.refuses:
            raise ValueError("applied needs items, a status or a drop before the answer: otherwise it always is")
        return self


REFERENCE_FAULTS = (
    Fault(to="+15555555553", items=(Item(http_status_code=500, error_message="Internal Server Error"),)),
)
"""Makes the example of the API reference (OptOutRemove.json) come out as printed there: `+15555555551` is removed,
`+123` is refused (which needs no fault: it is no E.164 number), `+15555555553` fails each time."""

_FAULTS = TypeAdapter(tuple[Fault, ...])


def parse_faults(text: str | bytes) -> tuple[Fault, ...]:
    """Read faults from a JSON array.

    Raises:
        ValueError: it is not JSON or not faults; one line, which says where and does not repeat what it read.
    """
    try:
        return _FAULTS.validate_json(text)
    except ValidationError as refused:
        wrong = refused.errors(include_url=False, include_input=False, include_context=False)
        first = f"{'.'.join(map(str, wrong[0]['loc'])) or 'document'}: {wrong[0]['msg']}"
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ValueError(f"these faults cannot be used: {first}{more}") from None


def dump_faults(faults: Iterable[Fault]) -> bytes:
    """Return the JSON array that `parse_faults` reads, numbers in full."""
    return _FAULTS.dump_json(tuple(faults), by_alias=True, exclude_defaults=True)


def load_faults(path: Path) -> tuple[Fault, ...]:
    """Read faults from a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: as `parse_faults`, with the file's name in front.
    """
    try:
        return parse_faults(path.read_bytes())
    except ValueError as refused:
        raise ValueError(f"{path}: {refused}") from None


class FaultPlan:
    """The faults in force, in order, with the number of times that each has matched."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults = tuple(faults)
        self._matches = [0] * len(self.faults)

    def for_request(self, operation: str | None, sender: str | None, recipients: Collection[str]) -> Fault | None:
        """Return the fault that hits a whole request, and count it."""
        return self._first(operation, sender, lambda fault: fault.on_request and fault.to in {None, *recipients})

    def for_recipient(self, operation: str | None, sender: str | None, to: str) -> Fault | None:
        """Return the fault that takes the place of one recipient's answer, and count it."""
        return self._first(operation, sender, lambda fault: not fault.on_request and fault.to in {None, to})

    def _first(self, operation: str | None, sender: str | None, concerns: Callable[[Fault], bool]) -> Fault | None:
        for index, fault in enumerate(self.faults):
            if fault.sender not in {None, sender} or fault.operation not in {None, operation} or not concerns(fault):
                continue
            before = self._matches[index]
            self._matches[index] += 1
            if before >= fault.after and (fault.times is None or before < fault.after + fault.times):
                return fault
        return None
