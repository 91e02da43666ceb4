"""A client that signs with the endpoint's own key, and the wire samples."""

import base64
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest

from sandbox.endpoint import Endpoint
from sandbox.endpoint.signature import content_hash, signature

SAMPLES = Path(__file__).parents[1] / "samples" / "acs"
SENDER = "+18001234567"
PERSON = "+15555555551"


class Caller:
    """Sends real requests; every part of a request can be bent."""

    def __init__(self, http):
        self._http = http

    def request(self, endpoint, operation="remove", to=(PERSON,), sender=SENDER, **bent):
        """Build a signed request, then change what `bent` names: body, version, path, method, key, date, headers."""
        body = bent.get("body")
        if body is None:
            body = json.dumps({"from": sender, "recipients": [{"to": number} for number in to]}).encode()
        version = bent.get("version", "2026-01-23")
        target = bent.get("path", f"/sms/optouts:{operation}") + (f"?api-version={version}" if version else "")
        method = bent.get("method", "POST")
        host = endpoint.url.removeprefix("http://")
        date = bent.get("date") or format_datetime(datetime.now(UTC), usegmt=True)
        key = base64.b64decode(bent.get("key", endpoint.access_key))
        signed = signature(key, f"{method}\n{target}\n{date};{host};{content_hash(body)}")
        headers = {
            "Content-Type": "application/json",
            "x-ms-date": date,
            "x-ms-content-sha256": content_hash(body),
            "Authorization": f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signed}",
        }
        headers = {name: value for name, value in {**headers, **bent.get("headers", {})}.items() if value is not None}
        return self._http.build_request(method, endpoint.url + target, content=body, headers=headers)

    async def __call__(self, endpoint, operation="remove", to=(PERSON,), sender=SENDER, **bent):
        return await self._http.send(self.request(endpoint, operation, to, sender, **bent))

    async def items(self, endpoint, operation="remove", to=(PERSON,), sender=SENDER):
        """Return the items of an answer that must be 200."""
        answered = await self(endpoint, operation, to, sender)
        assert answered.status_code == 200
        return answered.json()["value"]


@pytest.fixture
async def http():
    async with httpx.AsyncClient() as client:
        yield client


@pytest.fixture
def call(http):
    return Caller(http)


@pytest.fixture
async def endpoint():
    async with Endpoint() as running:
        yield running


@pytest.fixture
def sample():
    def load(name):
        return json.loads((SAMPLES / name).read_bytes())

    return load
