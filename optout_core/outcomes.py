"""What came of one recipient of a request to ACS."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from enum import StrEnum, auto

from optout_core.errors import BatchRejected, EndpointUnavailable, RequestError, RequestRefused, SenderRejected, said
from optout_core.masking import show
from optout_core.numbers import Number

#: Room for a sentence; the description of a dead letter takes 1,024 characters in all.
_MAX_DETAIL = 200


class Verdict(StrEnum):
    """What came of one recipient."""

    CONFIRMED = auto()
    """ACS did what it was asked to do."""
    REJECTED = auto()
    CONTRADICTED = auto()
    """ACS confirmed, and said in the same breath that the list says the opposite."""
    SENDER_REJECTED = auto()
    FAILED = auto()
    """The recipient's own failure, which may heal: an attempt is used up."""
    REFUSED = auto()
    """Our configuration is refused: an attempt is used up."""
    UNAVAILABLE = auto()
    """The endpoint gave no answer: no attempt is used up."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one recipient, and what the API said of it.

    Attributes:
        verdict: What it means.
        detail: Human text, at most 200 characters, numbers masked.
        status: The item's `httpStatusCode`, or the status of the whole request, or None when no answer came.
        error_code: The API's error code of the whole request, or None.
        ms_cv: The `MS-CV` header that Microsoft support asks for, or None.
        retry_after: Seconds the server asked us to wait, at least 0, or None.
        alone: Whether the next try asks for the recipient apart from those of other events: a request that held it
            failed while others were answered.
        is_opted_out: What the answer says of the list, or None where it does not say.
        answered_at: When ACS answered; aware; None where it did not.
    """

    verdict: Verdict
    detail: str = ""
    status: int | None = None
    _: KW_ONLY
    error_code: str | None = None
    ms_cv: str | None = None
    retry_after: float | None = None
    alone: bool = False
    is_opted_out: bool | None = None
    answered_at: datetime | None = None

    def __str__(self) -> str:
        """Say what the API said, such as `HTTP 400: Invalid recipient phone number format`."""
        return said(self.status, self.detail)

    @classmethod
    def of_error(cls, error: RequestError) -> "Outcome":
        """Give the outcome that every recipient of a failed request has."""
        verdict = next(verdict for kind, verdict in _VERDICT_OF_ERROR.items() if isinstance(error, kind))
        return cls(
            verdict,
            brief(error.detail),
            error.status,
            error_code=error.error_code,
            ms_cv=error.ms_cv,
            retry_after=error.retry_after,
        )


_VERDICT_OF_ERROR: Mapping[type[RequestError], Verdict] = {
    EndpointUnavailable: Verdict.UNAVAILABLE,
    RequestRefused: Verdict.REFUSED,
    SenderRejected: Verdict.SENDER_REJECTED,
    BatchRejected: Verdict.REJECTED,
}

#: Outcomes by sender and recipient.
Outcomes = Mapping[Number, Mapping[Number, Outcome]]


def brief(text: object) -> str:
    """Show a text from outside in one line of at most 200 characters, numbers masked."""
    return show(" ".join(str(text).split()))[:_MAX_DETAIL]
