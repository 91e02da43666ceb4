"""The wire contract of `POST {endpoint}/sms/optouts:remove`: bytes out, an answer's meaning in. No I/O.

Spec: Azure/azure-rest-api-specs, communicationservicessms.json, stable/2026-01-23. What the service does beyond it is
in docs/facts/acs-optouts.md. Never match on `errorMessage`: its wording differs from endpoint to endpoint.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum, auto
from http import HTTPStatus
from typing import Any

from pydantic_core import from_json

from optout_core.batches import Batch
from optout_core.errors import BatchRejected, EndpointUnavailable, RequestError, RequestRefused, SenderRejected, said
from optout_core.masking import show
from optout_core.numbers import Number, read_number

API_VERSION = "2026-01-23"
#: Sent and signed as it stands: the ":" must not become "%3A" on one side only
#: (docs/facts/acs-optouts.md, "Signing").
REQUEST_TARGET = f"/sms/optouts:remove?api-version={API_VERSION}"

#: A full answer for 100 recipients is far smaller. At this size we stop reading and treat the answer as unreadable.
MAX_ANSWER_BYTES = 1024 * 1024

#: A longer Retry-After is not believed: nobody would look at the queue for so long.
MAX_RETRY_AFTER_SECONDS = 3600.0

_VERSION_CODES = frozenset({"invalidapiversion", "apiversionunspecified", "unsupportedapiversion"})
#: An edge answers these with a page of its own.
_OF_AN_EDGE = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
#: An item with one of these says of ACS or of us what the status of the request says otherwise.
_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_STATUSES = range(100, 600)
#: A plain number: comparing with a member of an enumeration costs more than all else that is done with an item.
_OK = HTTPStatus.OK.value
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
#: Room for a sentence; the description of a dead letter takes 1,024 characters in all.
_MAX_DETAIL = 200


class Verdict(StrEnum):
    """What came of one recipient."""

    REMOVED = auto()
    REJECTED = auto()
    STILL_OPTED_OUT = auto()
    SENDER_REJECTED = auto()
    FAILED = auto()
    """The recipient's own failure, which may heal: an attempt is used up."""
    REFUSED = auto()
    """Our configuration is refused: an attempt is used up."""
    UNAVAILABLE = auto()
    """The endpoint gave no answer: no attempt is used up."""


_OF_ALL_OR_NONE = frozenset({Verdict.FAILED, Verdict.REFUSED})


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
    """

    verdict: Verdict
    detail: str = ""
    status: int | None = None
    _: KW_ONLY
    error_code: str | None = None
    ms_cv: str | None = None
    retry_after: float | None = None
    alone: bool = False

    def __str__(self) -> str:
        """Say what the API said, such as `HTTP 400: Invalid recipient phone number format`."""
        return said(self.status, self.detail)

    @classmethod
    def of_error(cls, error: RequestError) -> "Outcome":
        """Give the outcome that every recipient of a failed request has."""
        verdict = next(verdict for kind, verdict in _VERDICT_OF_ERROR.items() if isinstance(error, kind))
        return cls(
            verdict,
            _detail(error.detail),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response, read off the wire.

    Attributes:
        status: In the range [200, 600).
        headers: Names in lower case, or a mapping that does not care.
        body: The bytes, at most `MAX_ANSWER_BYTES`.
        received_at: When it came; aware. A `Retry-After` date is counted from here.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    received_at: datetime


def request_body(batch: Batch) -> bytes:
    """Write the request, compact, once: these bytes are hashed, signed and sent at every attempt."""
    document = {"from": batch.sender.text, "recipients": [{"to": to.text} for to in batch.recipients]}
    return json.dumps(document, separators=(",", ":")).encode()


def read_answer(batch: Batch, answer: Answer) -> dict[Number, Outcome]:
    """Reconcile an answer with what was asked.

    Returns:
        One outcome for every recipient of the batch and for nobody else. A recipient that the answer leaves out, or
        of whom it says two different things, has failed and is tried again; an item nobody asked for is passed over.

    Raises:
        EndpointUnavailable: 408, 429, 5xx; an answer that cannot be read, whatever its status says of success; or one
            that says so item by item: of two recipients or more, each failed in a way that may heal.
        RequestRefused: 401, 403, 404, a wrong API version, and every other answer that is about us, also item by item.
        SenderRejected: 400 about `from`.
        BatchRejected: 400 that names neither.
    """
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        outcomes = _reconcile(batch, _items(answer), _ms_cv(answer))
        # Of one whom ACS removed nothing can be wrong with all: the usual answer costs one look.
        if outcomes[batch.recipients[0]].verdict in _OF_ALL_OR_NONE:
            _raise_what_all_say(outcomes.values())
        return outcomes
    raise _refusal(answer)


def _raise_what_all_say(outcomes: Collection[Outcome]) -> None:
    verdicts = {outcome.verdict for outcome in outcomes}
    one = next(iter(outcomes))
    detail, status = f"every recipient: {one}", HTTPStatus.OK.value
    if verdicts == {Verdict.REFUSED}:
        raise RequestRefused(detail, status, ms_cv=one.ms_cv)
    if verdicts == {Verdict.FAILED} and len(outcomes) > 1 and all(map(_may_be_an_outage, outcomes)):
        raise EndpointUnavailable(detail, status, ms_cv=one.ms_cv)


def _may_be_an_outage(outcome: Outcome) -> bool:
    status = outcome.status
    return status is None or status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _reconcile(batch: Batch, items: Iterable[object], ms_cv: str | None) -> dict[Number, Outcome]:
    answers: dict[str, list[Outcome]] = {}
    # Most items are alike: one value for all of them.
    removed = Outcome(Verdict.REMOVED, "", _OK, ms_cv=ms_cv)
    for item in items:
        if isinstance(item, dict) and isinstance(to := item.get("to"), str):
            outcome = removed if _is_plainly_removed(item) else _read_item(item, ms_cv)
            answers.setdefault(to, []).append(outcome)
    # Almost always the answer writes every number as we did. What is left over may be written otherwise: without "+".
    found = {to: answers.pop(to.text) for to in batch.recipients if to.text in answers}
    others: dict[str, list[Outcome]] = {}
    for written, outcomes in answers.items():
        others.setdefault(read_number(written).digits, []).extend(outcomes)
    return {to: _agree(found.get(to) or others.get(to.digits, []), ms_cv) for to in batch.recipients}


def _is_plainly_removed(item: Mapping[str, object]) -> bool:
    status, opted_out = item.get("httpStatusCode"), item.get("isOptedOut")
    is_removed = opted_out is None or opted_out is False
    return type(status) is int and status == _OK and is_removed and not item.get("errorMessage")


def _agree(outcomes: Collection[Outcome], ms_cv: str | None) -> Outcome:
    if not outcomes:
        return Outcome(Verdict.FAILED, "the answer left this recipient out", ms_cv=ms_cv)
    if len({outcome.verdict for outcome in outcomes}) > 1:
        return Outcome(Verdict.FAILED, "the answer contradicts itself about this recipient", ms_cv=ms_cv)
    if len(outcomes) == 1:
        return next(iter(outcomes))
    return min(outcomes, key=lambda outcome: (outcome.status or 0, outcome.detail))


def _read_item(item: Mapping[str, object], ms_cv: str | None) -> Outcome:
    status, message = item.get("httpStatusCode"), item.get("errorMessage")
    detail = _detail(message) if message else ""
    if not isinstance(status, int) or status not in _STATUSES:
        return Outcome(Verdict.FAILED, detail or "the answer holds no status for this recipient", ms_cv=ms_cv)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES and not message:
        # Absent is not false, and anything but a plain false is no proof either
        # (docs/facts/acs-optouts.md, "Faults of the SDKs").
        opted_out = item.get("isOptedOut")
        removed = opted_out is None or opted_out is False
        return Outcome(Verdict.REMOVED if removed else Verdict.STILL_OPTED_OUT, "", status, ms_cv=ms_cv)
    if status in _REFUSED:
        return Outcome(Verdict.REFUSED, detail, status, ms_cv=ms_cv)
    permanent = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _LATER
    return Outcome(Verdict.REJECTED if permanent else Verdict.FAILED, detail, status, ms_cv=ms_cv)


def _items(answer: Answer) -> list[object]:
    document = _document(answer.body)
    items = document.get("value") if document is not None else None
    if not isinstance(items, list):
        raise EndpointUnavailable("the answer is not a list of recipients", answer.status, ms_cv=_ms_cv(answer))
    return items


def _refusal(answer: Answer) -> RequestError:
    document = _document(answer.body)
    error = document.get("error") if document is not None else None
    error = error if isinstance(error, dict) else {}
    code = _detail(error.get("code") or "")
    text = _detail(error.get("message") or (document or {}).get("title") or "")
    detail = ": ".join(filter(None, (code, text)))
    facts: dict[str, Any] = {"status": answer.status, "error_code": code or None, "ms_cv": _ms_cv(answer)}
    if answer.status in _LATER or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return EndpointUnavailable(detail, **facts, retry_after=retry_after(answer))
    # A page from the edge in front of ACS says nothing about us or our recipients
    # (docs/facts/acs-optouts.md, "Answers from the edge").
    if (
        document is None
        and (answer.body.strip() or answer.status == HTTPStatus.BAD_REQUEST)
        and answer.status in _OF_AN_EDGE
    ):
        return EndpointUnavailable("the answer cannot be read", **facts)
    if answer.status != HTTPStatus.BAD_REQUEST or code.lower() in _VERSION_CODES:
        return RequestRefused(detail, **facts)
    if _names_sender(document or {}, error):
        return SenderRejected(detail, **facts)
    return BatchRejected(detail, **facts)


def _names_sender(document: Mapping[str, object], error: Mapping[str, object]) -> bool:
    fields = document.get("errors")
    named = [error.get("target"), *(fields if isinstance(fields, dict) else ())]
    return any(isinstance(name, str) and name.lower().rpartition(".")[2] == "from" for name in named)


def _document(body: bytes) -> dict[str, object] | None:
    try:
        document = from_json(body.removeprefix(_BYTE_ORDER_MARK))
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _detail(text: object) -> str:
    return show(" ".join(str(text).split()))[:_MAX_DETAIL]


def _ms_cv(answer: Answer) -> str | None:
    return show(answer.headers.get("ms-cv", ""))[:_MAX_DETAIL] or None


def retry_after(answer: Answer) -> float | None:
    """Read how many seconds the server asks us to wait, 0 to `MAX_RETRY_AFTER_SECONDS`, or None when it does not say.

    The headers are those that azure-core reads (`azure/core/pipeline/policies/_utils.py`): two of Azure's own in
    milliseconds, then `Retry-After` in seconds or as a date (RFC 9110, 10.2.3).
    """
    for name, unit in (("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = answer.headers.get(name, "").strip()
        if value.isascii() and value.isdigit():
            return min(MAX_RETRY_AFTER_SECONDS, float(value) * unit)
    try:
        moment = parsedate_to_datetime(answer.headers.get("retry-after", ""))
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(MAX_RETRY_AFTER_SECONDS, max(0.0, (moment - answer.received_at).total_seconds()))
