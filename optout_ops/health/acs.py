"""The ACS resource over HTTP: one POST, and the time on its clock."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from optout_core.adapters.signing import EntraAuth, HmacAuth, entra_credential
from optout_core.api import Answer
from optout_core.settings import Settings
from optout_ops.exits import OutOfReach
from optout_ops.health.check import Post

_JSON = {"Content-Type": "application/json", "Accept": "application/json"}


@asynccontextmanager
async def open_post(settings: Settings) -> AsyncIterator[Post]:
    """Connect to ACS with the key or the identity of the settings, and give what sends a POST.

    Raises:
        OutOfReach: ACS does not answer a POST.
    """
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=settings.acs_endpoint,
                auth=await _auth(settings, stack),
                timeout=settings.http_timeout.total_seconds(),
            )
        )

        async def post(target: str, body: bytes) -> Answer:
            try:
                answer = await http.post(target, content=body, headers=_JSON)
            except httpx.HTTPError as error:
                raise OutOfReach(
                    f"ACS does not answer ({type(error).__name__}); nothing is known of the numbers; check ACS_ENDPOINT"
                    " and the network, then ask again"
                ) from None
            return Answer(
                status=answer.status_code, headers=answer.headers, body=answer.content, received_at=datetime.now(UTC)
            )

        yield post


async def clock_skew(settings: Settings) -> timedelta | None:
    """Give how far this machine's clock is ahead of ACS's, to the second; None when ACS does not say.

    Raises:
        OutOfReach: ACS does not answer.
    """
    async with httpx.AsyncClient(base_url=settings.acs_endpoint, timeout=settings.http_timeout.total_seconds()) as http:
        try:
            answer = await http.get("/")
        except httpx.HTTPError as error:
            raise OutOfReach(
                f"ACS does not answer ({type(error).__name__}); check ACS_ENDPOINT and the network"
            ) from None
    try:
        theirs = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return None
    return datetime.now(UTC).replace(microsecond=0) - theirs


async def _auth(settings: Settings, stack: AsyncExitStack) -> httpx.Auth:
    if settings.acs_access_key is not None:
        return HmacAuth(settings.acs_access_key)
    credential = entra_credential(settings.identity_client_id)
    stack.push_async_callback(credential.close)
    return EntraAuth(credential)
