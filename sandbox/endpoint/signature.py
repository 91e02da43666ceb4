"""Verify ACS request signatures (HMAC-SHA256): written apart from the client's signing code, so each checks the other.

Source: https://learn.microsoft.com/azure/communication-services/tutorials/hmac-header-tutorial
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

DENIED = "Denied by the resource provider."
"""What ACS says when it can make nothing of the authorization (seen in the field, not in the specification)."""

HASH_DIFFERS = "Request 'x-ms-content-sha256' differs from generated content hash."
"""Recorded: examples/OptOutAdd.json of the API specification."""

MAX_SKEW = timedelta(minutes=15)
"""How far `x-ms-date` may lie from now. ACS documents no figure; this one is that of Azure App Configuration, which has
the same scheme: https://learn.microsoft.com/azure/azure-app-configuration/rest-api-authentication-hmac"""

_PREFIX = "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature="


def signature(key: bytes, string_to_sign: str) -> str:
    """Return the base64 HMAC-SHA256 of `string_to_sign` in UTF-8, under the decoded access key."""
    return base64.b64encode(hmac.digest(key, _bytes(string_to_sign), "sha256")).decode()


def content_hash(body: bytes) -> str:
    """Return the base64 SHA-256 of the body's exact bytes."""
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def refusal(  # noqa: PLR0913 - the parts of a request that a signature covers, plus key and clock
    *, method: str, target: str, headers: Mapping[str, str], body: bytes, key: bytes, now: datetime
) -> str | None:
    """Say why ACS would answer 401 `Denied`, or None when the signature is good.

    Args:
        method: the verb, upper case.
        target: path and query exactly as sent, percent-encoding included.
        headers: of the request, with case-insensitive lookup.
        body: the exact bytes received.
        key: the access key, decoded from base64.
        now: with time zone.
    """
    date = headers.get("x-ms-date", "")
    sent_hash = headers.get("x-ms-content-sha256", "")
    authorization = headers.get("Authorization", "")
    if not (authorization.startswith(_PREFIX) and _is_close(date, now)):
        return DENIED
    if not same(sent_hash, content_hash(body)):
        return HASH_DIFFERS
    expected = signature(key, f"{method}\n{target}\n{date};{headers.get('Host', '')};{sent_hash}")
    return None if same(authorization.removeprefix(_PREFIX), expected) else DENIED


def decode_key(access_key: str) -> bytes:
    """Return the bytes of a base64 access key.

    Raises:
        ValueError: it is empty or not base64; the message does not repeat it.
    """
    try:
        key = base64.b64decode(access_key, validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError("the access key is not base64: copy the whole `accesskey=` value, its trailing `==` included")
    return key


def same(one: str, other: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(_bytes(one), _bytes(other))


def _is_close(date: str, now: datetime) -> bool:
    if not date.endswith(" GMT"):
        return False
    try:
        when = parsedate_to_datetime(date).replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(now - when) <= MAX_SKEW


def _bytes(header: str) -> bytes:
    # aiohttp decodes header bytes that are no UTF-8 this way.
    return header.encode(errors="surrogateescape")
