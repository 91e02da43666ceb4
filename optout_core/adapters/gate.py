"""Whether ACS is called: closed, open until a moment, or probing."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from time import monotonic

from optout_core.errors import NotSent

#: So many recipients refused alone in a row, without a word on who is to blame, are no bad numbers
#: (docs/design.md, "Outcomes").
REFUSED_TO_THE_LAST = 10
#: Seconds between the first failure in a row and the next request; doubled with each further failure.
FIRST_WAIT = 0.2
#: Seconds: nobody waits longer in place, since the messages of the whole invocation wait as well.
LONGEST_WAIT = 5.0


NOT_CALLED = "not sent: ACS is not called until it answers again"


class Gate:
    """What all requests of a process pass, and what their answers open and close.

    Closed: everybody passes. After a failure, until something is answered: requests go one after the other, with
    growing waits between. Open, once failures persist, ACS asked for time (`Retry-After`), or it refuses whomever it is
    asked about: nobody passes until a moment, then one request probes while the others wait for what it finds.
    """

    def __init__(
        self,
        *,
        failures: int,
        cooldown: float,
        now: Callable[[], float] = monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take the failures in a row that open the gate, at least 1, and the seconds it then stays open, above 0."""
        self._limit = failures
        self._cooldown = cooldown
        self._now = now
        self._sleep = sleep
        self._probing = asyncio.Lock()
        self._failures = 0
        self._failed_at = 0.0
        self._wait = FIRST_WAIT
        self._not_before = 0.0
        self._opened_at: float | None = None
        self._answered = float("-inf")
        self._refusals = 0
        self._accepted_at = float("-inf")

    @property
    def is_open(self) -> bool:
        """Say whether we have stopped sending, and have had no answer since."""
        return self._opened_at is not None

    @property
    def is_closed(self) -> bool:
        """Say whether nothing has failed since the last answer."""
        return not self._failures and not self.is_open

    @property
    def wait(self) -> float:
        """Give the seconds until a request may pass."""
        return 0.0 if self.is_closed else self._not_before - self._now()

    def answered_since(self, moment: float) -> bool:
        """Say whether a request that was sent after a moment was answered."""
        return self._answered > moment

    def passage(self, patience: float) -> AbstractAsyncContextManager[None]:
        """Let one request pass in the `async with` block, or wait until it may.

        Raises:
            NotSent: It may not within `patience` seconds.
        """
        return nullcontext() if self.is_closed else self._in_turn(patience)

    @asynccontextmanager
    async def _in_turn(self, patience: float) -> AsyncIterator[None]:
        async with self._probing:
            if not self.is_closed:
                await self._wait_in_place(patience)
                yield
                return
        yield

    def accepted(self, sent_at: float) -> None:
        """Note that a request, sent at that moment, did what it asked for."""
        self._refusals = 0
        self._accepted_at = self._now()
        self.answered(sent_at)

    def answered(self, sent_at: float) -> None:
        """Note that a request was answered: the gate closes, and what ACS asked for before is forgotten."""
        self._answered = max(self._answered, sent_at)
        if self._opened_at is None or sent_at >= self._opened_at:
            self._failures, self._not_before, self._wait, self._opened_at = 0, 0.0, FIRST_WAIT, None

    def refused(self, sent_at: float, recipients: int) -> bool:
        """Note that a request for so many recipients was refused without a word on who is to blame.

        Returns:
            Whether recipients asked alone were refused so often in a row that it is no fault of theirs.
        """
        if self.is_open:
            self.failed(sent_at)
        else:
            self.answered(sent_at)
        self._refusals += recipients == 1
        if recipients > 1 or self._refusals < REFUSED_TO_THE_LAST:
            return False
        if not self.is_open and self._now() - self._accepted_at > self._cooldown:
            self._open(self._cooldown)
        return True

    def failed(self, sent_at: float, retry_after: float | None = None) -> None:
        """Note that a request was not answered, or only with the wish that we wait for so many seconds."""
        now = self._now()
        if self._opened_at is not None and sent_at < self._opened_at and not retry_after:
            return
        # Many that fail at once may be a blip: one that was sent after the first failure has to fail as well.
        persists = sent_at >= self._failed_at if self._failures else self._limit == 1
        self._failed_at = self._failed_at if self._failures else now
        self._failures += 1
        if self.is_open or (persists and self._failures >= self._limit):
            self._open(max(self._cooldown, retry_after or 0))
        elif retry_after:
            self._open(retry_after)
        else:
            self._not_before = now + self._wait
            self._wait = min(self._wait * 2, LONGEST_WAIT) if persists else self._wait

    def _open(self, seconds: float) -> None:
        self._opened_at = self._now()
        self._not_before = max(self._not_before, self._opened_at + seconds)

    async def _wait_in_place(self, patience: float) -> None:
        wait = self.wait
        if wait > min(patience, LONGEST_WAIT):
            raise NotSent(NOT_CALLED, retry_after=wait)
        if wait > 0:
            # Other instances wait as well, and were told the same.
            await self._sleep(wait + random.uniform(0, FIRST_WAIT))  # noqa: S311 - no secret depends on it
