"""The headers that prove who we are: a signature with the access key, or a token of Entra ID."""

import asyncio
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from hashlib import sha256
from hmac import digest
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from optout_core.errors import EndpointUnavailable, RequestError, RequestRefused

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import AzureError
    from pydantic import SecretStr

#: The double slash stands in the released SDK (azure-communication-sms 1.1.0, `_shared/auth_policy_utils.py`).
SCOPE = "https://communication.azure.com//.default"

#: Seconds before its end at which a token is renewed: what azure-core keeps
#: (azure-core 1.41, `core/pipeline/policies/_authentication.py`).
_RENEW_BEFORE = 300

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def hmac_headers(  # noqa: PLR0913 - all that is signed, by name
    *, method: str, host: str, target: str, body: bytes, date: datetime, access_key: "SecretStr"
) -> dict[str, str]:
    """Sign a request with an access key.

    Source: https://learn.microsoft.com/azure/communication-services/tutorials/hmac-header-tutorial

    Args:
        method: Upper case, such as `POST`.
        host: As the `Host` header says it, with the port unless that is the default one.
        target: Path and query, as they are sent.
        body: The bytes that are sent.
        date: When it is sent; aware, in UTC.
        access_key: Base64, as the portal shows it.
    """
    stamp = _stamp(date.replace(microsecond=0))
    content_hash = _base64(sha256(body).digest())
    signature = sign(access_key, f"{method}\n{target}\n{stamp};{host};{content_hash}")
    return {
        "x-ms-date": stamp,
        "x-ms-content-sha256": content_hash,
        "Authorization": f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}",
    }


@lru_cache(maxsize=2)
def _stamp(second: datetime) -> str:
    # Many requests are sent in one second.
    return format_datetime(second, usegmt=True)


def sign(access_key: "SecretStr", text: str) -> str:
    """Give the base64 HMAC-SHA256 of a text under a base64 key."""
    return _base64(digest(b64decode(access_key.get_secret_value()), text.encode(), "sha256"))


def host_of(url: str) -> str:
    """Give the `Host` header that a client sends for an origin such as `https://name.communication.azure.com`."""
    parts = urlsplit(url)
    return parts.netloc.removesuffix(_DEFAULT_PORTS[parts.scheme])


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class HmacSigner:
    """The access key of an ACS resource; each request is signed anew, with the date at which it is sent."""

    def __init__(self, url: str, access_key: "SecretStr", now: Callable[[], datetime] = _utc_now) -> None:
        self._host = host_of(url)
        self._key = access_key
        self._now = now

    async def __call__(self, target: str, body: bytes) -> Mapping[str, str]:
        """Give the headers of a POST."""
        return hmac_headers(
            method="POST", host=self._host, target=target, body=body, date=self._now(), access_key=self._key
        )


class EntraSigner:
    """A token of Entra ID, asked for once until it has to be renewed.

    Not every credential keeps its tokens: that of the Azure CLI starts a process for each.
    """

    def __init__(self, credential: "AsyncTokenCredential") -> None:
        self._credential = credential
        self._asking = asyncio.Lock()
        self._token: AccessToken | None = None
        self._asked = 0
        self._failure: RequestError | None = None

    async def __call__(self, target: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - a token signs anything
        """Give the header with the token.

        Raises:
            RequestRefused: The identity may not have a token.
            EndpointUnavailable: The service that gives tokens cannot be reached.
        """
        asked = self._asked
        async with self._asking:
            if self._token is None or self._token.expires_on - time.time() < _RENEW_BEFORE:
                if self._failure is not None and self._asked > asked:
                    # Another request asked for a token while we waited for the lock, and failed: raise its error again.
                    raise replace(self._failure)
                self._token = await self._get_token()
            return {"Authorization": f"Bearer {self._token.token}"}

    async def _get_token(self) -> "AccessToken":
        # Imported late: with an access key, as in the sandbox, nobody pays for it.
        from azure.core.exceptions import AzureError

        self._failure = None
        try:
            return await self._credential.get_token(SCOPE)
        except AzureError as error:
            self._failure = _failure(error)
            raise self._failure from None
        finally:
            self._asked += 1


def _failure(error: "AzureError") -> RequestError:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import CredentialUnavailableError

    kind, status = type(error).__name__, getattr(getattr(error, "response", None), "status_code", None)
    if not isinstance(error, ClientAuthenticationError) or _heals(status):
        return EndpointUnavailable(f"Entra ID did not answer ({kind})")
    if isinstance(error, CredentialUnavailableError) and status is None:
        return EndpointUnavailable(f"no identity endpoint answered, so there is no token for ACS ({kind})")
    return RequestRefused(
        f"Entra ID gives our identity no token for ACS: a right is missing ({kind})", error_code="NoToken"
    )


def _heals(status: int | None) -> bool:
    later = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    return status is not None and (status in later or status >= HTTPStatus.INTERNAL_SERVER_ERROR)
