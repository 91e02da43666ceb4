"""The HTTP server around the opt-out list: aiohttp on 127.0.0.1, one handler, no access log.

Order of the checks: faults first, since the edge knows nothing of keys; then the credential, the path, the method, the
version, the body. ACS documents no order; that its version error shows an internal host name says that a gateway has
checked the credential before.
"""

import asyncio
import base64
import secrets
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from aiohttp import web

from sandbox.endpoint import answers, optouts
from sandbox.endpoint.answers import JSON, Answer
from sandbox.endpoint.delivery import SUPPORTED_VERSIONS, send, spoil
from sandbox.endpoint.faults import Fault, FaultPlan, dump_faults, parse_faults
from sandbox.endpoint.memory import Request
from sandbox.endpoint.optouts import Call
from sandbox.endpoint.signature import DENIED, decode_key, refusal, same

_PATHS = {f"/sms/optouts:{operation}": operation for operation in optouts.OPERATIONS}


class Endpoint:
    """The ACS SMS opt-out endpoint, serving while the context is open.

    Args:
        access_key: base64, as in a connection string; None makes a random one.
        bearer_token: a token to accept instead of a signature, as Entra ID would issue; None accepts none.
        owned_senders: the `from` values of the account; None means any.
        faults: see `sandbox.endpoint.faults`.
        port: 0 takes a free one.

    Raises:
        ValueError: `access_key` is not base64.
        OSError: on entering, when the port is taken.
    """

    def __init__(
        self,
        *,
        access_key: str | None = None,
        bearer_token: str | None = None,
        owned_senders: Collection[str] | None = None,
        faults: Iterable[Fault] = (),
        port: int = 0,
    ) -> None:
        self.access_key = base64.b64encode(secrets.token_bytes(64)).decode() if access_key is None else access_key
        self.bearer_token = bearer_token
        self.owned_senders = owned_senders
        self.opted_out: set[tuple[str, str]] = set()
        """The list: (sender, recipient) of each entry."""
        self.requests: list[Request] = []
        """Every request to the opt-out list, in the order in which they were answered."""
        self.most_in_flight = 0
        """How many requests were in flight at the busiest moment."""
        self._key = decode_key(self.access_key)
        self._plan = FaultPlan(faults)
        self._port = port
        self._in_flight = 0
        app = web.Application()
        app.router.add_get("/sandbox/faults", self._get_faults)
        app.router.add_put("/sandbox/faults", self._put_faults)
        app.router.add_delete("/sandbox/faults", self._delete_faults)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # An answer that a fault still holds back must not hold up the exit.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`, without a slash at the end; the port is known once the context is open."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults in force. Setting them starts their counts anew."""
        return self._plan.faults

    @faults.setter
    def faults(self, faults: Iterable[Fault]) -> None:
        self._plan = FaultPlan(faults)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        except BaseException:
            await self._runner.cleanup()
            raise
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            return await self._answer(request)
        finally:
            self._in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        at = datetime.now(UTC)
        body = await request.read()
        call = optouts.read(_PATHS.get(request.path), body)
        fault = self._plan.for_request(call.operation, call.sender, call.recipients)
        if fault is not None and fault.delay:
            await asyncio.sleep(fault.delay)
        answer = Answer(200)
        if fault is None or fault.applied or not fault.refuses:
            answer = self._true_answer(request, body, call)
        if fault is not None:
            answer = spoil(answer, fault)
        seconds = (datetime.now(UTC) - at).total_seconds()
        status = None if fault is not None and fault.drop in {"reset", "close"} else answer.status
        self.requests.append(Request(call.operation, call.sender, call.recipients, status, at, seconds))
        return await send(request, answer, fault, seconds)

    def _true_answer(self, request: web.Request, body: bytes, call: Call) -> Answer:
        if denial := self._denial(request, body):
            return answers.denied(denial)
        return _misdirection(request, call) or optouts.answer(
            call, opted_out=self.opted_out, owned_senders=self.owned_senders, plan=self._plan
        )

    def _denial(self, request: web.Request, body: bytes) -> str | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer":
            return None if self.bearer_token is not None and same(token, self.bearer_token) else DENIED
        return refusal(
            method=request.method,
            target=request.raw_path,
            headers=request.headers,
            body=body,
            key=self._key,
            now=datetime.now(UTC),
        )

    async def _get_faults(self, _request: web.Request) -> web.Response:
        return web.Response(body=dump_faults(self.faults), headers={"Content-Type": JSON})

    async def _put_faults(self, request: web.Request) -> web.Response:
        try:
            self.faults = parse_faults(await request.read())
        except ValueError as refused:
            return web.Response(status=400, text=f"{refused}. Nothing was changed.\n")
        return await self._get_faults(request)

    async def _delete_faults(self, _request: web.Request) -> web.Response:
        self.faults = ()
        return web.Response(status=204)


def _misdirection(request: web.Request, call: Call) -> Answer | None:
    """Refuse what ACS would before it reads the body: path, method, version, media type."""
    if call.operation is None:
        return Answer(404)
    if request.method != "POST":
        return Answer(405, headers={"Allow": "POST"})
    version = request.query.get("api-version")
    if not version:
        return answers.api_version_unspecified()
    if version not in SUPPORTED_VERSIONS:
        return answers.invalid_api_version(request.path, version)
    return None if request.content_type == "application/json" else answers.unsupported_media_type()
