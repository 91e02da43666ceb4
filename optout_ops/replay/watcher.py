"""What becomes of a replay, read from both queues without locking anything."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from optout_core import properties
from optout_core.outgoing import Queue
from optout_ops.letters.letter import REPLAY_OF, read_letter
from optout_ops.queues.messages import QueueMessage
from optout_ops.queues.protocols import Peeks
from optout_ops.replay.tally import Tally, recipients_of

#: Seconds between two reads while waiting for first tries: short at first, since a function that runs is quick.
_FIRST_INTERVAL = 0.2
_LONGEST_INTERVAL = 2.0


async def count_recipients(
    queues: Peeks, replay_id: str, sent: int, *, opt_ins_from: int = 1, dead_letters_from: int = 1
) -> Tally:
    """Count what became of the recipients of a replay.

    Args:
        queues: The queues; `opt-ins` is read first, see `Tally`.
        replay_id: The replay.
        sent: Recipients that it sent.
        opt_ins_from: The sequence number from which on `opt-ins` is read.
        dead_letters_from: The same for the dead letters.
    """
    tally = Tally(replay_id=replay_id, sent=sent)
    async for message in queues.peek(Queue.OPT_INS, opt_ins_from):
        tally.add_waiting(message)
    async for message in queues.peek(Queue.DEAD_LETTERS, dead_letters_from):
        tally.add_dead_letter(read_letter(message))
    return tally


class Watcher:
    """A watch on one replay while it runs; it reads only the messages that arrived since it began.

    Args:
        queues: Where it looks.
        replay_id: The replay.
        patience: Seconds to wait for first tries; at least 0.
        stop: Ends the waiting when it is set.
        show: Called with each tally while it waits.
    """

    def __init__(
        self, queues: Peeks, replay_id: str, *, patience: float, stop: asyncio.Event, show: Callable[[Tally], None]
    ) -> None:
        self._queues = queues
        self._replay_id = replay_id
        self._patience = patience
        self._stop = stop
        self._show = show
        self._start = dict.fromkeys(Queue, 1)
        self._next = dict(self._start)
        self._failed: dict[str, int] = {}
        self._failures = Tally(replay_id=replay_id)

    async def begin(self) -> None:
        """Mark the ends of the queues: no message of this replay lies before them."""
        self._start = {queue: await self._queues.tail(queue) + 1 for queue in Queue}
        self._next = dict(self._start)

    async def wait_for_first_tries(self, sent: int) -> Tally:
        """Wait until each of `sent` recipients was tried once, or patience ends, and count what became of them."""
        clock = asyncio.get_running_loop().time
        began, interval = clock(), _FIRST_INTERVAL
        while True:
            tally = await count_recipients(
                self._queues,
                self._replay_id,
                sent,
                opt_ins_from=self._start[Queue.OPT_INS],
                dead_letters_from=self._start[Queue.DEAD_LETTERS],
            )
            self._show(tally)
            waited = clock() - began
            if not tally.untried or waited >= self._patience or self._stop.is_set():
                return tally
            with suppress(TimeoutError):
                async with asyncio.timeout(min(interval, self._patience - waited)):
                    await self._stop.wait()
            interval = min(_LONGEST_INTERVAL, 2 * interval)

    async def count_failures(self, sent: int) -> Tally:
        """Count which of `sent` recipients failed again so far; `untried` is not counted.

        Each call reads only what is new: reading the queues from the start each time would make a replay slower the
        longer it runs. A failing recipient is no dead letter for hours, so a recipient that waits for another try
        counts, and once, however often it was tried.
        """
        self._failures.sent = sent
        async for message in self._new(Queue.OPT_INS):
            if message.properties.get(properties.REPLAY_ID) == self._replay_id and REPLAY_OF not in message.properties:
                self._failed[_root(message)] = recipients_of(message)
        async for message in self._new(Queue.DEAD_LETTERS):
            self._failures.add_dead_letter(read_letter(message))
            self._failed.pop(_root(message), None)
        self._failures.retrying = sum(self._failed.values())
        return self._failures

    async def _new(self, queue: Queue) -> AsyncIterator[QueueMessage]:
        async for message in self._queues.peek(queue, self._next[queue]):
            self._next[queue] = message.sequence_number + 1
            yield message


def _root(message: QueueMessage) -> str:
    # Retries and dead letters of one event have ids that begin alike (optout_core/messages.py).
    return (message.message_id or "").rsplit(":", 2)[0]
