"""The answers ACS gives, byte for byte where the specification or a recording shows them.

Sources: examples/OptOut{Add,Remove,Check}.json of the API specification (Azure/azure-rest-api-specs, 2026-01-23) and
the recorded sessions in Azure/azure-sdk-assets. Where neither speaks, the docstring says so.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

JSON = "application/json; charset=utf-8"
HTML = "text/html"
PROBLEM = "application/problem+json; charset=utf-8"

FROM_PROBLEM = {"From": ["Invalid from phone number format."]}
"""What examples/OptOutAdd.json says of a sender that is none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a body and the headers that depend on what is answered."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def results(items: list[dict[str, object]]) -> Answer:
    """Answer 200 with one item per recipient; an item's own code tells how it went."""
    return Answer(200, _encode({"value": items}), JSON)


def error(status: int, code: str, message: str, **more: object) -> Answer:
    """Answer with an error object, `{"error": {"code", "message"}}` plus what else belongs in it."""
    return Answer(status, _encode({"error": {"code": code, "message": message, **more}}), JSON)


def denied(message: str) -> Answer:
    """Refuse the credential: 401 `Denied`."""
    return error(401, "Denied", message)


def unauthorized() -> Answer:
    """Refuse the sender: 401 `Unauthorized` with an empty message, as recorded for a number one does not own."""
    return error(401, "Unauthorized", "")


def api_version_unspecified() -> Answer:
    """Refuse a request without `api-version`."""
    message = "An API version is required, but was not specified."
    return error(400, "ApiVersionUnspecified", message, innerError=None)


def invalid_api_version(path: str, version: str) -> Answer:
    """Refuse an unknown `api-version`. The internal host name is part of the published example."""
    uri = f"https://global.sms.int.communication.microsoft.com{path}"
    message = f"The HTTP resource that matches the request URI '{uri}' does not support the API version '{version}'."
    return error(400, "InvalidApiVersion", message, innerError=None)


def invalid_input() -> Answer:
    """Refuse the whole request and name nobody: recorded with this odd message, `target` and content type."""
    body = {"error": {"code": "InvalidInput", "message": "Request parameter   is invalid.", "target": ""}}
    return Answer(400, _encode(body), "application/json")


def problem(errors: Mapping[str, Sequence[str]], status: int = 400) -> Answer:
    """Refuse the request as ASP.NET's ValidationProblem: no `error` key, `errors` by field (empty: names nobody)."""
    return _problem("15.5.1", "One or more validation errors occurred.", status, errors=errors)


def unsupported_media_type() -> Answer:
    """Refuse a body that is not `application/json`, in the words ASP.NET has for it; not recorded."""
    return _problem("15.5.16", "Unsupported Media Type", 415)


def edge_page(status: int) -> Answer:
    """Answer with an HTML page, as a front door in trouble does. Made up: no recording of one is known."""
    title = f"{status} {phrase(status)}"
    page = (
        "<!DOCTYPE html>\n<!-- Made up by the sandbox: no recording of the edge's own pages is known. -->\n"
        f"<html><head><title>{title}</title></head>\n<body><h1>{title}</h1><hr><center>edge</center></body></html>\n"
    )
    return Answer(status, page.encode(), HTML)


def phrase(status: int) -> str:
    """Return the reason phrase of a status, such as `Too Many Requests`; `Status` for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"


def _problem(section: str, title: str, status: int, **more: object) -> Answer:
    kind = f"https://tools.ietf.org/html/rfc9110#section-{section}"
    trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
    return Answer(status, _encode({"type": kind, "title": title, "status": status, **more, "traceId": trace}), PROBLEM)


def _encode(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
