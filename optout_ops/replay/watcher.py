"""Looks into both queues for what became of a replay, without a server and without locking anything."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Protocol

from optout_core import arrivals
from optout_core.messages import Queue
from optout_ops.letters.dead_letters import REPLAY_OF, QueueMessage, read_dead_letter
from optout_ops.replay.tally import Tally, weight_of

#: Seconds between two looks: the first ones follow quickly, since a working function needs no longer.
_FIRST_INTERVAL = 0.2
_LONGEST_INTERVAL = 2.0


class Looks(Protocol):
    """Peeks into the queues."""

    def peek(self, queue: Queue, start: int = 1) -> AsyncIterator[QueueMessage]:
        """Yield the messages from a number on."""

    async def tail(self, queue: Queue) -> int:
        """Give the number behind which a queue is empty."""


class ReplayWatcher:
    """Follow one replay while it runs, reading only what arrived since it began."""

    def __init__(
        self, queues: Looks, replay_id: str, *, patience: float, stop: asyncio.Event, say: Callable[[Tally], None]
    ) -> None:
        """Take the queues, the replay, and the seconds after which to wait no longer for first tries."""
        self._queues = queues
        self._replay_id = replay_id
        self._patience = patience
        self._stop = stop
        self._say = say
        self._begun = {Queue.OPT_INS: 1, Queue.DEAD_LETTERS: 1}
        self._seen = dict(self._begun)
        self._failed: dict[str, int] = {}
        self._tally = Tally(replay_id)

    async def begin(self) -> None:
        """Mark the ends of the queues: nothing of this replay lies before them."""
        self._begun = {queue: await self._queues.tail(queue) + 1 for queue in Queue}
        self._seen = dict(self._begun)

    async def look(self, sent: int, *, wait: bool) -> Tally:
        """Count what became of the `sent` recipients.

        Args:
            sent: How many were sent.
            wait: Look until each was tried once, or patience ends. Without it only those that failed are counted.
        """
        if not wait:
            await self._look_at_what_is_new(sent)
            return self._tally
        began, interval = asyncio.get_running_loop().time(), _FIRST_INTERVAL
        while True:
            await self._look_at_all(sent)
            self._say(self._tally)
            waited = asyncio.get_running_loop().time() - began
            if not self._tally.untried or waited >= self._patience or self._stop.is_set():
                return self._tally
            with suppress(TimeoutError):
                async with asyncio.timeout(min(interval, self._patience - waited)):
                    await self._stop.wait()
            interval = min(_LONGEST_INTERVAL, 2 * interval)

    async def _look_at_all(self, sent: int) -> None:
        self._tally = await tally(
            self._queues, self._replay_id, sent, self._begun[Queue.OPT_INS], self._begun[Queue.DEAD_LETTERS]
        )

    async def _look_at_what_is_new(self, sent: int) -> None:
        # Reading the queues from the start each time would make the replay slower the longer it runs. A recipient whom
        # ACS fails is no dead letter for hours, so who waits for another try counts; a later retry replaces an earlier.
        self._tally.sent, self._tally.untried = sent, 0
        async for message in self._new(Queue.OPT_INS):
            if message.properties.get(arrivals.REPLAY_ID) == self._replay_id and REPLAY_OF not in message.properties:
                self._failed[_root(message)] = weight_of(message)
        async for message in self._new(Queue.DEAD_LETTERS):
            self._tally.see_dead(read_dead_letter(message))
            self._failed.pop(_root(message), None)
        self._tally.retrying = sum(self._failed.values())

    async def _new(self, queue: Queue) -> AsyncIterator[QueueMessage]:
        async for message in self._queues.peek(queue, self._seen[queue]):
            self._seen[queue] = message.sequence_number + 1
            yield message


def _root(message: QueueMessage) -> str:
    # Retries and dead letters of one event have ids that begin alike (optout_core/messages.py).
    return (message.message_id or "").rsplit(":", 2)[0]


async def tally(queues: Looks, replay_id: str, sent: int, opt_ins: int = 1, dead_letters: int = 1) -> Tally:
    """Count what became of a replay, reading the queues from these sequence numbers on.

    The queue `opt-ins` is read first: the function sends a dead letter before it completes the message, so nothing can
    slip through between the two.
    """
    counted = Tally(replay_id, sent)
    async for message in queues.peek(Queue.OPT_INS, opt_ins):
        counted.see_waiting(message)
    async for message in queues.peek(Queue.DEAD_LETTERS, dead_letters):
        counted.see_dead(read_dead_letter(message))
    return counted
