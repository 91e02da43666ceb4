"""Hands retries and dead letters to the broker, and gives back what it did not take, message by message.

The only user of azure.servicebus. Two of its habits shape this file (docs/facts/functions-and-service-bus.md, "The
azure-servicebus client"): a sender is not safe when several coroutines open it at once, so there is one lock for each
queue; and a sender that was idle for ten minutes may be dead without saying so, so after a failure the connection is
built anew, and what was not yet accepted is sent once more. Sending a message twice is harmless: ids are deterministic
and both queues detect duplicates.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from struct import error as StructError  # noqa: N812 - a class in all but its name
from typing import TYPE_CHECKING, Any

from optout_core.outgoing import NotTaken, Outgoing, Queue

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusMessage, ServiceBusMessageBatch
    from azure.servicebus.aio import ServiceBusClient, ServiceBusSender

#: Seconds for one transfer, and for opening what it needs.
SEND_TIMEOUT = 30.0

#: Seconds between two tries of a transfer: the blip that ended the first should be over.
PAUSE = 1.0

#: Bytes. azure-servicebus 7.15 measures a batch before it copies the first message's id into its envelope
#: (`ServiceBusMessageBatch._add`), so a batch that it calls full may be refused.
_HEADROOM = 1024
#: Messages after which others get their turn on the loop: the client needs a quarter of a millisecond for each.
_STRETCH = 50


class ServiceBusOutbox:
    """The two queues, each over a connection of its own that is opened at its first message.

    Attributes:
        is_in_doubt: Whether nothing was taken when something was last to be sent: then nothing that has to be recorded
            should be begun.
    """

    def __init__(
        self,
        connect: "Callable[[], ServiceBusClient]",
        queues: Mapping[Queue, str],
        timeout: float = SEND_TIMEOUT,
        *,
        may_cut: bool = True,
    ) -> None:
        """Take a function that makes a client, what the queues are called, and the seconds that one transfer may take.

        With `may_cut`, a message that is refused loses what can be done without, and is cut in two as a last resort;
        without it, such a message is given back.
        """
        self.is_in_doubt = False
        self._senders = {queue: _Sender(connect, queues[queue], timeout, may_cut=may_cut) for queue in Queue}

    async def send(self, outgoing: Sequence[Outgoing]) -> Sequence[NotTaken]:
        """Send all messages, each queue's in as few transfers as their size allows.

        Returns:
            What the broker did not take; empty when it has everything.
        """
        if not outgoing:
            return ()
        # Opening a link takes half a second: both queues at once.
        sends = [
            self._senders[queue].send(mine)
            for queue in Queue
            if (mine := [message for message in outgoing if message.queue is queue])
        ]
        not_taken = [each for given_back in await asyncio.gather(*sends) for each in given_back]
        self.is_in_doubt = len(not_taken) >= len(outgoing)
        return not_taken

    async def close(self) -> None:
        """Close the connections; the next message opens a new one."""
        await asyncio.gather(*(sender.close() for sender in self._senders.values()))


class _Sender:
    """One queue over one connection."""

    def __init__(self, connect: "Callable[[], ServiceBusClient]", queue: str, timeout: float, *, may_cut: bool) -> None:
        self._connect = connect
        self._queue = queue
        self._timeout = timeout
        self._may_cut = may_cut
        self._lock = asyncio.Lock()
        self._client: ServiceBusClient | None = None
        self._sender: ServiceBusSender | None = None
        # Imported late, as azure-servicebus is: an invocation in which nothing fails sends nothing.
        from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_fixed

        # Whatever goes wrong, the second try has a new connection; what is still wrong then is not ours to mend.
        self._twice = AsyncRetrying(
            stop=stop_after_attempt(2),
            wait=wait_fixed(PAUSE),
            retry=retry_if_exception(lambda error: isinstance(error, Exception) and not _blames_messages(error)),
            after=self._drop,
            reraise=True,
        )

    async def send(self, outgoing: Sequence[Outgoing]) -> list[NotTaken]:
        """Send in order until the queue itself fails; give back the messages that it did not take."""
        not_taken: list[NotTaken] = []
        waiting: list[Sequence[Outgoing]] = [outgoing]
        was_refused = False
        async with self._lock:
            while waiting:
                group = waiting.pop()
                try:
                    transfer, count = await self._packed(group)
                    if count < len(group):
                        waiting.append(group[count:])
                        group = group[:count]
                    await (self._twice(self._transfer, transfer) if count > 1 else self._send_alone(group[0]))
                    was_refused = False
                except Exception as error:  # noqa: BLE001 - it is given back
                    if _blames_messages(error) and len(group) > 1:
                        waiting += [group[len(group) // 2 :], group[: len(group) // 2]]
                    elif _blames_messages(error) and not was_refused:
                        # One message is its own fault; two in a row, each alone, are the queue's.
                        was_refused = True
                        not_taken.append(NotTaken(group[0], error))
                    else:
                        rest = (message for each in (group, *reversed(waiting)) for message in each)
                        return [*not_taken, *(NotTaken(message, error) for message in rest)]
        return not_taken

    async def close(self) -> None:
        """Close the connection."""
        async with self._lock:
            await self._drop()

    def _opened(self) -> "ServiceBusSender":
        if self._client is None:
            self._client = self._connect()
        if self._sender is None:
            self._sender = self._client.get_queue_sender(self._queue)
        return self._sender

    async def _packed(self, group: Sequence[Outgoing]) -> "tuple[ServiceBusMessageBatch, int]":
        packed: tuple[ServiceBusMessageBatch, int] = await self._twice(self._pack, group)
        return packed

    async def _pack(self, group: Sequence[Outgoing]) -> "tuple[ServiceBusMessageBatch, int]":
        """Put as many of the first messages as possible into one transfer, and say how many; at least one."""
        from azure.servicebus.exceptions import MessageSizeExceededError

        sender = self._opened()
        async with asyncio.timeout(self._timeout):
            limit = (await sender.create_message_batch()).max_size_in_bytes - _HEADROOM
            batch = await sender.create_message_batch(limit)
        try:
            for number, message in enumerate(group, start=1):
                batch.add_message(_to_service_bus(message))
                if number % _STRETCH == 0:
                    await asyncio.sleep(0)
        except MessageSizeExceededError:
            return batch, len(batch) or 1
        return batch, len(group)

    async def _transfer(self, content: "ServiceBusMessageBatch | ServiceBusMessage") -> None:
        sender = self._opened()
        async with asyncio.timeout(self._timeout):
            await sender.send_messages(content)

    async def _send_alone(self, message: Outgoing) -> None:
        """Send a message without the envelope of a batch (up to 1 KB), and if it is refused with less beside its body.

        Raises:
            Exception: What the last form of it was refused for.
        """
        from azure.servicebus.exceptions import MessageSizeExceededError

        forms = [message, message.slimmed(), message.bare()] if self._may_cut else [message]
        for form in forms:
            try:
                await self._twice(self._transfer, _to_service_bus(form))
            except MessageSizeExceededError:
                # What the publisher wrote beside the body may be part of the event: cut rather than left out.
                if self._may_cut and form is not message:
                    break
                if form is forms[-1]:
                    raise
            except Exception as error:
                if form is forms[-1] or not _blames_messages(error):
                    raise
            else:
                return
        for half in forms[1].halves():
            await self._twice(self._transfer, _to_service_bus(half))

    async def _drop(self, _: object = None) -> None:
        client, sender, self._client, self._sender = self._client, self._sender, None, None
        # What is thrown away may be broken in any way, and may not answer.
        with suppress(Exception):
            async with asyncio.timeout(self._timeout):
                if sender is not None:
                    await sender.close()
                if client is not None:
                    await client.close()


def _blames_messages(error: BaseException) -> bool:
    """Say whether the broker, or the client before it, found fault with what was sent and not with the way to it."""
    from azure.servicebus.exceptions import MessageSizeExceededError, ServiceBusError

    # The client has names for what ails a queue, a link or us; any other condition comes as the plain error.
    return type(error) is ServiceBusError or isinstance(
        error, MessageSizeExceededError | UnicodeError | TypeError | OverflowError | StructError
    )


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
