"""The ACS resource: one POST, the time on its clock, and whether it works."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from optout_core.adapters.connections import Credentials, open_acs
from optout_core.adapters.http import HttpEndpoint, unsigned
from optout_core.api import Answer, read_answer, request_body, request_target
from optout_core.batches import Batch, Operation
from optout_core.errors import EndpointUnavailable, RequestError, RequestRefused
from optout_core.numbers import Number, read_number
from optout_core.settings import Settings
from optout_ops.exits import OutOfReach
from optout_ops.health.check import Post
from optout_ops.health.findings import Finding, Health
from optout_ops.queues.waiting import Waiter

#: Nobody's, ever (https://nationalnanpa.com/number_resource_info/555_numbers.html).
_NOBODY = read_number("+12065550100")


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


async def try_out(settings: Settings, sender: Number) -> Finding:
    """Ask whether a number that nobody has is on the opt-out list of a sender, and say what that tells of ACS.

    Raises:
        OutOfReach: ACS does not answer.
    """
    batch = Batch(sender, (_NOBODY,))
    try:
        async with open_post(settings, Waiter()) as post:
            answer = await post(request_target(Operation.CHECK), request_body(batch))
    except RequestRefused as error:
        return Finding("acs", Health.UNKNOWN, f"it was not asked for anything: we get no token ({error})")
    health, text = _judge(settings, batch, answer)
    return Finding("acs", health, text)


def _judge(settings: Settings, batch: Batch, answer: Answer) -> tuple[Health, str]:
    if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        # With the key we are refused as the function is; as an operator we may have less rights than it.
        health = Health.UNKNOWN if settings.acs_access_key is None else Health.BAD
        return health, f"it refuses us (HTTP {answer.status}): check ACS_ACCESS_KEY, or the role"
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Health.BAD, f"it does not work: HTTP {answer.status} to a question about its list"
    if answer.status >= HTTPStatus.BAD_REQUEST:
        text = f"HTTP {answer.status} to a question about the list of {batch.sender}: is it a sender of this resource?"
        return Health.UNKNOWN, text
    try:
        outcome = read_answer(batch, answer)[_NOBODY]
    except RequestError as error:
        return Health.BAD, f"what it says to a question about its list cannot be read: {error}"
    if outcome.is_opted_out is None:
        return Health.BAD, f"it answers, and fails for a number that nobody has: {outcome}"
    return Health.GOOD, "it answers, also a question about its list"


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
