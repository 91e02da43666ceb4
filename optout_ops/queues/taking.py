"""Takes chosen dead letters off the queue in one pass, however deep it is.

Service Bus hands out messages in order and none by number, so whoever wants the hundredth has to lock the 99 before it.
Rules:

1. Nothing is received and deleted. What is chosen is locked, and completed when its replacement is in the queue.
2. What is not chosen is held locked until the pass has gone by, and then released: it keeps its place, and its delivery
   count too, since `released` does not count (https://github.com/Azure/amqpnetlite/issues/342).
3. At most `HOLD` are held, so memory does not grow with the queue. The locks of those beyond run out by themselves
   within five minutes: they keep their place, and their delivery count rises by one for every five minutes of the pass.
4. Locks that the pass outlives are renewed.
"""

from collections import deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self
from uuid import UUID

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError, ServiceBusError

from optout_ops.letters.dead_letters import QueueMessage
from optout_ops.queues.client import read_message, translated
from optout_ops.replay.plans import Chosen

#: How many dead letters that are not chosen are held at once; about 300 bytes each.
HOLD = 10_000
#: Messages per receive. More would sit locked while the rate lets none of them go.
WINDOW = 100
#: Seconds to wait for a message before the queue counts as empty; on a slow link the first one takes a while.
PATIENCE = 3.0
#: Seconds for an answer of the namespace; without a limit the SDK waits for ever.
_ANSWER = 60.0
#: Locks renewed in one request.
_RENEWALS = 500
#: A lock is renewed when less than this share of it is left.
_LITTLE_LEFT = 0.5


class _Held(NamedTuple):
    delivery: int
    tag: bytes


class Take:
    """One pass over the dead letters; use it as an async context manager, and what is left goes back at its end.

    Attributes:
        let_go: How many that are not chosen were too many to hold.
        completed: How many were removed from the queue.
    """

    def __init__(self, receiver: ServiceBusReceiver, chosen: Chosen, hold: int = HOLD) -> None:
        """Take the receiver, in peek-lock, what is chosen, and how many of the others are held."""
        self.let_go = 0
        self._receiver = receiver
        self._hold_at_most = hold
        self._chosen = chosen
        self._in_hand: deque[ServiceBusReceivedMessage] = deque()
        self._out: dict[int, ServiceBusReceivedMessage] = {}
        self._held: dict[int, _Held] = {}
        self.completed = 0
        self._lock = timedelta(minutes=5)
        self._renewed_at = datetime.now(UTC)
        self._over = not len(chosen)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # Whatever is wrong with the connection now, the locks end by themselves.
        with suppress(Exception):
            # With credit left, the broker would hand us at once again what we give back. The SDK takes it back itself
            # when it closes a receiver, but that is after our releases.
            handler = self._receiver._handler
            await self._receiver._amqp_transport.drain_and_release_messages_async(handler)  # type: ignore[no-untyped-call]
        for held in (*map(_held, (*self._in_hand, *self._out.values())), *self._held.values()):
            with suppress(Exception):
                await self._release(held)

    async def lock(self, at_most: int) -> list[QueueMessage]:
        """Lock the next chosen dead letters, in the order of the queue.

        Returns:
            1 to `at_most` of them, whose locks last for at least half of the queue's lock duration; none when the pass
            is over. One that was not completed before its lock ran out comes again.

        Raises:
            OutOfReach: The queue cannot be received from.
        """
        await self.renew()
        batch: list[QueueMessage] = []
        while not batch and not (self._over and not self._in_hand):
            if not self._in_hand:
                await self._receive()
            while self._in_hand and len(batch) < at_most:
                message = self._in_hand.popleft()
                if await self._is_locked(message):
                    self._out[message.sequence_number or 0] = message
                    batch.append(read_message(message))
        return batch

    async def complete(self, number: int) -> bool:
        """Remove a locked dead letter from the queue; returns False when its lock was lost, so that it comes again."""
        message = self._out.pop(number)
        try:
            with translated():
                await self._receiver.complete_message(message)
        except MessageLockLostError:
            return False
        self.completed += 1
        self._over = self._over or self.completed == len(self._chosen)
        return True

    def leave(self, number: int) -> None:
        """Leave a locked dead letter where it is, after all."""
        self._hold(self._out.pop(number))

    async def _receive(self) -> None:
        with translated():
            messages = await self._receiver.receive_messages(WINDOW, max_wait_time=PATIENCE)
        numbers = [message.sequence_number or 0 for message in messages]
        # Messages come in order, so when the queue is past the last chosen one, what is still missing cannot be had.
        self._over = not numbers or min(numbers) > self._chosen.last
        for number, message in zip(numbers, messages, strict=True):
            if message.locked_until_utc is not None:
                self._lock = min(self._lock, max(message.locked_until_utc - datetime.now(UTC), timedelta(0)))
            if number in self._chosen:
                self._in_hand.append(message)
            else:
                self._hold(message)

    def _hold(self, message: ServiceBusReceivedMessage) -> None:
        number = message.sequence_number or 0
        if number in self._held or len(self._held) < self._hold_at_most:
            self._held[number] = _held(message)
        else:
            self.let_go += 1
            # The SDK remembers the tag of every message until it is settled, and this one will not be.
            self._receiver._handler._link._received_delivery_tags.discard(message._delivery_tag)  # type: ignore[union-attr]

    async def _is_locked(self, message: ServiceBusReceivedMessage) -> bool:
        left = (message.locked_until_utc or datetime.now(UTC)) - datetime.now(UTC)
        return left > self._lock * _LITTLE_LEFT or await self._is_renewed(message)

    async def _is_renewed(self, message: ServiceBusReceivedMessage) -> bool:
        try:
            with translated():
                await self._receiver.renew_message_lock(message, timeout=_ANSWER)
        except MessageLockLostError:
            return False
        return True

    async def renew(self) -> None:
        """Renew all locks, when half of their time is over."""
        now = datetime.now(UTC)
        if now - self._renewed_at < self._lock * _LITTLE_LEFT:
            return
        self._renewed_at = now
        for message in tuple(self._in_hand):
            # Whatever is left: little more than half may end before the next time. A lost one is found at its turn.
            await self._is_renewed(message)
        tokens = [UUID(bytes_le=held.tag) for held in self._held.values()]
        for start in range(0, len(tokens), _RENEWALS):
            # One that was lost spoils the renewal of its neighbours: they come again too, and are held again.
            with suppress(ServiceBusError):
                # The protocol renews many locks in one request; the SDK's public method takes one message.
                await self._receiver._renew_locks(*tokens[start : start + _RENEWALS], timeout=_ANSWER)  # type: ignore[arg-type]

    async def _release(self, held: _Held) -> None:
        # The SDK releases what arrives too late in this way, and has no public name for it.
        await self._receiver._handler.settle_messages_async(held.delivery, held.tag, "released")


def _held(message: ServiceBusReceivedMessage) -> _Held:
    return _Held(message._delivery_id or 0, message._delivery_tag or b"")
