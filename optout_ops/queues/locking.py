"""A pass over the dead letters that locks the chosen ones, however deep the queue is.

Service Bus gives out messages in the order of the queue and none by its number, so to lock the hundredth message one
has to lock the 99 before it. Rules:

1. Nothing is received in receive-and-delete mode. A chosen message is locked, and completed when the broker has its
   replacement.
2. A message that is not chosen stays locked until the pass is over and is then released: it keeps its place, and its
   delivery count too, since `released` does not count (https://github.com/Azure/amqpnetlite/issues/342).
3. At most `HOLD` messages are held in this way, so memory does not grow with the queue. The locks of the others expire
   within five minutes: they keep their place, and their delivery count rises by one for every five minutes of the pass.
4. A lock that would expire before the pass is over is renewed.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self
from uuid import UUID

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError, ServiceBusError

from optout_ops.queues.errors import translated
from optout_ops.queues.messages import QueueMessage
from optout_ops.queues.sequence_numbers import SequenceNumbers

#: How many messages that are not chosen are held at once; about 300 bytes each.
HOLD = 10_000
#: Messages per receive. More would sit locked while the rate lets none of them go.
WINDOW = 100
#: Seconds to wait for a message before the queue counts as empty; on a slow link the first one takes a while.
PATIENCE = 3.0
#: Seconds for an answer of the namespace; without a limit the SDK waits for ever.
_ANSWER = 60.0
#: Locks renewed in one request.
_RENEWALS = 500
#: A lock is renewed when less than this share of the lock duration remains.
_RENEWAL_SHARE = 0.5


class _Delivery(NamedTuple):
    """The two numbers of AMQP by which a delivery is settled or renewed."""

    delivery_id: int
    tag: bytes


class ServiceBusPass:
    """One pass over the dead letters, as an async context manager; messages that are locked at its end are released.

    Attributes:
        overflow: Messages that were not chosen and were too many to hold.
        completed: Messages that were removed from the queue.
    """

    def __init__(
        self,
        receiver: ServiceBusReceiver,
        chosen: SequenceNumbers,
        read: Callable[[ServiceBusReceivedMessage], QueueMessage],
        *,
        hold: int = HOLD,
    ) -> None:
        """Take a receiver in peek-lock mode, the chosen numbers, a reader of messages, and how many others to hold."""
        self.overflow = 0
        self.completed = 0
        self._receiver = receiver
        self._chosen = chosen
        self._read = read
        self._hold_at_most = hold
        self._received: deque[ServiceBusReceivedMessage] = deque()
        self._given_out: dict[int, ServiceBusReceivedMessage] = {}
        self._held: dict[int, _Delivery] = {}
        self._lock_duration = timedelta(minutes=5)
        self._renewed_at = datetime.now(UTC)
        self._is_over = not len(chosen)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # When the connection is broken nothing can be released: the locks expire by themselves.
        with suppress(Exception):
            # While the link has credit, the broker would send the released messages to us again. The SDK takes the
            # credit back when it closes a receiver, which is after our releases.
            handler = self._receiver._handler
            await self._receiver._amqp_transport.drain_and_release_messages_async(handler)  # type: ignore[no-untyped-call]
        locked = map(_delivery, (*self._received, *self._given_out.values()))
        for delivery in (*locked, *self._held.values()):
            with suppress(Exception):
                await self._release(delivery)

    async def lock(self, at_most: int) -> list[QueueMessage]:
        """Lock the next chosen messages, in the order of the queue.

        Returns:
            1 to `at_most` messages, whose locks last for at least half of the queue's lock duration; none when the pass
            is over. A message that was not completed before its lock expired is given again.

        Raises:
            OutOfReach: The queue cannot be received from.
        """
        await self.renew()
        batch: list[QueueMessage] = []
        while not batch and not (self._is_over and not self._received):
            if not self._received:
                await self._receive()
            while self._received and len(batch) < at_most:
                message = self._received.popleft()
                if await self._is_locked(message):
                    self._given_out[message.sequence_number or 0] = message
                    batch.append(self._read(message))
        return batch

    async def complete(self, number: int) -> bool:
        """Remove a locked message from the queue; False when its lock was lost, so that `lock` gives it again."""
        message = self._given_out.pop(number)
        try:
            with translated():
                await self._receiver.complete_message(message)
        except MessageLockLostError:
            return False
        self.completed += 1
        self._is_over = self._is_over or self.completed == len(self._chosen)
        return True

    def leave(self, number: int) -> None:
        """Keep a locked message in the queue; it is released at the end of the pass."""
        self._hold(self._given_out.pop(number))

    async def renew(self) -> None:
        """Renew all locks, when half of the lock duration has passed since the last renewal."""
        now = datetime.now(UTC)
        if now - self._renewed_at < self._lock_duration * _RENEWAL_SHARE:
            return
        self._renewed_at = now
        for message in tuple(self._received):
            # Renew all of them: a lock with just over half its time left could expire before the next renewal. A lost
            # lock is noticed when `lock` comes to its message.
            await self._is_renewed(message)
        tokens = [UUID(bytes_le=delivery.tag) for delivery in self._held.values()]
        for start in range(0, len(tokens), _RENEWALS):
            # One lost lock fails the whole request: its neighbours expire, are received again, and are held again.
            with suppress(ServiceBusError):
                # The protocol renews many locks in one request; the SDK's public method takes one message.
                await self._receiver._renew_locks(*tokens[start : start + _RENEWALS], timeout=_ANSWER)  # type: ignore[arg-type]

    async def _receive(self) -> None:
        with translated():
            messages = await self._receiver.receive_messages(WINDOW, max_wait_time=PATIENCE)
        numbers = [message.sequence_number or 0 for message in messages]
        # Messages come in order: behind the last chosen number, a chosen message that is missing cannot come any more.
        self._is_over = not numbers or min(numbers) > self._chosen.last
        for number, message in zip(numbers, messages, strict=True):
            if message.locked_until_utc is not None:
                lock = max(message.locked_until_utc - datetime.now(UTC), timedelta(0))
                self._lock_duration = min(self._lock_duration, lock)
            if number in self._chosen:
                self._received.append(message)
            else:
                self._hold(message)

    def _hold(self, message: ServiceBusReceivedMessage) -> None:
        number = message.sequence_number or 0
        if number in self._held or len(self._held) < self._hold_at_most:
            self._held[number] = _delivery(message)
        else:
            self.overflow += 1
            # The SDK remembers the tag of every message until it is settled, and this message will not be settled.
            self._receiver._handler._link._received_delivery_tags.discard(message._delivery_tag)  # type: ignore[union-attr]

    async def _is_locked(self, message: ServiceBusReceivedMessage) -> bool:
        rest = (message.locked_until_utc or datetime.now(UTC)) - datetime.now(UTC)
        return rest > self._lock_duration * _RENEWAL_SHARE or await self._is_renewed(message)

    async def _is_renewed(self, message: ServiceBusReceivedMessage) -> bool:
        try:
            with translated():
                await self._receiver.renew_message_lock(message, timeout=_ANSWER)
        except MessageLockLostError:
            return False
        return True

    async def _release(self, delivery: _Delivery) -> None:
        # The SDK releases messages that arrive too late in this way, and has no public name for it.
        await self._receiver._handler.settle_messages_async(delivery.delivery_id, delivery.tag, "released")


def _delivery(message: ServiceBusReceivedMessage) -> _Delivery:
    return _Delivery(message._delivery_id or 0, message._delivery_tag or b"")
