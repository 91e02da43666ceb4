"""How fast messages are sent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from aiolimiter import AsyncLimiter

Message = TypeVar("Message")

#: Messages of one burst at any rate: about what one transfer holds.
_MAX_BURST = 100


class Pace:
    """A rate limit.

    Attributes:
        burst: Messages that may be sent at once; at least 1.
    """

    def __init__(self, rate: float) -> None:
        """Take the messages a second, above 0."""
        self.burst = max(1, min(_MAX_BURST, int(rate)))
        self._limiter = AsyncLimiter(self.burst, self.burst / rate)

    async def wait(self, count: int, stop: asyncio.Event) -> None:
        """Return when `count` messages, at most `burst`, may be sent, or when `stop` is set."""
        waits = {asyncio.create_task(self._limiter.acquire(count)), asyncio.create_task(stop.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


async def send_at_pace(
    send: Callable[[Sequence[Message]], Awaitable[None]],
    outgoing: Sequence[Message],
    *,
    pace: Pace,
    stop: asyncio.Event,
) -> AsyncIterator[int]:
    """Send messages in bursts until all are sent or `stop` is set, and yield after each burst how many the broker has.

    Args:
        send: Sends a burst, and returns when the broker has it.
        outgoing: The messages.
        pace: How fast.
        stop: Ends the sending when it is set.

    Raises:
        OutOfReach: The broker did not take a burst.
    """
    sent = 0
    while sent < len(outgoing) and not stop.is_set():
        burst = outgoing[sent : sent + pace.burst]
        await pace.wait(len(burst), stop)
        if stop.is_set():
            return
        await send(burst)
        sent += len(burst)
        yield sent
