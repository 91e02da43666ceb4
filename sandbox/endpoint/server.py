"""The HTTP server around the opt-out list: aiohttp on 127.0.0.1, one handler, no access log.

Order of the checks: faults first, since the edge knows nothing of keys; then the credential, the path, the method, the
version, the body. ACS documents no order; that its version error shows an internal host name says that a gateway has
checked the credential before.
"""

import asyncio
import base64
import contextlib
import secrets
import ssl
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Self

from aiohttp import web

from sandbox.endpoint.answers import (
    Answer,
    api_version_unspecified,
    denied,
    invalid_api_version,
    unsupported_media_type,
)
from sandbox.endpoint.control import add_routes
from sandbox.endpoint.delivery import SUPPORTED_VERSIONS, send, spoil
from sandbox.endpoint.faults import Fault
from sandbox.endpoint.later import Later
from sandbox.endpoint.log import server_log
from sandbox.endpoint.memory import Request
from sandbox.endpoint.optouts import OPERATIONS, Call, answer_call, is_recipient, is_sender, read_call
from sandbox.endpoint.plan import FaultPlan
from sandbox.endpoint.signature import DENIED, decode_key, refusal, same
from sandbox.endpoint.texts import listed_by

_WITHOUT_ANSWER = {"reset", "close", "silence"}
_PATHS = {f"/sms/optouts:{operation}": operation for operation in OPERATIONS}


class Endpoint:
    """The ACS SMS opt-out endpoint, serving while the context is open.

    Args:
        access_key: base64, as in a connection string; None makes a random one.
        bearer_token: a token to accept instead of a signature, as Entra ID would issue; None accepts none.
        owned_senders: the `from` values of the account; None means any.
        faults: see `sandbox.endpoint.faults`.
        port: 0 takes a free one.
        tls: with a certificate for 127.0.0.1, for clients that send a token over HTTPS only; None serves HTTP.

    Raises:
        ValueError: `access_key` is not base64.
        OSError: on entering, when the port is taken.
    """

    def __init__(  # noqa: PLR0913 - each may be left out
        self,
        *,
        access_key: str | None = None,
        bearer_token: str | None = None,
        owned_senders: Collection[str] | None = None,
        faults: Iterable[Fault] = (),
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.access_key = base64.b64encode(secrets.token_bytes(64)).decode() if access_key is None else access_key
        self.bearer_token = bearer_token
        self.owned_senders = owned_senders
        self.opted_out: set[tuple[str, str]] = set()
        """The list: (sender, recipient) of each entry."""
        self.requests: list[Request] = []
        """Every request to the opt-out list, in the order in which they were answered."""
        self.observers: list[Callable[[Request], None]] = []
        """Called with every such request."""
        self.most_in_flight = 0
        """How many requests were in flight at the busiest moment."""
        self._key = decode_key(self.access_key)
        self._plan = FaultPlan(faults)
        self._later = Later()
        self._port = port
        self._tls = tls
        self._in_flight = 0
        app = web.Application()
        add_routes(app.router, self)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # An answer that a fault still holds back must not hold up the exit.
        self._runner = web.AppRunner(app, access_log=None, logger=server_log, shutdown_timeout=0.1)

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>` or `https://…`, without a slash at the end; the port is known once it is open."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults in force. Setting them starts their counts anew."""
        return self._plan.faults

    @faults.setter
    def faults(self, faults: Iterable[Fault]) -> None:
        self._plan = FaultPlan(faults)

    def text(self, message: str, *, person: str, sender: str) -> bool:
        """Let a person text a word to a sender, upon which ACS changes its list by itself.

        Args:
            message: one of `texts.STOP_WORDS` or `texts.START_WORDS`, or any other text, which changes nothing.
            person: E.164.
            sender: E.164 or a short code.

        Returns:
            Whether the person is on the sender's list now.

        Raises:
            ValueError: nobody has such a number, or nobody can text to such a sender.
        """
        if not is_recipient(person) or not is_sender(sender):
            raise ValueError("a text goes from an E.164 number to an E.164 number or a short code")
        if any(map(str.isalpha, sender)):
            raise ValueError("nobody can text to an alphanumeric sender, and ACS keeps no list for it")
        listed = listed_by(message)
        if listed is not None:
            self._change({(sender, person)}, listed=listed)
        return (sender, person) in self.opted_out

    def catch_up(self) -> None:
        """Let everything that still waits for its moment happen now, in order: late changes of the list, and texts."""
        self._later.catch_up()

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls).start()
        except BaseException:
            await self._runner.cleanup()
            raise
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._later.forget()
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            return await self._answer(request)
        finally:
            self._in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        at, arrived = datetime.now(UTC), asyncio.get_running_loop().time()
        body = await request.read()
        call = read_call(_PATHS.get(request.path), body)
        self._receive_texts(call, arrived)
        fault = self._plan.for_request(call.operation, call.sender, call.recipients)
        answer = None
        if fault is not None and fault.applied_after is not None:
            answer = self._carry_out(request, body, call, fault, arrived)
        if fault is not None and isinstance(fault.delay, float):
            await asyncio.sleep(fault.delay)
        if answer is None and (fault is None or fault.works or not fault.refuses):
            answer = self._carry_out(request, body, call, fault, arrived)
        answer = answer or Answer(200)
        if fault is not None:
            answer = spoil(answer, fault)
        seconds = (datetime.now(UTC) - at).total_seconds()
        status = None if fault is not None and fault.drop in _WITHOUT_ANSWER else answer.status
        answered = Request(call.operation, call.sender, call.recipients, status, at, seconds)
        self.requests.append(answered)
        for observe in self.observers:
            observe(answered)
        return await send(request, answer, fault, seconds)

    def _receive_texts(self, call: Call, arrived: float) -> None:
        for fault, person in self._plan.texts(call.operation, call.sender, call.recipients):
            text = partial(self._receive_text, fault.text or "", person, call.sender or "")
            self._later.at(arrived + fault.text_after, text)

    def _receive_text(self, message: str, person: str, sender: str) -> None:
        # What the call asks for may be no number: who has none cannot text.
        with contextlib.suppress(ValueError):
            self.text(message, person=person, sender=sender)

    def _carry_out(self, request: web.Request, body: bytes, call: Call, fault: Fault | None, arrived: float) -> Answer:
        """Answer truly, and change the list now or later, or never."""
        if denial := self._denial(request, body):
            return denied(denial)
        if misdirection := _misdirection(request, call):
            return misdirection
        answer, changes = answer_call(call, opted_out=self.opted_out, owned_senders=self.owned_senders, plan=self._plan)
        if fault is None or fault.works:
            late = (fault and fault.applied_after) or 0
            for after, people in changes.items():
                entries = {(call.sender or "", to) for to in people}
                change = partial(self._change, entries, listed=call.operation == "add")
                self._later.at(arrived + max(late, after), change)
        return answer

    def _change(self, entries: set[tuple[str, str]], *, listed: bool) -> None:
        if listed:
            self.opted_out |= entries
        else:
            self.opted_out -= entries

    def _denial(self, request: web.Request, body: bytes) -> str | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return None if self.bearer_token is not None and same(token, self.bearer_token) else DENIED
        return refusal(
            method=request.method,
            target=request.raw_path,
            headers=request.headers,
            body=body,
            key=self._key,
            now=datetime.now(UTC),
        )


def _misdirection(request: web.Request, call: Call) -> Answer | None:
    """Refuse what ACS would before it reads the body: path, method, version, media type."""
    if call.operation is None:
        return Answer(404)
    if request.method != "POST":
        return Answer(405, headers={"Allow": "POST"})
    version = request.query.get("api-version")
    if not version:
        return api_version_unspecified()
    if version not in SUPPORTED_VERSIONS:
        return invalid_api_version(request.path, version)
    return None if request.content_type == "application/json" else unsupported_media_type()
