"""The wire contract of `POST {endpoint}/sms/optouts:add|remove|check`: bytes out, an answer's meaning in. No I/O.

Spec: Azure/azure-rest-api-specs, communicationservicessms.json, stable/2026-01-23. What the service does beyond it is
in docs/facts/acs-optouts.md. Never match on `errorMessage`: its wording differs from endpoint to endpoint.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Literal

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder
from pydantic_core import from_json, to_json

from optout_core.batches import Batch, Operation
from optout_core.errors import BatchRejected, EndpointUnavailable, RequestError, RequestRefused, SenderRejected
from optout_core.numbers import Number, read_number
from optout_core.outcomes import Outcome, Verdict, brief

API_VERSION = "2026-01-23"

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
_OK = HTTPStatus.OK.value
_NAMES = {"status": "httpStatusCode", "message": "errorMessage", "opted_out": "isOptedOut"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_OF_ALL_OR_NONE = frozenset({Verdict.FAILED, Verdict.REFUSED})


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


def request_target(operation: Operation) -> str:
    """Give path and query, sent and signed as they stand: the ":" must not become "%3A" on one side only.

    Source: docs/facts/acs-optouts.md, "Signing".
    """
    return f"/sms/optouts:{operation}?api-version={API_VERSION}"


def request_body(batch: Batch) -> bytes:
    """Write the request, compact, once: these bytes are hashed, signed and sent at every attempt."""
    texts = [to.text for to in batch.recipients if to.is_clear and not to.is_name]
    if len(texts) < len(batch):
        return to_json({"from": batch.sender.text, "recipients": [{"to": to.text} for to in batch.recipients]})
    # Digits need no escapes, and a hundred objects that are only written are not made.
    people = '"},{"to":"'.join(texts)
    return b'{"from":%b,"recipients":[{"to":"%b"}]}' % (to_json(batch.sender.text), people.encode())


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
        reading = _Reading(batch.operation, _ms_cv(answer), answer.received_at)
        if batch.operation is not Operation.CHECK and _confirms_all(answer.body, batch):
            return reading.confirmed(batch)
        outcomes = reading.reconcile(batch, answer)
        # Of one whom ACS confirmed nothing can be wrong with all: the usual answer costs one look.
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


#: What the list says once ACS has done what it was asked to do; a question changes nothing.
_AFTERWARDS = {Operation.ADD: True, Operation.REMOVE: False}


@dataclass(frozen=True, slots=True)
class _Reading:
    """An answer about recipients, item by item."""

    operation: Operation
    ms_cv: str | None
    received_at: datetime

    def confirmed(self, batch: Batch) -> dict[Number, Outcome]:
        return dict.fromkeys(batch.recipients, self._confirmed(_OK, None))

    def reconcile(self, batch: Batch, answer: Answer) -> dict[Number, Outcome]:
        items = _ordinary_items(answer.body)
        if items is None or [item.to for item in items] != [to.text for to in batch.recipients]:
            return self._reconcile(self._read_items(_items(answer)), batch)
        # Most items are alike: one value for all of them.
        alike: dict[tuple[object, ...], Outcome] = {}
        outcomes: dict[Number, Outcome] = {}
        for to, item in zip(batch.recipients, items, strict=True):
            facts = (item.status, item.message, item.opted_out)
            if (outcome := alike.get(facts)) is None:
                outcome = alike[facts] = self._read_item(*facts)
            outcomes[to] = outcome
        return outcomes

    def _read_items(self, items: Iterable[object]) -> Iterator[tuple[str, Outcome]]:
        for item in items:
            if isinstance(item, dict) and isinstance(to := item.get("to"), str):
                yield to, self._read_item(item.get("httpStatusCode"), item.get("errorMessage"), item.get("isOptedOut"))

    def _reconcile(self, answers: Iterable[tuple[str, Outcome]], batch: Batch) -> dict[Number, Outcome]:
        as_written: dict[str, list[Outcome]] = {}
        for written, outcome in answers:
            as_written.setdefault(written, []).append(outcome)
        found = {to: as_written.pop(to.text) for to in batch.recipients if to.text in as_written}
        # What is left may be written otherwise: without "+".
        others: dict[str, list[Outcome]] = {}
        for written, outcomes in as_written.items():
            others.setdefault(read_number(written).digits, []).extend(outcomes)
        return {to: self._agree(found.get(to) or others.get(to.digits, [])) for to in batch.recipients}

    def _agree(self, outcomes: Collection[Outcome]) -> Outcome:
        if len(outcomes) == 1:
            return next(iter(outcomes))
        if not outcomes:
            return self._failed("the answer left this recipient out")
        if len({(outcome.verdict, outcome.is_opted_out) for outcome in outcomes}) > 1:
            return self._failed("the answer contradicts itself about this recipient")
        return min(outcomes, key=lambda outcome: (outcome.status or 0, outcome.detail))

    def _read_item(self, status: object, message: object, opted_out: object) -> Outcome:
        detail = brief(message) if message else ""
        if not isinstance(status, int) or status not in _STATUSES:
            return self._failed(detail or "the answer holds no status for this recipient")
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES and not message:
            return self._confirmed(status, opted_out)
        if status in _REFUSED:
            return Outcome(Verdict.REFUSED, detail, status, ms_cv=self.ms_cv)
        permanent = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _LATER
        return Outcome(Verdict.REJECTED if permanent else Verdict.FAILED, detail, status, ms_cv=self.ms_cv)

    def _confirmed(self, status: int, opted_out: object) -> Outcome:
        # Absent is not false, and what is neither true nor false is no proof either
        # (docs/facts/acs-optouts.md, "Faults of the SDKs").
        says = opted_out if isinstance(opted_out, bool) else None
        if self.operation is Operation.CHECK:
            if says is None:
                return self._failed("the answer does not say whether this recipient is opted out", status)
            is_confirmed = True
        else:
            is_confirmed = opted_out is None or says is _AFTERWARDS[self.operation]
        verdict = Verdict.CONFIRMED if is_confirmed else Verdict.CONTRADICTED
        return Outcome(verdict, "", status, ms_cv=self.ms_cv, is_opted_out=says, answered_at=self.received_at)

    def _failed(self, detail: str, status: int | None = None) -> Outcome:
        return Outcome(Verdict.FAILED, detail, status, ms_cv=self.ms_cv)


class _ConfirmedItem(Struct, gc=False, forbid_unknown_fields=True, rename=_NAMES):
    to: str
    status: Literal[200]

    def __repr__(self) -> str:
        """Show no number."""
        return "<confirmed>"


class _AllConfirmed(Struct, gc=False, forbid_unknown_fields=True):
    value: list[_ConfirmedItem]


_ALL_CONFIRMED = Decoder(_AllConfirmed)


def _confirms_all(body: bytes, batch: Batch) -> bool:
    """Say whether an answer says just that, in the order in which we asked, as it almost always does."""
    try:
        items = _ALL_CONFIRMED.decode(body).value
    except (MsgspecError, ValueError):
        return False
    return [item.to for item in items] == [to.text for to in batch.recipients]


class _Item(Struct, gc=False, rename=_NAMES):
    to: str
    status: int
    message: str | None = None
    opted_out: bool | None = None

    def __repr__(self) -> str:
        """Show no number."""
        return f"<item {self.status}>"


class _OrdinaryAnswer(Struct, gc=False):
    value: list[_Item]


_ORDINARY = Decoder(_OrdinaryAnswer)


def _ordinary_items(body: bytes) -> list[_Item] | None:
    """Read the items of an answer whose fields have the types that the spec says; None for any other."""
    try:
        return _ORDINARY.decode(body).value
    except (MsgspecError, ValueError):
        return None


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
    code = brief(error.get("code") or "")
    text = brief(error.get("message") or (document or {}).get("title") or "")
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
        document = from_json(body.removeprefix(_BYTE_ORDER_MARK), cache_strings="keys")
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _ms_cv(answer: Answer) -> str | None:
    written = answer.headers.get("ms-cv")
    return brief(written) or None if written else None


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
