"""Waiting for the namespace: never for ever, and never in silence."""

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from typing import TypeVar

#: Seconds for an answer of the namespace; without a limit the SDK waits for ever.
ANSWER = 30.0
#: Seconds of silence after which an operator is told what is waited for.
SILENCE = 5.0
#: Seconds between two tries to cancel a call, and how many there are: before Python 3.12 asyncio.wait_for, by which the
#: SDK waits, can swallow a cancellation.
_CANCEL_AGAIN, _CANCELLATIONS = 0.2, 5

T = TypeVar("T")


def _tell_nobody(_text: str) -> None:
    pass


class Waiter:
    """Awaits answers of the namespace within limits, and says what it waits for when that takes long.

    Args:
        say: Is given a line for the operator.
        silence: Seconds after which it says something.
        at_most: Seconds that anything may take.
    """

    def __init__(
        self, say: Callable[[str], None] = _tell_nobody, *, silence: float = SILENCE, at_most: float = inf
    ) -> None:
        self.say = say
        self._silence = silence
        self._at_most = at_most
        self._said_at = 0.0

    async def __call__(self, answer: Awaitable[T], what: str, limit: float = ANSWER) -> T:
        """Give the answer.

        Args:
            answer: The call, not yet begun.
            what: What it waits for, such as `the queue 'opt-ins' to be read`.
            limit: Seconds that it may take.

        Raises:
            TimeoutError: There was none within the limit; the call was cancelled.
        """
        task = asyncio.ensure_future(answer)
        # What it ends with after it was cancelled is nobody's business.
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        waited, limit = 0.0, min(limit, self._at_most)
        try:
            while waited < limit:
                step = min(self._silence, limit - waited)
                if (await asyncio.wait({task}, timeout=step))[0]:
                    return task.result()
                waited += step
                if waited < limit:
                    self.say(f"Waiting for {what}: {waited:.0f} s so far, {limit:.0f} s at most.")
            raise TimeoutError(f"no answer within {limit:.0f} s")
        finally:
            for _ in range(_CANCELLATIONS):
                if task.done():
                    break
                task.cancel()
                await asyncio.wait({task}, timeout=_CANCEL_AGAIN)

    def begin(self) -> None:
        """Begin something that takes many calls, each of them short."""
        self._said_at = asyncio.get_running_loop().time()

    def went_on(self, what: str) -> None:
        """Say how far that is, when nothing was said for a while."""
        now = asyncio.get_running_loop().time()
        if now - self._said_at >= self._silence:
            self._said_at = now
            self.say(what)
