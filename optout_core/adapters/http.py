"""One POST to ACS. The only user of the HTTP library, whose errors become ours here."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Self

import httpx

from optout_core.api import MAX_ANSWER_BYTES, Answer
from optout_core.errors import EndpointUnavailable, RequestError
from optout_core.masking import show

#: Gives the headers that prove who we are, for a target and a body.
Sign = Callable[[str, bytes], Awaitable[Mapping[str, str]]]

#: `identity` turns compression off, so that MAX_ANSWER_BYTES bounds what we hold in memory.
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}


class HttpEndpoint:
    """The connections to one ACS resource; they belong to the event loop of the first request."""

    def __init__(self, url: str, sign: Sign, *, timeout: float, connections: int) -> None:
        """Take scheme and host, what signs a request, the seconds for one, and how many may be in flight."""
        self._sign = sign
        self._timeout = timeout
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=60)
        # Plain http is for this machine only (settings.py), and no proxy of the environment leads here.
        through_proxies = url.lower().startswith("https:")
        self._client = httpx.AsyncClient(base_url=url, limits=limits, timeout=None, trust_env=through_proxies)  # noqa: S113 - ours

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def post(self, target: str, body: bytes) -> Answer:
        """Sign and send a request, and read the answer to its end.

        Raises:
            EndpointUnavailable: There is no whole answer within the time, for whatever reason.
            RequestError: What `sign` raises.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(target, body, await self._sign(target, body))
        except RequestError:
            raise
        except TimeoutError:
            raise EndpointUnavailable(f"no answer within {self._timeout:g} s") from None
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            raise EndpointUnavailable(show(f"{type(error).__name__}: {error}").removesuffix(": ")) from None
        except Exception as error:  # noqa: BLE001 - whatever a library raises, nobody goes without an outcome
            # Its text may quote a header, and with it a token or a signature.
            raise EndpointUnavailable(type(error).__name__) from None

    async def _exchange(self, target: str, body: bytes, signature: Mapping[str, str]) -> Answer:
        headers = {**_HEADERS, **signature}
        async with self._client.stream("POST", target, content=body, headers=headers) as response:
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise EndpointUnavailable("the answer is too long to be one", response.status_code)
            return Answer(response.status_code, response.headers, bytes(content), datetime.now(UTC))


async def unsigned(target: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG001 - as `Sign` has it
    """Prove nothing, for a question to which a refusal is an answer."""
    return {}
