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
5. A link that has many unsettled deliveries gets no more, without a word (see `link`): then the pass goes on over a new
   one. The broker keeps a lock when the link over which it came is closed.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError

from optout_ops.queues.errors import translated
from optout_ops.queues.link import PER_LINK, Link
from optout_ops.queues.messages import QueueMessage
from optout_ops.queues.sequence_numbers import SequenceNumbers
from optout_ops.queues.waiting import Waiter

#: How many messages that are not chosen are held at once; about 300 bytes each.
HOLD = 10_000
#: Messages per receive. More would sit locked while the rate lets none of them go.
WINDOW = 100
#: Seconds to wait for a message before the queue counts as empty.
PATIENCE = 3.0
#: On a slow link the first message takes a few round trips, each as long as a peek.
_ROUND_TRIPS = 8
#: Seconds for giving back what is held; the locks of what is not given back then expire by themselves.
_GIVING_BACK = 15.0
#: A lock is renewed when less than this share of the lock duration remains.
_RENEWAL_SHARE = 0.5


class _Locked(NamedTuple):
    message: ServiceBusReceivedMessage
    link: Link


class ServiceBusPass:
    """One pass over the dead letters, as an async context manager; messages that are locked at its end are released.

    Attributes:
        overflow: Messages that were not chosen and were too many to hold.
        completed: Messages that were removed from the queue.
    """

    def __init__(  # noqa: PLR0913 - the last two are for tests, which cannot wait for ten thousand
        self,
        receiver: ServiceBusReceiver,
        chosen: SequenceNumbers,
        read: Callable[[ServiceBusReceivedMessage], QueueMessage],
        *,
        another: Callable[[], ServiceBusReceiver],
        wait: Waiter | None = None,
        hold: int = HOLD,
        per_link: int = PER_LINK,
    ) -> None:
        """Take what the pass works with.

        Args:
            receiver: A receiver in peek-lock mode, which is left open.
            chosen: The sequence numbers to lock.
            read: Reads a message.
            another: Makes another such receiver.
            wait: Waits for the namespace.
            hold: How many messages that are not chosen are held.
            per_link: How many unsettled deliveries one link may have.
        """
        self.overflow = 0
        self.completed = 0
        self._chosen = chosen
        self._read = read
        self._another = another
        self._wait = wait or Waiter()
        self._hold_at_most = hold
        self._per_link = per_link
        self._links = [Link(receiver, self._wait)]
        self._received: deque[_Locked] = deque()
        self._given_out: dict[int, _Locked] = {}
        self._held: dict[int, Link] = {}
        self._lock_duration = timedelta(minutes=5)
        self._renewed_at = datetime.now(UTC)
        self._is_over = not len(chosen)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for locked in (*self._received, *self._given_out.values()):
            locked.link.hold(locked.message)
        # When the connection is broken nothing can be released: the locks expire by themselves.
        with suppress(Exception):
            await self._wait(self._give_back(), "the locks to be given back", _GIVING_BACK)

    async def _give_back(self) -> None:
        for link in self._links:
            await link.give_back()
        await asyncio.gather(*(link.close() for link in self._links[1:]))

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
                locked = self._received.popleft()
                if await self._is_locked(locked):
                    self._given_out[locked.message.sequence_number or 0] = locked
                    batch.append(self._read(locked.message))
        return batch

    async def complete(self, number: int) -> bool:
        """Remove a locked message from the queue; False when its lock was lost, so that `lock` gives it again."""
        locked = self._given_out.pop(number)
        try:
            with translated():
                await locked.link.complete(locked.message)
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
        with translated():
            for link in self._links:
                await link.keep_authorized()
        now = datetime.now(UTC)
        if now - self._renewed_at < self._lock_duration * _RENEWAL_SHARE:
            return
        self._renewed_at = now
        for locked in tuple(self._received):
            # Renew all of them: a lock with just over half its time left could expire before the next renewal. A lost
            # lock is noticed when `lock` comes to its message.
            await self._is_renewed(locked)
        for link in self._links:
            await link.renew()

    async def _receive(self) -> None:
        link = await self._link_with_room()
        with translated():
            messages = await link.receive(min(WINDOW, self._per_link - link.unsettled), PATIENCE)
            if not messages and (patience := _ROUND_TRIPS * await link.round_trip()) > PATIENCE:
                messages = await link.receive(WINDOW, patience)
        numbers = [message.sequence_number or 0 for message in messages]
        # Messages come in order: behind the last chosen number, a chosen message that is missing cannot come any more.
        self._is_over = not numbers or min(numbers) > self._chosen.last
        for number, message in zip(numbers, messages, strict=True):
            if message.locked_until_utc is not None:
                lock = max(message.locked_until_utc - datetime.now(UTC), timedelta(0))
                self._lock_duration = min(self._lock_duration, lock)
            if number in self._chosen:
                self._received.append(_Locked(message, link))
            else:
                self._hold(_Locked(message, link))

    async def _link_with_room(self) -> Link:
        link = self._links[-1]
        if link.unsettled < self._per_link:
            return link
        with translated():
            await link.stop()
            if (
                len(self._links) > 1
                and not link.is_needed
                and all(link is not out.link for out in self._given_out.values())
            ):
                self._links.pop()
                await link.close()
        self._links.append(Link(self._another(), self._wait))
        return self._links[-1]

    def _hold(self, locked: _Locked) -> None:
        number = locked.message.sequence_number or 0
        if number in self._held or len(self._held) < self._hold_at_most:
            before = self._held.get(number)
            if before is not None and before is not locked.link:
                before.forget_held(number)
            self._held[number] = locked.link
            locked.link.hold(locked.message)
        else:
            self.overflow += 1
            locked.link.forget(locked.message)

    async def _is_locked(self, locked: _Locked) -> bool:
        rest = (locked.message.locked_until_utc or datetime.now(UTC)) - datetime.now(UTC)
        return rest > self._lock_duration * _RENEWAL_SHARE or await self._is_renewed(locked)

    async def _is_renewed(self, locked: _Locked) -> bool:
        try:
            with translated():
                await locked.link.renew_one(locked.message)
        except MessageLockLostError:
            return False
        return True
