"""Asks ACS. What the answers mean is decided in `checks` and `findings`."""

from collections.abc import Iterable
from datetime import timedelta
from email.utils import parsedate_to_datetime

from optout_core.adapters.connections import Credentials, open_acs
from optout_core.adapters.http import HttpEndpoint, unsigned
from optout_core.api import request_body
from optout_core.batches import Batch, Pair, plan
from optout_core.errors import EndpointUnavailable, RequestError, RequestRefused
from optout_core.settings import Settings
from optout_ops.exits import OpsError, OutOfReach
from optout_ops.health.checks import CHECK_TARGET, Standing, read_standings


async def check(settings: Settings, sender: str, numbers: Iterable[str]) -> dict[str, Standing]:
    """Ask for each number whether it is on the opt-out list of a sender; changes nothing.

    Raises:
        OutOfReach: ACS does not answer, or does not let us.
        OpsError: ACS refuses the question.
    """
    standings: dict[str, Standing] = {}
    async with Credentials() as credentials, open_acs(settings, credentials) as acs:
        for batch in plan(Pair(sender, number) for number in numbers):
            standings |= await _check(acs, batch)
    return standings


async def clock_skew(settings: Settings) -> timedelta | None:
    """Give how far this machine's clock is ahead of ACS's, to the second; None when ACS does not say.

    Raises:
        OutOfReach: ACS does not answer.
    """
    timeout = settings.http_timeout.total_seconds()
    async with HttpEndpoint(settings.acs_endpoint, unsigned, timeout=timeout, connections=1) as acs:
        try:
            answer = await acs.post("/", b"")
        except EndpointUnavailable as error:
            raise OutOfReach(f"ACS does not answer ({error.detail}); check ACS_ENDPOINT and the network") from None
    try:
        said = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return None
    return answer.received_at.replace(microsecond=0) - said


async def _check(acs: HttpEndpoint, batch: Batch) -> dict[str, Standing]:
    try:
        answer = await acs.post(CHECK_TARGET, request_body(batch))
    except EndpointUnavailable as error:
        raise OutOfReach(
            f"ACS does not answer ({error.detail}); nothing is known of the numbers; check ACS_ENDPOINT and the"
            " network, then ask again"
        ) from None
    except RequestRefused as error:
        raise _refused(error) from None
    try:
        return read_standings(batch, answer)
    except RequestRefused as error:
        raise _refused(error) from None
    except RequestError as error:
        raise OpsError(f"ACS gave no answer about the numbers ({error}); nothing is known of them; ask again") from None


def _refused(error: RequestRefused) -> OutOfReach:
    return OutOfReach(
        f"ACS refuses us ({error}); nothing is known of the numbers; check ACS_ACCESS_KEY or the role, and that the"
        " sender belongs to this resource"
    )
