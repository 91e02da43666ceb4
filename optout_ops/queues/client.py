"""Reaches the two queues: looks without locking, and sends. With `taking`, the only user of azure.servicebus.

One receiver for each queue serves everything, one call after the other: a second one would lock a message of the first.
"""

import asyncio
import functools
import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Self

from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageNotFoundError,
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusError,
    ServiceBusServerBusyError,
)
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_exponential

from optout_core.adapters import received
from optout_core.adapters.outbox import ServiceBusOutbox
from optout_core.adapters.signing import entra_credential
from optout_core.errors import SendFailed
from optout_core.messages import Outgoing, Queue
from optout_core.settings import Settings
from optout_ops.exits import Mistake, OutOfReach
from optout_ops.letters.dead_letters import QueueMessage

#: The most a peek gives at once (https://github.com/Azure/azure-sdk-for-python/issues/26643).
PEEK = 250
_ENDPOINT = re.compile(r"endpoint=sb://(?P<host>[^/;]+)", re.IGNORECASE)
#: Seconds for an answer of the namespace; without a limit the SDK waits for ever.
_ANSWER = 60.0
#: Doubling from 1, no queue has a tail further out.
_MAX_NUMBER = 2**62

#: The SDK tries four times, fifteen seconds in all, whatever is wrong. Here somebody waits for the answer.
_RETRY: dict[str, Any] = {"retry_total": 1, "retry_backoff_factor": 0.5}


def _is_busy(error: BaseException) -> bool:
    return isinstance(error.__cause__ if isinstance(error, SendFailed) else error, ServiceBusServerBusyError)


#: But a namespace that throttles us asks for ten seconds (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-throttling).
_BUSY = AsyncRetrying(
    retry=retry_if_exception(_is_busy), wait=wait_exponential(max=10), stop=stop_after_delay(120), reraise=True
)
_REFUSALS = (ServiceBusAuthenticationError, ServiceBusAuthorizationError, ClientAuthenticationError)


def namespace_of(settings: Settings) -> str:
    """Name the namespace by its host and, where it has one, its port."""
    if settings.connection_string is None:
        return (settings.namespace or "").lower()
    found = _ENDPOINT.search(settings.connection_string.get_secret_value())
    return found["host"].lower() if found else ""


class Queues:
    """The queues of one namespace, connected while the `async with` block runs."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; nothing is opened before the first use."""
        self._settings = settings
        self.names: Mapping[Queue, str] = {
            Queue.OPT_INS: settings.opt_in_queue,
            Queue.DEAD_LETTERS: settings.dead_letter_queue,
        }
        self._stack = AsyncExitStack()
        self._client: ServiceBusClient | None = None
        self._receivers: dict[Queue, ServiceBusReceiver] = {}
        # A dead letter that is too large stays where it is: cut in two, nobody could read it any more.
        self._outbox = ServiceBusOutbox(self._connect, self.names, may_cut=False)

    async def __aenter__(self) -> Self:
        # The SDK tells of every lost link at length; what matters comes as an error.
        logging.getLogger("azure").setLevel(logging.CRITICAL)
        return self

    async def __aexit__(self, *_: object) -> None:
        # Each link takes half a second to close, whatever the broker does: all at once.
        closing = (receiver.close() for receiver in self._receivers.values())
        with translated():
            await asyncio.gather(self._outbox.close(), *closing)
            await self._stack.aclose()

    def where(self, queue: Queue) -> dict[str, str]:
        """Name namespace and queue, for the audit trail."""
        return {"namespace": namespace_of(self._settings), "queue": self.names[queue]}

    async def receiver(self, queue: Queue) -> ServiceBusReceiver:
        """Give the one receiver of a queue, in peek-lock."""
        if self._client is None:
            self._client = self._connect()
            self._stack.push_async_callback(self._client.close)
        if queue not in self._receivers:
            self._receivers[queue] = self._client.get_queue_receiver(self.names[queue])
        return self._receivers[queue]

    async def peek(self, queue: Queue, start: int = 1) -> AsyncIterator[QueueMessage]:
        """Look at the messages of a queue, locked and scheduled ones too, by sequence number from `start` on.

        Raises:
            OutOfReach: The queue cannot be looked at.
        """
        receiver = await self.receiver(queue)
        while True:
            with translated(self.names[queue]):
                page: list[ServiceBusReceivedMessage] = await _BUSY(
                    receiver.peek_messages, PEEK, sequence_number=start, timeout=_ANSWER
                )
            if not page:
                return
            for message in page:
                yield read_message(message)
            start = (page[-1].sequence_number or 0) + 1

    async def tail(self, queue: Queue) -> int:
        """Give the sequence number behind which a queue is empty, in a few looks and without reading the queue.

        Raises:
            OutOfReach: The queue cannot be looked at.
        """
        receiver = await self.receiver(queue)
        look = functools.partial(receiver.peek_messages, 1, timeout=_ANSWER)
        last, beyond = 0, 1
        with translated(self.names[queue]):
            while beyond < _MAX_NUMBER and (found := await look(sequence_number=beyond)):
                last = found[0].sequence_number or beyond
                beyond = last * 2 + 1
            while last + 1 < beyond:
                middle = (last + 1 + beyond) // 2
                found = await look(sequence_number=middle)
                if found:
                    last = found[0].sequence_number or middle
                else:
                    beyond = middle
        return last

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Send messages and wait until the broker has them all.

        Raises:
            OutOfReach: It did not take all of them.
        """
        queue = outgoing[0].queue
        try:
            await _BUSY(self._outbox.send, outgoing)
        except SendFailed as error:
            # A refused sender says nothing of why; a management request does.
            await self.may_send(queue)
            with translated(self.names[queue]):
                raise (error.__cause__ or error) from None

    async def may_send(self, queue: Queue) -> None:
        """Ask for something that needs the right to send and does nothing: to cancel a message that does not exist.

        Raises:
            OutOfReach: We may not send.
        """
        with translated(self.names[queue]), suppress(MessageNotFoundError):
            async with self._connect() as client, client.get_queue_sender(self.names[queue]) as sender:
                await sender.cancel_scheduled_messages(_MAX_NUMBER)

    def _connect(self) -> ServiceBusClient:
        settings = self._settings
        if settings.connection_string is not None:
            secret = settings.connection_string.get_secret_value()
            try:
                return ServiceBusClient.from_connection_string(secret, **_RETRY)
            except ValueError as error:
                raise Mistake(f"ServiceBusConnection is no connection string: {error}; nothing was touched") from None
        credential = entra_credential(settings.namespace_client_id or settings.identity_client_id)
        self._stack.push_async_callback(credential.close)
        return ServiceBusClient(settings.namespace or "", credential, **_RETRY)


@contextmanager
def translated(queue: str = "") -> Iterator[None]:
    """Turn what azure.servicebus raises into what an operator can act on.

    Raises:
        OutOfReach: In place of it.
        MessageLockLostError: As it is; who holds locks knows what to do.
    """
    at = f"the queue {queue!r}" if queue else "the namespace"
    try:
        yield
    except MessageLockLostError:
        raise
    except _REFUSALS as error:
        raise OutOfReach(
            f"we are not allowed at {at} ({type(error).__name__}); nothing was changed; `az login`, and ask for the"
            " roles Service Bus Data Receiver and Sender on both queues, or check the key in ServiceBusConnection"
        ) from error
    except MessagingEntityNotFoundError as error:
        raise OutOfReach(
            f"{at} does not exist in this namespace; nothing was changed; check OPT_IN_QUEUE, DEAD_LETTER_QUEUE and the"
            " namespace"
        ) from error
    except (ServiceBusError, AzureError, OSError, TimeoutError) as error:
        raise OutOfReach(
            f"{at} cannot be reached ({type(error).__name__}); nothing is lost: what was sent is in the queue and what"
            " was not is still a dead letter; check that it exists, and the network, then run the same command again"
        ) from error


def read_message(message: ServiceBusReceivedMessage) -> QueueMessage:
    """Read a message as the function reads it, and what only operators need."""
    arrival = received.read(message, received.enqueued_at(message) or datetime.now(UTC))
    return QueueMessage(
        sequence_number=received.attribute(message, "sequence_number") or 0,
        enqueued_at=arrival.enqueued_at,
        delivery_count=received.attribute(message, "delivery_count") or 0,
        body=arrival.body,
        message_id=arrival.message_id,
        content_type=arrival.content_type,
        correlation_id=arrival.correlation_id,
        subject=received.text(received.attribute(message, "subject")),
        properties=arrival.properties,
    )
