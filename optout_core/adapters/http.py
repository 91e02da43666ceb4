"""One POST to ACS. The only user of the HTTP library, whose errors become ours here."""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Self

from optout_core.adapters.network import Network
from optout_core.api import MAX_ANSWER_BYTES, Answer
from optout_core.errors import EndpointUnavailable, NotSent, RequestError
from optout_core.masking import show

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.client_proto import ResponseHandler

#: Gives the headers that prove who we are, for a target and a body.
Sign = Callable[[str, bytes], Awaitable[Mapping[str, str]]]

#: A compressed answer is read all the same.
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
#: Closing a connection discards what was not sent yet, so that a request we gave up cannot arrive later (SO_LINGER).
_ABORT = struct.pack("ii", 1, 0)


class HttpEndpoint:
    """The connections to one ACS resource, opened at the first request and again after they were closed."""

    def __init__(self, url: str, sign: Sign, *, timeout: float, environ: Mapping[str, str] = os.environ) -> None:
        """Take scheme and host, what signs a request, and the seconds for one; nothing is opened before the first.

        Raises:
            SettingsError: The environment names a proxy or certificates that cannot be used.
        """
        self._url = url
        self._sign = sign
        self._timeout = timeout
        self._network = Network.to(url, environ)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def post(self, target: str, body: bytes, deadline: float = inf) -> Answer:
        """Sign and send a request, and read the answer to its end; a request that fails takes its connection along.

        Args:
            target: Path and query.
            body: The request.
            deadline: On the monotonic clock; from then on it is not sent.

        Raises:
            NotSent: It was too late.
            EndpointUnavailable: There is no whole answer within the time, for whatever reason.
            RequestError: What `sign` raises.
        """
        # Imported late, as below: it is slow, and loading the function must not wait for it.
        import aiohttp

        try:
            async with asyncio.timeout(self._timeout):
                signature = await self._sign(target, body)
                _check_time(deadline)
                return await self._exchange(target, body, signature)
        except RequestError:
            raise
        except TimeoutError:
            raise EndpointUnavailable(f"no answer within {self._timeout:g} s") from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise EndpointUnavailable(show(f"{type(error).__name__}: {error}").removesuffix(": ")) from None
        except Exception as error:  # noqa: BLE001 - whatever a library raises, nobody goes without an outcome
            # Its text may quote a header, and with it a token or a signature.
            raise EndpointUnavailable(type(error).__name__) from None

    async def _exchange(self, target: str, body: bytes, signature: Mapping[str, str]) -> Answer:
        from yarl import URL

        url = URL(self._url + target, encoded=True)
        headers = {**_HEADERS, **signature}
        proxy = self._network.proxy
        async with self._open().post(url, data=body, headers=headers, proxy=proxy, allow_redirects=False) as response:
            content = b""
            while chunk := await response.content.readany():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise EndpointUnavailable("the answer is too long to be one", response.status)
            return Answer(
                status=response.status,
                headers=response.headers,
                body=content,
                received_at=datetime.now(UTC),
            )

    def _open(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import aiohttp

            # The library's own bounds are off: who calls bounds the requests in flight, and `post` the time of each.
            connector = aiohttp.TCPConnector(
                limit=0, keepalive_timeout=60, ssl=self._network.tls or True, socket_factory=_socket
            )
            # Over TLS what was not sent yet is still delivered while the library closes politely.
            connector._factory = partial(_aborting(), loop=asyncio.get_running_loop())  # noqa: SLF001 - no public way
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session


def _check_time(deadline: float) -> None:
    if monotonic() >= deadline:
        raise NotSent("not sent: the invocation's time was up")


def _aborting() -> "type[ResponseHandler]":
    from aiohttp.client_proto import ResponseHandler

    class Aborting(ResponseHandler):
        def close(self) -> None:
            self.abort()

    return Aborting


def _socket(address: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    return made


async def unsigned(target: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG001 - as `Sign` has it
    """Prove nothing, for a question to which a refusal is an answer."""
    return {}
