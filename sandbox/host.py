"""Invokes a function as the Azure Functions host does: receive a batch, convert, invoke, complete all or abandon all.

It finds the trigger through `app.get_functions()`, honours `host.json` and app settings, and hands over what the real
host hands over, in the same forms (docs/facts/functions-and-service-bus.md, "Trigger"), through azure-functions' own
converter. One batch at a time, no lock renewal, and an exception gives every message back at once: as the batch trigger
does it.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure.functions as func
from azure.functions.meta import Datum
from azure.functions.servicebus import ServiceBusMessageInConverter
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.amqp import AmqpMessageBodyType
from azure.servicebus.exceptions import ServiceBusError
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

#: Defaults of the host (https://learn.microsoft.com/azure/azure-functions/functions-bindings-service-bus#hostjson-settings
#: and https://learn.microsoft.com/azure/azure-functions/functions-host-json#functiontimeout, Flex Consumption).
_MAX_BATCH = 1000
_TIMEOUT = "00:30:00"

_log = logging.getLogger("sandbox.host")


class HostError(Exception):
    """Refuse an app or a host.json with which the real host would not start either."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """Hold what the host needs of one Service Bus queue trigger.

    Attributes:
        name: Of the function.
        function: Called with the messages as its only argument, which is named `argument`.
        argument: As above.
        queue: Its name, app settings filled in.
        connection: The connection string that the trigger's setting names.
        max_batch: Messages per invocation, at least 1.
        timeout: How long an invocation may take.
    """

    name: str
    function: Callable[..., Awaitable[None]]
    argument: str
    queue: str
    connection: str
    max_batch: int
    timeout: timedelta


def find_trigger(app: func.FunctionApp, host_json: Path, settings: Mapping[str, str]) -> Trigger:
    """Find the app's one batch trigger and fill in its settings.

    Raises:
        HostError: The app, host.json or a setting is not what a Service Bus batch trigger needs.
    """
    functions = app.get_functions()
    if len(functions) != 1:
        raise HostError(f"the sandbox runs an app with one function; this one has {len(functions)}")
    function = functions[0]
    binding = json.loads(str(function))["bindings"][0]
    if binding["type"] != "serviceBusTrigger" or binding["cardinality"] != "MANY" or binding["dataType"] != "BINARY":
        raise HostError(f"{function.get_function_name()} must have a Service Bus batch trigger of binary data")
    document = json.loads(host_json.read_bytes())
    service_bus = document.get("extensions", {}).get("serviceBus", {})
    return Trigger(
        name=str(function.get_function_name()),
        function=function.get_user_function(),
        argument=str(binding["name"]),
        queue=_fill_in(binding["queueName"], settings),
        connection=_setting(binding["connection"], settings),
        max_batch=int(service_bus.get("maxMessageBatchSize", _MAX_BATCH)),
        timeout=_duration(document.get("functionTimeout", _TIMEOUT)),
    )


class Host:
    """Feed one trigger until it is stopped."""

    def __init__(self, trigger: Trigger) -> None:
        """Take the trigger; nothing is received before `run`."""
        self._trigger = trigger
        self._stopping = asyncio.Event()
        self._invoking = asyncio.Lock()

    async def run(self) -> None:
        """Receive and invoke until `stop` is called; a lost connection is built up again."""
        again = AsyncRetrying(
            retry=retry_if_exception_type((ServiceBusError, OSError)),
            wait=wait_exponential(multiplier=0.2, max=5),
            before_sleep=lambda _: _log.warning("the host lost the queue and connects again"),
        )
        listening: asyncio.Task[None] = asyncio.create_task(again(self._listen))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((listening, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        async with self._invoking:
            # More than once: below Python 3.12 asyncio.wait_for, with which the client waits, can swallow one.
            while not listening.done():
                listening.cancel()
                await asyncio.wait((listening,), timeout=0.5)
        if not listening.cancelled():
            listening.result()

    def stop(self) -> None:
        """Let `run` return when the invocation under way is settled."""
        self._stopping.set()

    async def _listen(self) -> None:
        async with (
            ServiceBusClient.from_connection_string(self._trigger.connection) as client,
            client.get_queue_receiver(self._trigger.queue) as receiver,
        ):
            while not self._stopping.is_set():
                if messages := await receiver.receive_messages(self._trigger.max_batch, max_wait_time=60):
                    async with self._invoking:
                        await self._invoke(receiver, messages)

    async def _invoke(self, receiver: ServiceBusReceiver, messages: Sequence[ServiceBusReceivedMessage]) -> None:
        settle = receiver.complete_message
        try:
            async with asyncio.timeout(self._trigger.timeout.total_seconds()):
                await self._trigger.function(**{self._trigger.argument: convert(messages)})
        except Exception as error:  # noqa: BLE001 - whatever a function raises, the host abandons and goes on
            _log.error("%s failed, %d messages go back: %s", self._trigger.name, len(messages), error or type(error))
            settle = receiver.abandon_message
        # One after another: concurrent settling is slower (docs/facts/service-bus-wire.md, "Settling at once").
        for message in messages:
            try:
                await settle(message)
            except ServiceBusError as error:
                _log.warning("a message was not settled and comes again: %s", type(error).__name__)


def convert(messages: Sequence[ServiceBusReceivedMessage]) -> Any:  # noqa: ANN401 - the converter is untyped
    """Turn received messages into what the function gets, through the metadata that the host would send."""
    bodies = SimpleNamespace(bytes=[body_of(message) for message in messages])
    return ServiceBusMessageInConverter.decode(Datum(bodies, "collection_bytes"), trigger_metadata=metadata(messages))


def metadata(messages: Sequence[ServiceBusReceivedMessage]) -> dict[str, Datum]:
    """Give the trigger metadata of a batch: one JSON array for each property, one entry for each message."""
    properties = [
        {_text(name): _text(value) for name, value in (message.application_properties or {}).items()}
        for message in messages
    ]
    arrays: dict[str, list[Any]] = {
        "MessageId": [message.message_id for message in messages],
        "ContentType": [message.content_type for message in messages],
        "CorrelationId": [message.correlation_id for message in messages],
        "Subject": [message.subject for message in messages],
        "Label": [message.subject for message in messages],
        "To": [message.to for message in messages],
        "ReplyTo": [message.reply_to for message in messages],
        "SessionId": [message.session_id for message in messages],
        "ReplyToSessionId": [message.reply_to_session_id for message in messages],
        "PartitionKey": [message.partition_key for message in messages],
        "TransactionPartitionKey": [None for _ in messages],
        "DeadLetterSource": [message.dead_letter_source for message in messages],
        # The host counts from 1, the SDK from 0.
        "DeliveryCount": [(message.delivery_count or 0) + 1 for message in messages],
        "SequenceNumber": [message.sequence_number for message in messages],
        "LockToken": [str(message.lock_token) for message in messages],
        "EnqueuedTimeUtc": [_time(message.enqueued_time_utc) for message in messages],
        "ExpiresAtUtc": [_time(message.expires_at_utc) for message in messages],
        "ApplicationProperties": properties,
        "UserProperties": properties,
    }
    return {f"{name}Array": Datum(json.dumps(values), "json") for name, values in arrays.items()}


def body_of(message: ServiceBusReceivedMessage) -> bytes:
    """Give the bytes of a message; a value or a sequence of AMQP, which hardly any client sends, becomes text."""
    if message.body_type is AmqpMessageBodyType.DATA:
        return b"".join(message.body)
    value: object = message.body
    return value if isinstance(value, bytes) else str(value).encode()


def _text(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, datetime):
        return _time(value)
    # AMQP has more types than JSON: an id, a map.
    return value if isinstance(value, str | bool | int | float | None) else str(value)


def _time(value: object) -> str | None:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else None


def _fill_in(text: str, settings: Mapping[str, str]) -> str:
    return re.sub(r"%([^%]+)%", lambda name: _setting(name.group(1), settings), text)


def _setting(name: str, settings: Mapping[str, str]) -> str:
    if not settings.get(name):
        raise HostError(f"the app setting {name} is missing: the trigger needs it")
    return settings[name]


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"(?:(\d+)\.)?(\d+):(\d+):(\d+)", text)
    if text == "-1":
        return timedelta.max
    if found is None:
        raise HostError(f"functionTimeout of host.json must be a time such as 00:04:30, and is {text!r}")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
