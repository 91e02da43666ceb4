"""Hands retries and dead letters to the broker, and returns only when it has them.

The only user of azure.servicebus. Two of its habits shape this file (docs/facts/functions-and-service-bus.md, "The
azure-servicebus client"): a sender is not safe when several coroutines open it at once, so there is one lock; and a
sender that was idle for ten minutes may be dead without saying so, so whatever goes wrong, everything is built anew
once. Sending a message twice is harmless: ids are deterministic and both queues detect duplicates.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tenacity import AsyncRetrying, stop_after_attempt

from optout_core.errors import SendFailed
from optout_core.messages import Outgoing, Queue

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusMessage
    from azure.servicebus.aio import ServiceBusClient, ServiceBusSender

#: Seconds for one try. Two tries and the budget of the invocation stay well under the lock of five minutes.
SEND_TIMEOUT = 30.0

#: Bytes. azure-servicebus 7.15 measures a batch before it copies the first message's id into its envelope
#: (`ServiceBusMessageBatch._add`), so a batch that it calls full may be refused.
_HEADROOM = 1024


class ServiceBusOutbox:
    """The two queues over one connection, opened at the first message."""

    def __init__(
        self,
        connect: "Callable[[], ServiceBusClient]",
        queues: Mapping[Queue, str],
        timeout: float = SEND_TIMEOUT,
        *,
        may_cut: bool = True,
    ) -> None:
        """Take a function that makes a client, what the queues are called, and the seconds that one try may take.

        With `may_cut`, a message that is too large loses what can be done without, and is cut in two as a last resort;
        without it, such a message is refused.
        """
        self._connect = connect
        self._queues = queues
        self._timeout = timeout
        self._may_cut = may_cut
        self._lock = asyncio.Lock()
        self._client: ServiceBusClient | None = None
        self._senders: dict[Queue, ServiceBusSender] = {}

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Send all messages, each queue's in as few transfers as their size allows.

        Raises:
            SendFailed: The broker did not take all of them, not even over a new connection.
        """
        if not outgoing:
            return
        # Whatever goes wrong, the second try has a new connection; what is still wrong then is not ours to mend.
        twice = AsyncRetrying(stop=stop_after_attempt(2), after=self._drop, reraise=True)
        async with self._lock:
            try:
                await twice(self._send_in_time, outgoing)
            except Exception as error:
                raise SendFailed(
                    f"the broker did not take {len(outgoing)} retries and dead letters ({type(error).__name__});"
                    " nothing is lost: no message is completed and the broker delivers them all again;"
                    " check that the namespace is up and that we may send to both queues"
                ) from error

    async def close(self) -> None:
        """Close the connection; the next message opens a new one."""
        async with self._lock:
            await self._drop()

    async def _send_in_time(self, outgoing: Sequence[Outgoing]) -> None:
        async with asyncio.timeout(self._timeout):
            # Opening a link takes half a second: both queues at once, and both have ended when one has failed.
            sends = [
                self._send_to(queue, mine)
                for queue in Queue
                if (mine := [message for message in outgoing if message.queue is queue])
            ]
            for failure in await asyncio.gather(*sends, return_exceptions=True):
                if failure is not None:
                    raise failure

    def _sender(self, queue: Queue) -> "ServiceBusSender":
        if self._client is None:
            self._client = self._connect()
        if queue not in self._senders:
            self._senders[queue] = self._client.get_queue_sender(self._queues[queue])
        return self._senders[queue]

    async def _send_to(self, queue: Queue, outgoing: Sequence[Outgoing]) -> None:
        from azure.servicebus.exceptions import MessageSizeExceededError

        sender = self._sender(queue)
        limit = (await sender.create_message_batch()).max_size_in_bytes - _HEADROOM
        batch = await sender.create_message_batch(limit)
        for message in outgoing:
            try:
                batch.add_message(_to_service_bus(message))
            except MessageSizeExceededError:
                if len(batch):
                    await sender.send_messages(batch)
                    batch = await sender.create_message_batch(limit)
                try:
                    batch.add_message(_to_service_bus(message))
                except MessageSizeExceededError:
                    await self._send_alone(sender, message.slimmed() if self._may_cut else message)
        await sender.send_messages(batch)

    async def _send_alone(self, sender: "ServiceBusSender", message: Outgoing) -> None:
        from azure.servicebus.exceptions import MessageSizeExceededError

        try:
            # Sent alone, the message needs no batch envelope (up to 1 KB), so one that just failed to fit may still go.
            await sender.send_messages(_to_service_bus(message))
        except MessageSizeExceededError:
            if not self._may_cut:
                raise
            for half in message.halves():
                await sender.send_messages(_to_service_bus(half))

    async def _drop(self, _: object = None) -> None:
        client, senders = self._client, list(self._senders.values())
        self._client = None
        self._senders.clear()
        # What is thrown away may be broken in any way, and may not answer.
        with suppress(Exception):
            async with asyncio.timeout(self._timeout):
                await asyncio.gather(*(sender.close() for sender in senders), return_exceptions=True)
                if client is not None:
                    await client.close()


def _to_service_bus(message: Outgoing) -> "ServiceBusMessage":
    from azure.servicebus import ServiceBusMessage

    return ServiceBusMessage(
        message.body,
        message_id=message.message_id,
        # The content type is an AMQP symbol (ASCII): one other character makes the broker reject the whole batch.
        content_type=message.content_type and message.content_type.encode("ascii", "replace").decode(),
        correlation_id=message.correlation_id,
        application_properties={name: _to_amqp(value) for name, value in message.properties.items()},
        scheduled_enqueue_time_utc=message.scheduled_at,
    )


def _to_amqp(value: Any) -> Any:  # noqa: ANN401 - whatever a publisher set
    from azure.servicebus._pyamqp.types import AMQPTypes

    # The client takes every integer for one of 32 bits, unless it is told.
    is_long = isinstance(value, int) and not -(2**31) <= value < 2**31
    if not is_long:
        return value
    return {"TYPE": AMQPTypes.long if value < 2**63 else AMQPTypes.ulong, "VALUE": value}
