"""Removes recipients from the opt-out list over any POST, and gives an outcome for everybody it was asked about.

What an answer means is decided in `api`; here are time, order and number of the requests.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from time import monotonic
from typing import Protocol, Self

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

from optout_core.api import REQUEST_TARGET, Answer, Outcome, Verdict, read_answer, request_body
from optout_core.batches import Batch, Pair
from optout_core.errors import BatchRejected, EndpointUnavailable, RequestError, RequestRefused
from optout_core.numbers import Number
from optout_core.settings import Settings

#: Seconds. Short: while we wait here, the messages of the whole invocation wait with us.
_FIRST_WAIT = 0.2
_LONGEST_WAIT = 5.0

#: Sends one request to ACS: a target and a body become an answer, or raise `RequestError`.
Post = Callable[[str, bytes], Awaitable[Answer]]


class RequestTelemetry(Protocol):
    """Measures requests."""

    def request(self, recipients: int) -> AbstractContextManager[Callable[[int], None]]:
        """Measure one request; the block calls what it is given with the HTTP status of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of what the client does.

    Attributes:
        budget: Seconds after which `remove` returns, whatever is still open; above 0.
        attempts: Tries of one request in place, at least 1.
        concurrency: Requests in flight, at least 1.
        breaker_failures: Failures in a row that open the breaker, at least 1.
        breaker_cooldown: Seconds until an open breaker lets a request through again; above 0.
    """

    budget: float
    attempts: int
    concurrency: int
    breaker_failures: int
    breaker_cooldown: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take the bounds from the settings."""
        return cls(
            budget=settings.invocation_budget.total_seconds(),
            attempts=settings.http_attempts,
            concurrency=settings.max_concurrent_requests,
            breaker_failures=settings.breaker_failures,
            breaker_cooldown=settings.breaker_cooldown.total_seconds(),
        )


class OptOutsClient:
    """Removes recipients from the opt-out list of one ACS resource."""

    def __init__(
        self,
        post: Post,
        limits: Limits,
        telemetry: RequestTelemetry,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._post = post
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
                    group.create_task(self._remove_splitting(batch, outcomes))
        except TimeoutError:
            late = Outcome(Verdict.UNAVAILABLE, "the invocation's time was up")
            return {Pair(batch.sender, to): late for batch in batches for to in batch.recipients} | outcomes
        return outcomes

    async def _remove_splitting(self, batch: Batch, outcomes: dict[Pair, Outcome]) -> None:
        try:
            answered = await self._remove_retrying(batch)
        except RequestError as error:
            if isinstance(error, BatchRejected) and len(batch) > 1:
                for half in batch.halves():
                    await self._remove_splitting(half, outcomes)
                return
            answered = dict.fromkeys(batch.recipients, Outcome.of_error(error))
        outcomes.update({Pair(batch.sender, to): outcome for to, outcome in answered.items()})

    async def _remove_retrying(self, batch: Batch) -> dict[Number, Outcome]:
        body = request_body(batch)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(EndpointUnavailable),
            stop=self._give_up,
            wait=_wait,
            sleep=self._sleep,
            reraise=True,
        )
        return await retrying(self._remove_in_turn, batch, body)

    async def _remove_in_turn(self, batch: Batch, body: bytes) -> dict[Number, Outcome]:
        async with self._slots:
            # After a cooldown one request looks whether ACS is back; the others wait for what it finds.
            async with self._probe:
                if self._breaker.state == STATE_HALF_OPEN:
                    return await self._remove_once(batch, body)
            return await self._remove_once(batch, body)

    async def _remove_once(self, batch: Batch, body: bytes) -> dict[Number, Outcome]:
        if self.breaker_open and (closed_for := self._closed_for()) > 0:
            raise EndpointUnavailable("the breaker is open", retry_after=closed_for)
        with self._telemetry.request(len(batch)) as answered, ExitStack() as breaker:
            breaker.push(self._breaker)
            try:
                answer = await self._post(REQUEST_TARGET, body)
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
