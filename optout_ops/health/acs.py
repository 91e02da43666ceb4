"""The ACS resource: one POST, and the time on its clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime

from optout_core.adapters.connections import Credentials, open_acs
from optout_core.adapters.http import HttpEndpoint, unsigned
from optout_core.api import Answer
from optout_core.errors import EndpointUnavailable
from optout_core.settings import Settings
from optout_ops.exits import OutOfReach
from optout_ops.health.check import Post
from optout_ops.queues.waiting import Waiter


@asynccontextmanager
async def open_post(settings: Settings, wait: Waiter) -> AsyncIterator[Post]:
    """Connect to ACS with the key or the identity of the settings, and give what sends a POST.

    Args:
        settings: They name the resource, and how it is reached.
        wait: Waits for its answers.

    Raises:
        OutOfReach: ACS does not answer a POST.
        RequestRefused: The identity gets no token.
    """
    async with Credentials() as credentials, open_acs(settings, credentials) as acs:

        async def post(target: str, body: bytes) -> Answer:
            try:
                return await wait(acs.post(target, body), "ACS to answer")
            except (EndpointUnavailable, TimeoutError) as error:
                detail = getattr(error, "detail", error)
                raise OutOfReach(
                    f"ACS does not answer ({detail}); nothing is known of the numbers; check ACS_ENDPOINT"
                    " and the network, then ask again"
                ) from None

        yield post


async def clock_skew(settings: Settings) -> timedelta | None:
    """Give how far this machine's clock is ahead of ACS's, to the second; None when ACS does not say.

    Raises:
        OutOfReach: ACS does not answer.
    """
    timeout = settings.http_timeout.total_seconds()
    async with HttpEndpoint(settings.acs_endpoint, unsigned, timeout=timeout) as acs:
        try:
            answer = await acs.post("/", b"")
        except EndpointUnavailable as error:
            raise OutOfReach(f"ACS does not answer ({error.detail}); check ACS_ENDPOINT and the network") from None
    try:
        theirs = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return None
    return answer.received_at.replace(microsecond=0) - theirs
