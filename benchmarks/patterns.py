"""What the function is compared with: the floor below which nobody gets, and two usual ways to write the like."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import aiohttp
import httpx
from pydantic import SecretStr

from benchmarks.endpoint import ACCESS_KEY
from benchmarks.workloads import SENDER
from optout_core.adapters.signing import hmac_headers, host_of
from optout_core.api import request_target
from optout_core.batches import Operation

#: Requests in flight, as many as ours has unless MAX_CONCURRENT_REQUESTS says otherwise.
IN_FLIGHT = 16
_KEY = SecretStr(ACCESS_KEY)
_CONTENT_TYPE = {"Content-Type": "application/json"}

#: A request that only has to be sent: body and headers.
Ready = tuple[bytes, dict[str, str]]

TARGET = request_target(Operation.REMOVE)


def ready(url: str, people: Sequence[str], recipients: int = 100) -> list[Ready]:
    """Write and sign requests for so many recipients each."""
    requests = (people[start : start + recipients] for start in range(0, len(people), recipients))
    bodies = (json.dumps({"from": SENDER, "recipients": [{"to": to} for to in each]}).encode() for each in requests)
    return [(body, signed(url, body)) for body in bodies]


def signed(url: str, body: bytes) -> dict[str, str]:
    """Give the headers of a request."""
    return _CONTENT_TYPE | hmac_headers(
        method="POST",
        host=host_of(url),
        target=TARGET,
        body=body,
        date=datetime.now(UTC),
        access_key=_KEY,
    )


async def floor(session: aiohttp.ClientSession, url: str, requests: Iterable[Ready]) -> None:
    """Send ready requests, 16 at once, and read the answers; nothing else."""
    waiting = iter(requests)

    async def send_each() -> None:
        for body, headers in waiting:
            async with session.post(url + TARGET, data=body, headers=headers) as response:
                await response.read()

    await asyncio.gather(*(send_each() for _ in range(IN_FLIGHT)))


async def new_client_per_message(url: str, bodies: Iterable[bytes]) -> None:
    """Make a client and a request for each message, 16 at once: the pattern of many samples."""
    places = asyncio.Semaphore(IN_FLIGHT)

    async def send(body: bytes) -> None:
        async with places, httpx.AsyncClient(timeout=None) as client:  # noqa: S113 - none may be given up
            await _post(client, url, body)

    await asyncio.gather(*map(send, bodies))


async def shared_client(client: httpx.AsyncClient, url: str, bodies: Iterable[bytes]) -> None:
    """Send a request for each message over one client, all that its pool lets pass at once."""
    await asyncio.gather(*(_post(client, url, body) for body in bodies))


async def _post(client: httpx.AsyncClient, url: str, event: bytes) -> None:
    request: Mapping[str, object] = json.loads(event)["data"]
    body = json.dumps({name: request[name] for name in ("from", "recipients")}).encode()
    response = await client.post(url + TARGET, content=body, headers=signed(url, body))
    response.raise_for_status()
    if not all(item["httpStatusCode"] == httpx.codes.OK for item in response.json()["value"]):
        raise RuntimeError("not everybody was removed: these numbers mean nothing")


def in_batches(messages: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """Cut messages as the trigger hands them over."""
    return (messages[start : start + size] for start in range(0, len(messages), size))
