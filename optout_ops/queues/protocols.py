"""What the other rooms ask of the two queues. `client` and `locking` do it over AMQP; tests do it in memory."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from optout_core.outgoing import Outgoing, Queue
from optout_ops.queues.messages import EncodedMessage, QueueMessage
from optout_ops.queues.sequence_numbers import SequenceNumbers


class Peeks(Protocol):
    """Reading both queues without locking anything."""

    def peek(self, queue: Queue, start: int = 1) -> AsyncIterator[QueueMessage]:
        """Yield the messages of a queue, locked and scheduled ones too, by sequence number from `start` on."""

    async def tail(self, queue: Queue) -> int:
        """Give a sequence number behind which the queue is empty."""


class Sends(Protocol):
    """Sending to both queues."""

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Send messages that are all for one queue, and return when the broker has them."""

    async def send_encoded(self, queue: Queue, messages: Sequence[EncodedMessage]) -> None:
        """Send messages to a queue as they are encoded, and return when the broker has them."""


class LockingPass(Protocol):
    """One pass over the dead-letter queue that locks the chosen messages in the order of the queue."""

    @property
    def completed(self) -> int:
        """Count the messages that were removed from the queue."""

    @property
    def overflow(self) -> int:
        """Count the messages that were not chosen and were too many to be given back at once."""

    async def lock(self, at_most: int) -> list[QueueMessage]:
        """Lock the next chosen messages, 1 to `at_most`; none at the end of the pass."""

    async def complete(self, number: int) -> bool:
        """Remove a locked message; False when its lock was lost, so that `lock` gives it again."""

    def leave(self, number: int) -> None:
        """Keep a locked message in the queue; it is given back at the end of the pass."""


class QueuePair(Peeks, Sends, Protocol):
    """Both queues of one namespace."""

    @property
    def names(self) -> Mapping[Queue, str]:
        """Give what the queues are called in this namespace."""

    @property
    def namespace(self) -> str:
        """Name the namespace by its host and, where it has one, its port."""

    def locking(self, chosen: SequenceNumbers) -> AbstractAsyncContextManager[LockingPass]:
        """Open a pass over the dead letters; messages that are locked at its end are given back."""

    async def may_send(self, queue: Queue) -> None:
        """Return when we have the right to send to a queue; raise OutOfReach otherwise."""
