"""Calls ACS about recipients over any POST, and gives an outcome for everybody it was asked about.

What an answer means is decided in `api`, whether ACS is called in `gate`, and who is to blame in `splitting`;
here are time, order and number of the requests.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Protocol, Self

from optout_core.adapters.gate import LONGEST_WAIT, NOT_CALLED, Gate
from optout_core.adapters.splitting import Choose, Evidence, Splitting
from optout_core.api import Answer, read_answer, request_body, request_target
from optout_core.batches import Batch, Operation
from optout_core.errors import BatchRejected, EndpointUnavailable, NotSent, RequestError, RequestRefused
from optout_core.numbers import Number
from optout_core.outcomes import Outcome, Outcomes, Verdict
from optout_core.settings import Settings

#: Sends one request to ACS: a target, a body, and the moment from which on it is not sent any more (monotonic clock)
#: become an answer, or raise `RequestError`.
Post = Callable[[str, bytes, float], Awaitable[Answer]]


_LATE = Outcome(Verdict.UNAVAILABLE, "the invocation's time was up")


class RequestTelemetry(Protocol):
    """Measures requests."""

    def request(self, operation: Operation, recipients: int) -> AbstractContextManager[Callable[[int], None]]:
        """Measure one request; the block calls what it is given with the HTTP status of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of what the client does.

    Attributes:
        concurrency: Requests in flight, at least 1.
        failures: Failures in a row after which ACS is not called, at least 1.
        cooldown: Seconds until one request then tries again; above 0.
    """

    concurrency: int
    failures: int
    cooldown: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take the bounds from the settings."""
        return cls(
            concurrency=settings.max_concurrent_requests,
            failures=settings.breaker_failures,
            cooldown=settings.breaker_cooldown.total_seconds(),
        )


class OptOutsClient:
    """Calls one ACS resource about its opt-out list."""

    def __init__(
        self,
        post: Post,
        limits: Limits,
        telemetry: RequestTelemetry,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        choose: Choose = random.sample,
    ) -> None:
        self.limits = limits
        self.choose = choose
        self._post = post
        self._telemetry = telemetry
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._gate = Gate(failures=limits.failures, cooldown=limits.cooldown, sleep=sleep)
        self.evidence = Evidence(self._gate)

    @property
    def gate_is_open(self) -> bool:
        """Say whether we have stopped calling ACS, and have had no answer since."""
        return self._gate.is_open

    def refusal(self, deadline: float) -> Outcome | None:
        """Give the outcome of everybody while nobody would be asked, or None: asking is worth a try.

        Args:
            deadline: On the monotonic clock.
        """
        if monotonic() >= deadline:
            return _LATE
        wait = self._gate.wait
        return Outcome.of_error(NotSent(NOT_CALLED, retry_after=wait)) if wait > LONGEST_WAIT else None

    async def call(self, batches: Sequence[Batch], deadline: float) -> Outcomes:
        """Ask for every batch until the deadline.

        Args:
            batches: What to ask, in the order in which it matters; no recipient twice.
            deadline: On the monotonic clock; from then on nothing is sent, and what is still open is given up.

        Returns:
            An outcome for every recipient of every batch; what was not answered in time is `UNAVAILABLE`.
        """
        call = _Call(self, batches, deadline)
        seconds = deadline - monotonic()
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await call.run()
        return call.outcomes()

    async def request_in_turn(self, batch: Batch, *, deadline: float, is_suspect: bool) -> dict[Number, Outcome]:
        """Send a request when there is a place for it and the gate lets it pass.

        Raises:
            NotSent: The gate does not let it pass before the deadline.
            RequestError: As `optout_core.api.read_answer` does.
        """
        async with self._slots, self._gate.passage(deadline - monotonic()):
            return await self._request_once(batch, deadline=deadline, is_suspect=is_suspect)

    async def _request_once(self, batch: Batch, *, deadline: float, is_suspect: bool) -> dict[Number, Outcome]:
        sent_at = monotonic()
        with self._telemetry.request(batch.operation, len(batch)) as measure:
            try:
                answer = await self._post(request_target(batch.operation), request_body(batch), deadline)
                measure(answer.status)
                outcomes = read_answer(batch, answer)
            except NotSent:
                raise
            except EndpointUnavailable as error:
                if not is_suspect or self._gate.is_open or error.retry_after:
                    self._gate.failed(sent_at, error.retry_after)
                raise
            except BatchRejected as error:
                if self._gate.refused(sent_at, len(batch)):
                    raise RequestRefused(
                        error.detail, error.status, error_code=error.error_code, ms_cv=error.ms_cv
                    ) from None
                raise
            except RequestError as error:
                # Without a status there was no token, which says nothing of ACS.
                if error.status is not None:
                    self._gate.answered(sent_at)
                raise
        if any(outcome.verdict is not Verdict.FAILED for outcome in outcomes.values()):
            self._gate.accepted(sent_at)
        elif not is_suspect and not self._gate.is_closed:
            # A single item that fails is no sign that ACS is back.
            self._gate.failed(sent_at)
        return outcomes


class _Call:
    """One invocation's call: each batch is asked for once, and beside that those that failed are split."""

    def __init__(self, client: OptOutsClient, batches: Sequence[Batch], deadline: float) -> None:
        self._client = client
        self._batches = batches
        # STOPs first; then, the fewer recipients a batch has, the more its answer says of ACS.
        self._waiting = iter(sorted(batches, key=lambda batch: (batch.operation is not Operation.ADD, len(batch))))
        self._deadline = deadline
        self._known: defaultdict[Number, dict[Number, Outcome]] = defaultdict(dict)
        # Half of the requests in flight, and as many batches of one sender, so that others get their turn.
        half = max(1, client.limits.concurrency // 2)
        self._places = asyncio.Semaphore(half)
        self._turns: defaultdict[Number, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(half))

    async def run(self) -> None:
        """Ask for all, as many at once as the limits allow."""
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._client.limits.concurrency, len(self._batches))):
                group.create_task(self._ask_each(group))

    def outcomes(self) -> Outcomes:
        """Give the outcome of everybody, at any time."""
        if sum(map(len, self._known.values())) < sum(map(len, self._batches)):
            for batch in self._batches:
                known = self._known[batch.sender]
                known |= dict.fromkeys(batch.recipients, _LATE) | known
        return self._known

    async def _ask_each(self, group: asyncio.TaskGroup) -> None:
        for batch in self._waiting:
            if len(batch) > 1 and self._client.gate_is_open:
                probe = batch.only(self._client.choose(batch.recipients, 1))
                await self._ask_for(probe)
                await self._ask_for(batch.without(probe.recipients), group)
            else:
                await self._ask_for(batch, group)

    async def _ask_for(self, batch: Batch, group: asyncio.TaskGroup | None = None) -> None:
        try:
            self._record(batch, await self._ask(batch, is_suspect=batch.alone))
        except RequestError as error:
            splitting = Splitting(batch, error, self._ask_beside, self._client.evidence, self._client.choose)
            self._record(batch, splitting.outcomes)
            if group and not splitting.is_over:
                group.create_task(self._split(batch, splitting))

    async def _split(self, batch: Batch, splitting: Splitting) -> None:
        try:
            async with self._turns[batch.sender]:
                await splitting.run()
        finally:
            self._record(batch, splitting.outcomes)

    async def _ask_beside(self, batch: Batch, *, is_suspect: bool) -> dict[Number, Outcome]:
        async with self._places:
            return await self._ask(batch, is_suspect=is_suspect)

    async def _ask(self, batch: Batch, *, is_suspect: bool) -> dict[Number, Outcome]:
        return await self._client.request_in_turn(batch, deadline=self._deadline, is_suspect=is_suspect)

    def _record(self, batch: Batch, outcomes: Mapping[Number, Outcome]) -> None:
        self._known[batch.sender].update(outcomes)
