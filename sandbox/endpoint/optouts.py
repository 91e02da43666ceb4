"""The three operations on the opt-out list, pure: what a call is answered, and what it changes.

Source: specification/communication/data-plane/Sms/stable/2026-01-23/communicationservicessms.json. Choices where
neither specification nor recording speaks: a recipient is E.164 with 7 to 15 digits; removing what is not listed is a
plain 200; one number that ACS refuses outright poisons the request it is in, which is the worse of the two readings.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sandbox.endpoint.answers import FROM_PROBLEM, Answer, invalid_input, problem, results, unauthorized
from sandbox.endpoint.plan import FaultPlan

OPERATIONS = ("add", "remove", "check")

MAX_RECIPIENTS = 100
"""`maxItems` of `OptOutRequest.recipients`."""

POISON_NUMBER = "+15550000000"
"""Well-formed, yet ACS refuses any request with it: recording RemoveOptOutToInvalidNumberShouldThrow.json."""

_RECIPIENT = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)
_SENDER = re.compile(
    r"\+[1-9]\d{6,14}"  # E.164
    r"|\d{5,6}"  # short code
    r"|(?=.*[A-Za-z])[A-Za-z0-9 +\-_&]{1,11}",  # alphanumeric sender: 1 to 11 characters, one of them a letter
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Call:
    """What a request body asks for, and everything that is wrong with it."""

    operation: str | None
    sender: str | None = field(repr=False)
    recipients: tuple[str, ...] = field(repr=False)
    errors: dict[str, list[str]]
    """By field, in ASP.NET's wording; empty when the body is valid."""


def read_call(operation: str | None, body: bytes) -> Call:
    """Read a request body; never raises: a body that is no request gives a call with errors."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return Call(operation, None, (), {"$": ["The JSON value could not be converted to OptOutRequest."]})
    errors: dict[str, list[str]] = {}
    sender = _text(document.get("from"), "From", errors)
    if sender and not is_sender(sender):
        errors |= FROM_PROBLEM
    listed = document.get("recipients")
    if not isinstance(listed, list):
        errors["Recipients"] = ["The Recipients field is required."]
        listed = []
    elif not 1 <= len(listed) <= MAX_RECIPIENTS:
        bound = "minimum length of '1'" if not listed else f"maximum length of '{MAX_RECIPIENTS}'"
        errors["Recipients"] = [f"The field Recipients must be a string or array type with a {bound}."]
    found = [
        _text(entry.get("to") if isinstance(entry, dict) else None, f"Recipients[{index}].To", errors)
        for index, entry in enumerate(listed)
    ]
    return Call(operation, sender, tuple(to for to in found if to is not None), errors)


def is_recipient(number: str) -> bool:
    """Say whether a number is E.164."""
    return _RECIPIENT.fullmatch(number) is not None


def is_sender(sender: str) -> bool:
    """Say whether a sender is an E.164 number, a short code or an alphanumeric name."""
    return _SENDER.fullmatch(sender) is not None


def answer_call(
    call: Call, *, opted_out: Collection[tuple[str, str]], owned_senders: Collection[str] | None, plan: FaultPlan
) -> tuple[Answer, Mapping[float, list[str]]]:
    """Say what ACS answers to a call, and whose entries on the list it changes.

    Args:
        call: its operation is one of `OPERATIONS`.
        opted_out: (sender, recipient) of each entry of the list.
        owned_senders: those the account may use; None means any.
        plan: asked once for the faults that take the place of a recipient's answer.

    Returns:
        The answer, and the recipients whose entry changes, by the seconds from the request's arrival to the change;
        0 is at once.
    """
    if call.errors:
        return problem(call.errors), {}
    if owned_senders is not None and call.sender not in owned_senders:
        return unauthorized(), {}
    if POISON_NUMBER in call.recipients:
        return invalid_input(), {}
    faults = plan.for_recipients(call.operation, call.sender, call.recipients)
    items: list[dict[str, object]] = []
    changes: dict[float, list[str]] = {}
    for to in call.recipients:
        fault = faults.get(to)
        known = is_recipient(to)
        items += (
            [_item(call, to, opted_out, known=known)]
            if fault is None
            else [one.answer(to) for one in fault.items or ()]
        )
        if known and call.operation != "check" and (fault is None or fault.works):
            after = 0 if fault is None else fault.applied_after or 0
            changes.setdefault(after, []).append(to)
    return results(items), changes


def _item(call: Call, to: str, opted_out: Collection[tuple[str, str]], *, known: bool) -> dict[str, object]:
    if not known:
        return {"to": to, "httpStatusCode": 400, "errorMessage": "Invalid recipient phone number format"}
    if call.operation == "check":
        return {"to": to, "httpStatusCode": 200, "isOptedOut": (call.sender, to) in opted_out}
    return {"to": to, "httpStatusCode": 200}


def _text(value: object, name: str, errors: dict[str, list[str]]) -> str | None:
    """Return a required, non-empty string, or note under `name` what it is instead."""
    if isinstance(value, str) and value:
        return value
    wrong_type = value is not None and not isinstance(value, str)
    errors[name] = [
        "The JSON value could not be converted to System.String."
        if wrong_type
        else f"The {name.rpartition('.')[2]} field is required."
    ]
    return None
