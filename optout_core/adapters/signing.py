"""How a request proves who we are: a signature with the access key, or a token of Entra ID."""

import asyncio
import os
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256
from hmac import digest
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx

from optout_core.errors import EndpointUnavailable, RequestError, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential
    from pydantic import SecretStr

#: The double slash stands in the released SDK (azure-communication-sms 1.1.0, `_shared/auth_policy_utils.py`).
SCOPE = "https://communication.azure.com//.default"

#: Seconds before its end at which a token is renewed: what azure-core keeps
#: (azure-core 1.41, `core/pipeline/policies/_authentication.py`).
_RENEW_BEFORE = 300


def _utc_now() -> datetime:
    return datetime.now(UTC)


class HmacAuth(httpx.Auth):
    """Sign each attempt anew, over exactly the bytes that are sent.

    https://learn.microsoft.com/azure/communication-services/tutorials/hmac-header-tutorial
    """

    requires_request_body = True

    def __init__(self, access_key: "SecretStr", now: "Callable[[], datetime]" = _utc_now) -> None:
        self._key = access_key
        self._now = now

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add date, content hash and signature."""
        date = format_datetime(self._now(), usegmt=True)
        content_hash = _base64(sha256(request.content).digest())
        host, target = request.url.netloc.decode(), request.url.raw_path.decode()
        text = f"{request.method}\n{target}\n{date};{host};{content_hash}"
        signature = sign(self._key, text)
        request.headers.update(
            {
                "x-ms-date": date,
                "x-ms-content-sha256": content_hash,
                "Authorization": (
                    f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}"
                ),
            }
        )
        yield request


def sign(access_key: "SecretStr", text: str) -> str:
    """Give the base64 HMAC-SHA256 of a text under a base64 key."""
    return _base64(digest(b64decode(access_key.get_secret_value()), text.encode(), "sha256"))


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")


class EntraAuth(httpx.Auth):
    """Send a token of Entra ID, asked for once until it has to be renewed.

    Not every credential keeps its tokens: that of the Azure CLI starts a process for each.
    """

    def __init__(self, credential: "AsyncTokenCredential") -> None:
        self._credential = credential
        self._asking = asyncio.Lock()
        self._token: AccessToken | None = None
        self._asked = 0
        self._failure: RequestError | None = None

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the token.

        Raises:
            RequestRefused: The identity may not have a token.
            EndpointUnavailable: The service that gives tokens cannot be reached.
        """
        asked = self._asked
        async with self._asking:
            if self._token is None or self._token.expires_on - time.time() < _RENEW_BEFORE:
                if self._failure is not None and self._asked > asked:
                    # Somebody asked while we waited for our turn: the answer would be the same.
                    raise replace(self._failure)
                self._token = await self._ask()
            request.headers["Authorization"] = f"Bearer {self._token.token}"
        yield request

    async def _ask(self) -> "AccessToken":
        # Imported late: with an access key, as in the sandbox, nobody pays for it.
        from azure.core.exceptions import AzureError, ClientAuthenticationError  # noqa: PLC0415

        self._failure = None
        try:
            return await self._credential.get_token(SCOPE)
        except AzureError as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if isinstance(error, ClientAuthenticationError) and not _heals(status):
                self._failure = RequestRefused(
                    f"no Entra ID token for ACS ({type(error).__name__})", error_code="NoToken"
                )
            else:
                self._failure = EndpointUnavailable(f"Entra ID did not answer ({type(error).__name__})")
            raise self._failure from None
        finally:
            self._asked += 1


def _heals(status: int | None) -> bool:
    later = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    return status is not None and (status in later or status >= HTTPStatus.INTERNAL_SERVER_ERROR)


def entra_credential(client_id: str | None, environ: Mapping[str, str] = os.environ) -> "AsyncTokenCredential":
    """Make the one credential of this process: the managed identity on Azure, the developer's login elsewhere.

    Args:
        client_id: Of a user-assigned identity, or None.
        environ: The environment; the platform names its identity endpoint there.
    """
    from azure.core.pipeline.transport import AsyncioRequestsTransport  # noqa: PLC0415
    from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential  # noqa: PLC0415

    # Without a transport of its own azure.identity.aio wants aiohttp, which the function does not carry.
    transport = AsyncioRequestsTransport()
    if environ.get("IDENTITY_ENDPOINT"):
        # The default one tries many, and reports whatever happened to any of them as a refusal: an identity endpoint
        # that is down would look like a missing right (azure-identity 1.27, `aio/_credentials/chained.py`).
        return ManagedIdentityCredential(client_id=client_id, transport=transport)
    return DefaultAzureCredential(managed_identity_client_id=client_id, transport=transport)
