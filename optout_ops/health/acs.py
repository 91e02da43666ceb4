"""Asks ACS: the only user of httpx here. What the answers mean is decided in `checks` and `findings`."""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from optout_core.adapters.signing import EntraAuth, HmacAuth, entra_credential
from optout_core.api import Answer, request_body
from optout_core.batches import Batch, Pair, plan
from optout_core.errors import RequestError, RequestRefused
from optout_core.settings import Settings
from optout_ops.exits import OpsError, OutOfReach
from optout_ops.health.checks import CHECK_TARGET, Standing, read_standings

_JSON = {"Content-Type": "application/json", "Accept": "application/json"}


async def check(settings: Settings, sender: str, numbers: Iterable[str]) -> dict[str, Standing]:
    """Ask for each number whether it is on the opt-out list of a sender; changes nothing.

    Raises:
        OutOfReach: ACS does not answer, or does not let us.
        OpsError: ACS refuses the question.
    """
    standings: dict[str, Standing] = {}
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=settings.acs_endpoint,
                auth=await _auth(settings, stack),
                timeout=settings.http_timeout.total_seconds(),
            )
        )
        for batch in plan(Pair(sender, number) for number in numbers):
            standings |= await _check(http, batch)
    return standings


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
        said = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return None
    return datetime.now(UTC).replace(microsecond=0) - said


async def _check(http: httpx.AsyncClient, batch: Batch) -> dict[str, Standing]:
    try:
        answer = await http.post(CHECK_TARGET, content=request_body(batch), headers=_JSON)
        return read_standings(batch, Answer(answer.status_code, answer.headers, answer.content, datetime.now(UTC)))
    except httpx.HTTPError as error:
        raise OutOfReach(
            f"ACS does not answer ({type(error).__name__}); nothing is known of the numbers; check ACS_ENDPOINT and the"
            " network, then ask again"
        ) from None
    except RequestRefused as error:
        raise OutOfReach(
            f"ACS refuses us ({error}); nothing is known of the numbers; check ACS_ACCESS_KEY or the role, and that the"
            " sender belongs to this resource"
        ) from None
    except RequestError as error:
        raise OpsError(f"ACS gave no answer about the numbers ({error}); nothing is known of them; ask again") from None


async def _auth(settings: Settings, stack: AsyncExitStack) -> httpx.Auth:
    if settings.acs_access_key is not None:
        return HmacAuth(settings.acs_access_key)
    credential = entra_credential(settings.identity_client_id)
    stack.push_async_callback(credential.close)
    return EntraAuth(credential)
