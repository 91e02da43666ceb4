"""The two queues over AMQP: peek, send, and open a locking pass.

One receiver for each queue serves everything, one call after the other: a second one would lock a message of the first.
"""

import asyncio
import functools
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Self

from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import (
    MessageNotFoundError,
    MessageSizeExceededError,
    ServiceBusServerBusyError,
)
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_exponential

from optout_core.adapters.connections import Credentials, connect_service_bus
from optout_core.adapters.outbox import ServiceBusOutbox
from optout_core.outgoing import Outgoing, Queue
from optout_core.settings import Settings
from optout_ops.exits import Mistake
from optout_ops.queues import decoding
from optout_ops.queues.batches import add, fits
from optout_ops.queues.errors import translated
from optout_ops.queues.locking import ServiceBusPass
from optout_ops.queues.messages import EncodedMessage, QueueMessage
from optout_ops.queues.reading import read_message
from optout_ops.queues.sequence_numbers import SequenceNumbers
from optout_ops.queues.waiting import ANSWER, Waiter

#: The most a peek gives at once (https://github.com/Azure/azure-sdk-for-python/issues/26643).
PEEK = 250
#: Seconds in which a transfer is given up: the outbox tries twice, over a new connection the second time.
_SENDING = 45.0
#: Seconds in which connections may close; what is still open then is left to the namespace.
_CLOSING = 5.0
#: The search for the end of a queue stops here: a sequence number has 63 bits.
_MAX_NUMBER = 2**62

#: By default the SDK tries four times, fifteen seconds in all, whatever the error. An operator waits for the answer.
_RETRY: dict[str, Any] = {"retry_total": 1, "retry_backoff_factor": 0.5}


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, ServiceBusServerBusyError)


def _patient(say: Callable[[str], None]) -> AsyncRetrying:
    # A namespace that throttles us asks for ten seconds (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-throttling).
    return AsyncRetrying(
        retry=retry_if_exception(_is_busy),
        wait=wait_exponential(max=10),
        stop=stop_after_delay(120),
        before_sleep=lambda _: say("The namespace is busy and asks us to wait: trying again in a few seconds."),
        reraise=True,
    )


class ServiceBusQueues:
    """The two queues of one namespace, connected while the `async with` block runs."""

    def __init__(self, settings: Settings, wait: Waiter | None = None) -> None:
        """Take the settings, and what waits for answers; nothing is opened before its first use."""
        self._settings = settings
        self._wait = wait or Waiter()
        self._patiently = _patient(self._wait.say)
        self._stack = AsyncExitStack()
        self._credentials = Credentials()
        self._stack.push_async_exit(self._credentials)
        self._client: ServiceBusClient | None = None
        self._receivers: dict[Queue, ServiceBusReceiver] = {}
        self._senders: dict[Queue, ServiceBusSender] = {}
        # A message too large to send raises an error and stays a dead letter: its halves could not be decoded.
        self._outbox = ServiceBusOutbox(self._connect, self.names, may_cut=False)

    async def __aenter__(self) -> Self:
        # The SDK logs every lost link at length; the command prints one line of error instead.
        logging.getLogger("azure").setLevel(logging.CRITICAL)
        decoding.install()
        return self

    async def __aexit__(self, *_: object) -> None:
        # What was asked for is done, or has failed with an error of its own: how the connections end changes nothing.
        with suppress(AzureError, OSError):
            await self._wait(self._close(), "the connections to be closed", _CLOSING)

    async def _close(self) -> None:
        # The SDK takes half a second to close a link: close all of them at once.
        links = (*self._receivers.values(), *self._senders.values())
        await asyncio.gather(self._outbox.close(), *(link.close() for link in links))
        await self._stack.aclose()

    @property
    def names(self) -> Mapping[Queue, str]:
        """Give what the queues are called in this namespace."""
        return {Queue.OPT_INS: self._settings.opt_in_queue, Queue.DEAD_LETTERS: self._settings.dead_letter_queue}

    @property
    def namespace(self) -> str:
        """Name the namespace by its host and, where it has one, its port."""
        return self._settings.namespace_host

    @asynccontextmanager
    async def locking(self, chosen: SequenceNumbers) -> AsyncIterator[ServiceBusPass]:
        """Open a pass over the dead letters that locks the chosen ones, and gives locked ones back at its end."""
        receiver = await self._receiver(Queue.DEAD_LETTERS)

        def another() -> ServiceBusReceiver:
            return self._connected().get_queue_receiver(self.names[Queue.DEAD_LETTERS])

        async with ServiceBusPass(receiver, chosen, read_message, another=another, wait=self._wait) as opened:
            yield opened

    def _connected(self) -> ServiceBusClient:
        if self._client is None:
            self._client = self._connect()
            self._stack.push_async_callback(self._client.close)
        return self._client

    async def _receiver(self, queue: Queue) -> ServiceBusReceiver:
        if queue not in self._receivers:
            self._receivers[queue] = self._connected().get_queue_receiver(self.names[queue])
        return self._receivers[queue]

    async def peek(self, queue: Queue, start: int = 1) -> AsyncIterator[QueueMessage]:
        """Yield the messages of a queue, locked and scheduled ones too, by sequence number from `start` on.

        Raises:
            OutOfReach: The queue cannot be read.
        """
        receiver = await self._receiver(queue)
        name, count = self.names[queue], 0
        self._wait.begin()
        while True:
            with translated(name):
                page: list[ServiceBusReceivedMessage] = await self._patiently(self._page, receiver, name, start, PEEK)
            if not page:
                return
            for message in page:
                yield read_message(message)
            start = max(start, page[-1].sequence_number or 0) + 1
            count += len(page)
            self._wait.went_on(f"Reading the queue {name!r}: {count:,} messages so far.")

    async def _page(
        self, receiver: ServiceBusReceiver, name: str, start: int, most: int
    ) -> list[ServiceBusReceivedMessage]:
        peek = receiver.peek_messages(most, sequence_number=start, timeout=ANSWER)
        return await self._wait(peek, f"the queue {name!r} to be read")

    async def tail(self, queue: Queue) -> int:
        """Give the highest sequence number of a queue, 0 when it is empty, by a binary search with a few peeks.

        Raises:
            OutOfReach: The queue cannot be read.
        """
        receiver = await self._receiver(queue)
        look = functools.partial(self._page, receiver, self.names[queue], most=1)
        last, beyond = 0, 1
        with translated(self.names[queue]):
            while beyond < _MAX_NUMBER and (found := await look(beyond)):
                last = found[0].sequence_number or beyond
                beyond = last * 2 + 1
            while last + 1 < beyond:
                middle = (last + 1 + beyond) // 2
                found = await look(middle)
                if found:
                    last = found[0].sequence_number or middle
                else:
                    beyond = middle
        return last

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Send messages that are all for one queue, and return when the broker has them.

        Raises:
            OutOfReach: The broker did not take all of them.
        """
        queue, rest = outgoing[0].queue, outgoing

        async def send_rest() -> None:
            nonlocal rest
            not_taken = await self._wait(
                self._outbox.send(rest), f"the queue {self.names[queue]!r} to take what was sent", _SENDING
            )
            rest = [each.message for each in not_taken]
            if not_taken:
                raise not_taken[0].why

        try:
            await self._patiently(send_rest)
        except TimeoutError as error:
            with translated(self.names[queue]):
                raise error from None
        except Exception as error:
            # A refused sender says nothing of why; a management request does.
            await self.may_send(queue)
            with translated(self.names[queue]):
                raise error from None

    async def send_encoded(self, queue: Queue, messages: Sequence[EncodedMessage]) -> None:
        """Send messages to a queue as they are encoded, and return when the broker has them.

        Raises:
            OutOfReach: The broker did not take all of them.
        """
        if queue not in self._senders:
            self._senders[queue] = self._connected().get_queue_sender(self.names[queue])
        waiting, taking = deque(messages), f"the queue {self.names[queue]!r} to take what was sent"
        with translated(self.names[queue]):
            while waiting:
                batch = await self._wait(self._senders[queue].create_message_batch(), taking)
                while waiting and fits(batch, waiting[0]):
                    add(batch, waiting.popleft())
                if not len(batch):
                    raise MessageSizeExceededError(message="too large to be sent")
                await self._wait(self._senders[queue].send_messages(batch), taking, _SENDING)

    async def may_send(self, queue: Queue) -> None:
        """Try the right to send by cancelling a scheduled message that does not exist, which changes nothing.

        Raises:
            OutOfReach: We have no right to send, or the queue cannot be reached.
        """

        async def try_it() -> None:
            async with self._connect() as client, client.get_queue_sender(self.names[queue]) as sender:
                await sender.cancel_scheduled_messages(_MAX_NUMBER)

        name = self.names[queue]
        with translated(name), suppress(MessageNotFoundError):
            await self._wait(try_it(), f"the queue {name!r} to say whether we may send")

    def _connect(self) -> ServiceBusClient:
        try:
            return connect_service_bus(ServiceBusClient, self._settings, self._credentials, **_RETRY)
        except ValueError as error:
            raise Mistake(f"ServiceBusConnection is no connection string: {error}; nothing was touched") from None
