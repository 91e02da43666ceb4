"""Whole messages from the host: each is the AMQP message as it was received, nothing converted on the way.

The host hands over "deferred" bindings: the worker finds the type and its converter in the registry of
azurefunctions-extensions-base, which the app must have imported. Content of each, version 1.0: 16 bytes of lock token,
then the encoded message (`ServiceBusExtensionConfigProvider` of
https://github.com/Azure/azure-sdk-for-net/tree/main/sdk/servicebus/Microsoft.Azure.WebJobs.Extensions.ServiceBus).
Whoever installs azurefunctions-extensions-bindings-servicebus as well has two converters for one trigger, which the
registry refuses at import.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from azurefunctions.extensions.base import Datum, InConverter, SdkType
from msgspec import Struct
from msgspec.structs import replace

from optout_core import amqp
from optout_core.adapters import received
from optout_core.arrivals import Arrival

SOURCE, VERSION = "AzureServiceBusReceivedMessage", "1.0"
_LOCK_TOKEN_BYTES = 16

_log = logging.getLogger("optout_core")


class _Beside(Struct):
    """The metadata arrays of a batch, a second source of what a message says itself; each is read when it is needed."""

    metadata: Mapping[str, Any]
    messages: int
    arrays: dict[str, list[Any]] = {}

    def entry(self, index: int, name: str) -> Any:  # noqa: ANN401 - whatever stands there
        """Give a message's own entry of an array; None where it cannot be had."""
        if name not in self.arrays:
            try:
                values = list(self.metadata[f"{name}Array"].python_value)
            except Exception:  # noqa: BLE001 - whatever the host sends
                values = []
            # Arrays of texts come without their empty entries: then nobody knows whose an entry is.
            self.arrays[name] = values if len(values) == self.messages else [None] * self.messages
        return self.arrays[name][index]


class WholeMessage(SdkType):
    """A message as the host handed it over, not yet decoded: what decoding costs or refuses is the invocation's."""

    def __init__(self, handed_over: Any, batch: _Beside, index: int) -> None:  # noqa: ANN401 - of the worker's protobuf
        """Take what the host made of one message, what it sends beside the batch, and the message's place in it."""
        # Not that of the base: it keeps what a client is made of, and this is none.
        self._handed_over = handed_over
        self._batch = batch
        self._index = index

    def get_sdk_type(self) -> "WholeMessage":
        """Give what the function gets."""
        return self

    def arrival(self, now: datetime) -> Arrival:
        """Decode the message; what cannot be read of it is taken from the metadata, left out or named.

        Args:
            now: The current time; aware; stands in where nobody can read when the message arrived.

        Raises:
            ValueError: The host hands over something else than it did: nothing is known of any message.
        """
        handed = self._handed_over
        if (handed.source, handed.version) != (SOURCE, VERSION):
            raise ValueError(
                f"the host hands over {handed.source} {handed.version} and not {SOURCE} {VERSION}; nothing is lost, the"
                " messages go back to the queue; deploy with the extension bundle that host.json of this version names"
            )
        content: bytes = handed.content
        try:
            message = amqp.decode(content, _LOCK_TOKEN_BYTES)
        except amqp.NotAmqp:
            broken, since = content[_LOCK_TOKEN_BYTES:], self._enqueued_beside() or now
            return self._mend(
                Arrival(body=broken, enqueued_at=since, unreadable="the bytes are no AMQP message"), {}, now
            )
        arrived = received.enqueued_at(message)
        if arrived and not message.left_out:
            return received.read(message, arrived)
        return self._mend(received.read(message, arrived or self._enqueued_beside() or now), message.left_out, now)

    def _mend(self, arrival: Arrival, left_out: Mapping[int, bytes], now: datetime) -> Arrival:
        if amqp.APPLICATION_PROPERTIES in left_out:
            properties = self._beside("ApplicationProperties")
            if isinstance(properties, dict):
                arrival = replace(arrival, properties=received.read_properties(properties))
            else:
                # They may be the attributes of an opt-out: without them, its body would pass for an opt-in.
                arrival = replace(arrival, unreadable="an application property is a decimal, a char or broken")
        if body := b"".join(section for code, section in left_out.items() if code in amqp.BODY):
            arrival = replace(arrival, body=body, unreadable="the body holds a decimal, a char or broken bytes")
        # The time of arrival is part of the id of a message that has none, and must not be that of this delivery.
        number = self._beside("SequenceNumber")
        arrival = replace(arrival, message_id=arrival.message_id or (number and f"sequence-number-{number}"))
        if arrival.enqueued_at is now:
            _log.warning("a message says no time of arrival that can be read and counts as arrived now")
        return arrival

    def _beside(self, name: str) -> Any:  # noqa: ANN401 - whatever stands there
        return self._batch.entry(self._index, name)

    def _enqueued_beside(self) -> datetime | None:
        try:
            found = datetime.fromisoformat(self._beside("EnqueuedTimeUtc"))
        except (TypeError, ValueError):
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)


class WholeMessagesConverter(InConverter, binding="serviceBusTrigger", trigger=True):
    """What the worker calls to make `List[WholeMessage]` of what the host sent."""

    @classmethod
    def check_input_type_annotation(cls, pytype: type) -> bool:
        """Say that any annotation goes: the worker asks for types of its own registry only."""
        del pytype
        return True

    @classmethod
    def decode(cls, data: Datum, *, trigger_metadata: Mapping[str, Any], pytype: object = None) -> list[WholeMessage]:
        """Wrap the messages of one invocation.

        Raises:
            ValueError: The host did not send whole messages.
        """
        del pytype
        if data.type != "collection_model_binding_data":
            raise ValueError(f"the host sends {data.type}: it does not know whole messages, or one at a time was asked")
        messages = data.value.model_binding_data
        batch = _Beside(trigger_metadata, len(messages))
        return [WholeMessage(handed_over, batch, index) for index, handed_over in enumerate(messages)]

    @classmethod
    def has_implicit_output(cls) -> bool:
        """Say that what the function returns goes nowhere."""
        return False
