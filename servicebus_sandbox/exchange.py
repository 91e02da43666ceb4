"""What all connections share: the queues, who waits for messages, what is due when, and the faults that tests order.

Nothing here polls. A change in a queue asks for one `_settle` in this turn of the event loop; that hands messages to
waiting receivers, sets the one timer for what falls due next, and wakes those who wait for a change.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from servicebus_sandbox.access import AccessKey, AccessKeys
from servicebus_sandbox.errors import Refused
from servicebus_sandbox.limits import Limits
from servicebus_sandbox.messages import Message
from servicebus_sandbox.namespace import Namespace
from servicebus_sandbox.properties import QueueProperties
from servicebus_sandbox.queues import Queue

#: Seconds. The clock is looked at this often even if nothing is due, since it may not run as the event loop's does.
LONGEST_TIMER = 3600.0


@dataclass
class Refusal:
    """A fault that a test orders, of sends or of receives; `met` counts what it refused."""

    queue: Queue | None
    answer: Refused
    of_receives: bool
    met: int = 0


class Receiver(Protocol):
    """A link that wants messages."""

    def pump(self) -> bool:
        """Send what may be sent; returns whether it stopped only to let others have their turn."""


class Exchange:
    """The part of the broker that knows no sockets.

    Attributes:
        limits: What is allowed on the wire.
        access: The keys.
        answers_to_lose: How many accepted sends are not answered, because the connection is dropped instead.
    """

    def __init__(
        self,
        queues: Mapping[str, QueueProperties],
        keys: Iterable[AccessKey],
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self.limits = limits
        self.access = AccessKeys(keys, time.time)
        self.answers_to_lose = 0
        self._clock = clock
        self._namespace = Namespace(
            queues, clock=clock, on_change=self.changed, drop_forwarded_duplicates=limits.drop_forwarded_duplicates
        )
        self._receivers: deque[Receiver] = deque()
        self._refusals: list[Refusal] = []
        self._change = asyncio.Event()
        self._pending: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None

    def queue(self, path: str) -> Queue:
        """Return the queue or subqueue at a path.

        Raises:
            EntityNotFound: There is none.
        """
        return self._namespace.queue(path)

    def publish(self, queue: Queue, messages: Sequence[Message]) -> list[int]:
        """Send messages to a queue; returns their sequence numbers.

        Raises:
            Refused: The queue or an ordered fault does not let them in.
        """
        self.check_send(queue)
        return queue.send(messages)

    def check_receive(self, queue: Queue) -> None:
        """Refuse what needs the claim Listen on a queue, if that is ordered or the queue's status says so.

        Raises:
            Refused: It is, or does.
        """
        self._refuse(queue, of_receives=True)
        queue.check_receive()

    def check_send(self, queue: Queue) -> None:
        """Refuse what needs the claim Send on a queue, if that is ordered or the queue's status says so.

        Raises:
            Refused: It is, or does.
        """
        self._refuse(queue, of_receives=False)
        queue.check_send()

    def gives_out(self, queue: Queue) -> bool:
        """Tell whether a link that has asked for messages of a queue gets them now."""
        return not any(refusal.of_receives and refusal.queue in (None, queue) for refusal in self._refusals)

    def _refuse(self, queue: Queue, *, of_receives: bool) -> None:
        for refusal in self._refusals:
            if refusal.of_receives is of_receives and refusal.queue in (None, queue):
                refusal.met += 1
                raise type(refusal.answer)(*refusal.answer.args)

    @contextmanager
    def refusing(self, queue: Queue | None, answer: Refused, *, of_receives: bool) -> Iterator[Refusal]:
        """Refuse every send to a queue, or every receive from it, or from all, while the context is open."""
        refusal = Refusal(queue, answer, of_receives)
        self._refusals.append(refusal)
        try:
            yield refusal
        finally:
            self._refusals.remove(refusal)
            self.changed()

    def add_receiver(self, receiver: Receiver) -> None:
        """Hand messages to a link from now on."""
        self._receivers.append(receiver)
        self.changed()

    def remove_receiver(self, receiver: Receiver) -> None:
        """Hand no more messages to a link."""
        if receiver in self._receivers:
            self._receivers.remove(receiver)

    def changed(self) -> None:
        """Note that something may now be possible that was not: a message, credit, room to write, another time."""
        if self._pending is None:
            self._pending = asyncio.get_running_loop().call_soon(self._settle)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when a condition holds; it is looked at after every change."""
        while not condition():
            await self._change.wait()

    def close(self) -> None:
        """Stop the timers."""
        for handle in (self._pending, self._timer):
            if handle is not None:
                handle.cancel()

    def _settle(self) -> None:
        self._pending = None
        self._namespace.tick()
        self._receivers.rotate(1)
        turns = [receiver.pump() for receiver in tuple(self._receivers)]
        if any(turns):
            self.changed()
        self._set_timer()
        self._change.set()
        self._change = asyncio.Event()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._namespace.due()
        if due is not None:
            delay = min(max(due - self._clock(), 0.0), LONGEST_TIMER)
            self._timer = asyncio.get_running_loop().call_later(delay, self.changed)
