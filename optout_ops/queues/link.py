"""One link over which messages come, and what came over it and is not settled yet.

A link with too many unsettled deliveries stops without a word: the windows of Microsoft's own clients are 2,047 and
5,000, and the service has a limit of its own that it does not publish, at which it detaches the link
(https://github.com/Azure/azure-sdk-for-net/pull/16163). A lock that expires does not free its place.
"""

import asyncio
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus._pyamqp.error import AMQPException
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.exceptions import ServiceBusError

from optout_ops.queues.waiting import ANSWER, Waiter

#: Unsettled deliveries on one link.
PER_LINK = 2_000
#: Locks renewed in one request.
_RENEWALS = 500


class _Delivery(NamedTuple):
    """The two numbers of AMQP by which a delivery is settled or renewed."""

    delivery_id: int
    tag: bytes


class Link:
    """A receiver in peek-lock mode, and its deliveries.

    Attributes:
        unsettled: Deliveries that came and are not settled, those that were forgotten too.
    """

    def __init__(self, receiver: ServiceBusReceiver, wait: Waiter) -> None:
        self.unsettled = 0
        self._receiver = receiver
        self._wait = wait
        self._held: dict[int, _Delivery] = {}

    @property
    def is_needed(self) -> bool:
        """Say whether it holds something that can only be given back over this link."""
        return bool(self._held)

    async def receive(self, at_most: int, patience: float) -> list[ServiceBusReceivedMessage]:
        """Receive and lock the next messages; none when none came within `patience` seconds."""
        receiving = self._receiver.receive_messages(at_most, max_wait_time=patience)
        messages = await self._wait(receiving, "the next dead letters", patience + ANSWER)
        self.unsettled += len(messages)
        return messages

    async def keep_authorized(self) -> None:
        """Show a new token when the old one is about to expire: without one the broker drops the link.

        The SDK does so before whatever it asks for, and not before it settles, which may go on for longer than a token.
        """
        handler = self._receiver._handler
        try:
            async with asyncio.timeout(ANSWER):
                while handler is not None and not await handler.auth_complete_async():
                    continue
        except (AMQPException, TimeoutError):
            # It has expired already: whatever is asked for next opens everything anew, and the locks are kept.
            await self.round_trip()

    async def round_trip(self) -> float:
        """Measure how many seconds an answer takes."""
        clock = asyncio.get_running_loop().time
        began = clock()
        await self._wait(self._receiver.peek_messages(1, sequence_number=1, timeout=ANSWER), "the queue to be read")
        return clock() - began

    async def complete(self, message: ServiceBusReceivedMessage) -> None:
        """Remove a message from the queue.

        Raises:
            MessageLockLostError: Its lock was lost.
        """
        await self.keep_authorized()
        await self._wait(self._receiver.complete_message(message), "a dead letter to be removed")
        self.unsettled -= 1

    def hold(self, message: ServiceBusReceivedMessage) -> None:
        """Keep a message locked until `give_back`."""
        self._held[message.sequence_number or 0] = _Delivery(message._delivery_id or 0, message._delivery_tag or b"")

    def forget_held(self, number: int) -> None:
        """Hold a message no longer: its lock was lost, and another link has it."""
        self._held.pop(number, None)

    def forget(self, message: ServiceBusReceivedMessage) -> None:
        """Let the lock of a message expire by itself."""
        # The SDK remembers the tag of every message until it is settled, and this message will not be settled.
        self._receiver._handler._link._received_delivery_tags.discard(message._delivery_tag)  # type: ignore[union-attr]

    async def renew_one(self, message: ServiceBusReceivedMessage) -> None:
        """Renew the lock of a message.

        Raises:
            MessageLockLostError: It was lost.
        """
        await self._wait(self._receiver.renew_message_lock(message, timeout=ANSWER), "a lock to be renewed")

    async def renew(self) -> None:
        """Renew the locks of what is held, over this link's own connection, which would be idle otherwise."""
        tokens = [UUID(bytes_le=delivery.tag) for delivery in self._held.values()]
        for start in range(0, len(tokens), _RENEWALS):
            # One lost lock fails the whole request: its neighbours expire, are received again, and are held again.
            with suppress(ServiceBusError, TimeoutError):
                # The protocol renews many locks in one request; the SDK's public method takes one message.
                renewing = self._receiver._renew_locks(*tokens[start : start + _RENEWALS], timeout=ANSWER)  # type: ignore[arg-type]
                await self._wait(renewing, "locks to be renewed")

    async def stop(self) -> None:
        """Take back the credit, under which the broker would send more."""
        # The SDK does so when it closes a receiver, which is too late for us.
        draining = self._receiver._amqp_transport.drain_and_release_messages_async(self._receiver._handler)  # type: ignore[no-untyped-call]
        await self._wait(draining, "the broker to stop sending")

    async def give_back(self) -> None:
        """Release what is held, in the order in which it came."""
        with suppress(Exception):
            # While the link has credit, the broker would send the released messages to us again.
            await self.stop()
        for delivery in self._held.values():
            with suppress(Exception):
                # The SDK releases messages that arrive too late in this way, and has no public name for it.
                await self._receiver._handler.settle_messages_async(delivery.delivery_id, delivery.tag, "released")

    async def close(self) -> None:
        """Close the link; locks that came over it last until they expire."""
        await self._wait(self._receiver.close(), "a link to be closed")
