"""The opt-out list and its three operations, as pure as a list that changes can be: no socket, no clock.

Source: specification/communication/data-plane/Sms/stable/2026-01-23/communicationservicessms.json. Choices where
neither specification nor recording speaks: a recipient is E.164 with 7 to 15 digits; removing what is not listed is a
plain 200; one number that ACS refuses outright poisons the request it is in, which is the worse of the two readings.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from sandbox.endpoint import answers
from sandbox.endpoint.answers import Answer
from sandbox.endpoint.faults import FaultPlan

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
    sender: str | None
    recipients: tuple[str, ...]
    errors: dict[str, list[str]]
    """By field, in ASP.NET's wording; empty when the body is valid."""


def read(operation: str | None, body: bytes) -> Call:
    """Read a request body; never raises: a body that is no request gives a call with errors."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return Call(operation, None, (), {"$": ["The JSON value could not be converted to OptOutRequest."]})
    errors: dict[str, list[str]] = {}
    sender = _text(document.get("from"), "From", errors)
    if sender and not _SENDER.fullmatch(sender):
        errors["From"] = ["Invalid from phone number format."]
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


def answer(
    call: Call, *, opted_out: set[tuple[str, str]], owned_senders: Collection[str] | None, plan: FaultPlan
) -> Answer:
    """Carry out a call on `opted_out`, a set of (sender, recipient), and answer it as ACS does.

    Args:
        call: its operation is one of `OPERATIONS`.
        opted_out: changed in place by `add` and `remove`.
        owned_senders: those the account may use; None means any.
        plan: asked once per recipient for a fault that takes the place of its answer.
    """
    if call.errors:
        return answers.problem(call.errors)
    if owned_senders is not None and call.sender not in owned_senders:
        return answers.unauthorized()
    if POISON_NUMBER in call.recipients:
        return answers.invalid_input()
    items: list[dict[str, object]] = []
    for to in call.recipients:
        fault = plan.for_recipient(call.operation, call.sender, to)
        if fault is None:
            items.append(_carry_out(call, to, opted_out))
            continue
        if fault.applied:
            _carry_out(call, to, opted_out)
        items += [item.answer(to) for item in fault.items or ()]
    return answers.results(items)


def _carry_out(call: Call, to: str, opted_out: set[tuple[str, str]]) -> dict[str, object]:
    if not _RECIPIENT.fullmatch(to):
        return {"to": to, "httpStatusCode": 400, "errorMessage": "Invalid recipient phone number format"}
    entry = (call.sender or "", to)
    if call.operation == "check":
        return {"to": to, "httpStatusCode": 200, "isOptedOut": entry in opted_out}
    if call.operation == "add":
        opted_out.add(entry)
    else:
        opted_out.discard(entry)
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
