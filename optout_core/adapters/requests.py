"""Calls ACS, and always comes back with an outcome for everybody it was asked about.

The only user of httpx. What an answer means is decided in `api`; here are time, order and number of the calls.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Protocol

import httpx
from circuitbreaker import STATE_HALF_OPEN, CircuitBreaker
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
    wait_random,
)

from optout_core.api import (
    MAX_ANSWER_BYTES,
    REQUEST_TARGET,
    Answer,
    Outcome,
    Verdict,
    read_answer,
    request_body,
)
from optout_core.batches import Batch, Pair
from optout_core.errors import BatchRejected, EndpointUnavailable, RequestError, RequestRefused
from optout_core.numbers import mask_text

#: Seconds. Short: while we wait here, the messages of the whole invocation wait with us.
_FIRST_WAIT = 0.2
_LONGEST_WAIT = 5.0

#: We read the bytes as they come, so that their number is what was sent and not what it unpacks to.
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}


class RequestTelemetry(Protocol):
    """Measures requests."""

    def request(self, recipients: int) -> AbstractContextManager[Callable[[int], None]]:
        """Measure one request; the block calls what it is given with the HTTP status of the answer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bound what the client does.

    Attributes:
        budget: Seconds after which `remove` returns, whatever is still open; above 0.
        timeout: Seconds for one request from connecting to the last byte; above 0.
        attempts: Tries of one request in place, at least 1.
        concurrency: Requests in flight, at least 1.
        breaker_failures: Failures in a row that open the breaker, at least 1.
        breaker_cooldown: Seconds until an open breaker lets a request through again; above 0.
    """

    budget: float
    timeout: float
    attempts: int
    concurrency: int
    breaker_failures: int
    breaker_cooldown: float


def open_http(endpoint: str, auth: httpx.Auth, limits: Limits) -> httpx.AsyncClient:
    """Open the one HTTP client of this process; it belongs to the event loop of its first request.

    Args:
        endpoint: Scheme and host of the ACS resource.
        auth: Proves who we are at every attempt.
        limits: As many connections are kept as may be used at once.
    """
    connections = httpx.Limits(
        max_connections=limits.concurrency, max_keepalive_connections=limits.concurrency, keepalive_expiry=60
    )
    # Plain http is for this machine only (settings.py), and no proxy of the environment leads here.
    through_proxies = endpoint.lower().startswith("https:")
    return httpx.AsyncClient(
        base_url=endpoint, auth=auth, limits=connections, timeout=limits.timeout, trust_env=through_proxies
    )


class OptOutsClient:
    """Removes recipients from the opt-out list of one ACS resource."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        limits: Limits,
        telemetry: RequestTelemetry,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._limits = limits
        self._telemetry = telemetry
        self._sleep = sleep
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._breaker = CircuitBreaker(
            limits.breaker_failures,
            limits.breaker_cooldown,
            expected_exception=EndpointUnavailable,
            name="acs",
        )
        self._probe = asyncio.Lock()
        self._not_before = 0.0

    @property
    def breaker_open(self) -> bool:
        """Say whether we have stopped calling ACS, and have had no answer since."""
        return not self._breaker.closed

    async def remove(self, batches: Sequence[Batch]) -> Mapping[Pair, Outcome]:
        """Ask for every batch, within the budget.

        Returns:
            An outcome for every recipient of every batch; what was not answered in time is `UNAVAILABLE`.
        """
        outcomes: dict[Pair, Outcome] = {}
        try:
            async with asyncio.timeout(self._limits.budget), asyncio.TaskGroup() as group:
                for batch in batches:
                    group.create_task(self._settle(batch, outcomes))
        except TimeoutError:
            late = Outcome(Verdict.UNAVAILABLE, "the invocation's time was up")
            return {Pair(batch.sender, to): late for batch in batches for to in batch.recipients} | outcomes
        return outcomes

    async def _settle(self, batch: Batch, outcomes: dict[Pair, Outcome]) -> None:
        try:
            answered = await self._ask_again(batch)
        except RequestError as error:
            if isinstance(error, BatchRejected) and len(batch) > 1:
                for half in batch.halves():
                    await self._settle(half, outcomes)
                return
            answered = dict.fromkeys(batch.recipients, Outcome.of_error(error))
        outcomes.update({Pair(batch.sender, to): outcome for to, outcome in answered.items()})

    async def _ask_again(self, batch: Batch) -> dict[str, Outcome]:
        body = request_body(batch)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(EndpointUnavailable),
            stop=self._give_up,
            wait=_wait,
            sleep=self._sleep,
            reraise=True,
        )
        return await retrying(self._ask, batch, body)

    async def _ask(self, batch: Batch, body: bytes) -> dict[str, Outcome]:
        async with self._slots:
            # After a cooldown one request looks whether ACS is back; the others wait for what it finds.
            async with self._probe:
                if self._breaker.state == STATE_HALF_OPEN:
                    return await self._call(batch, body)
            return await self._call(batch, body)

    async def _call(self, batch: Batch, body: bytes) -> dict[str, Outcome]:
        if self.breaker_open and (closed_for := self._closed_for()) > 0:
            raise EndpointUnavailable("the breaker is open", retry_after=closed_for)
        with self._telemetry.request(len(batch)) as answered, ExitStack() as breaker:
            breaker.push(self._breaker)
            try:
                answer = await self._exchange(body)
            except (asyncio.CancelledError, RequestRefused):
                # Our time was up, or we got no token: that says nothing of ACS, neither good nor bad.
                breaker.pop_all()
                raise
            answered(answer.status)
            try:
                return read_answer(batch, answer)
            except EndpointUnavailable as error:
                self._not_before = max(self._not_before, monotonic() + (error.retry_after or 0))
                raise

    def _closed_for(self) -> float:
        # An endpoint that asked for longer than our cooldown gets it: each request counts against its limit.
        cooldown: float = self._breaker.open_remaining
        return max(cooldown, self._not_before - monotonic())

    async def _exchange(self, body: bytes) -> Answer:
        try:
            async with asyncio.timeout(self._limits.timeout):
                return await self._post(body)
        except RequestError:
            raise
        except TimeoutError:
            raise EndpointUnavailable(f"no answer within {self._limits.timeout:g} s") from None
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            raise EndpointUnavailable(mask_text(f"{type(error).__name__}: {error}").removesuffix(": ")) from None
        except Exception as error:  # noqa: BLE001 - whatever a library raises, nobody goes without an outcome
            # Its text may quote a header, and with it a token or a signature.
            raise EndpointUnavailable(type(error).__name__) from None

    async def _post(self, body: bytes) -> Answer:
        async with self._http.stream("POST", REQUEST_TARGET, content=body, headers=_HEADERS) as response:
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise EndpointUnavailable("the answer is too long to be one", response.status_code)
            return Answer(response.status_code, response.headers, bytes(content), datetime.now(UTC))

    def _give_up(self, state: RetryCallState) -> bool:
        asked = _retry_after(state)
        bounds = stop_after_attempt(self._limits.attempts) | stop_before_delay(self._limits.budget / 2)
        return bool(self._breaker.opened) or asked > _LONGEST_WAIT or bounds(state)


def _wait(state: RetryCallState) -> float:
    backoff = wait_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT)
    return max(_retry_after(state), backoff(state)) + wait_random(0, _FIRST_WAIT)(state)


def _retry_after(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after or 0.0) if isinstance(error, EndpointUnavailable) else 0.0
