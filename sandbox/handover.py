"""What the host sends to the worker for one batch: whole messages, and the metadata arrays beside them.

Content of a message: the lock token as .NET writes a GUID, then the AMQP message as it came. The worker takes
typed collections and does not say that it wants empty entries: so arrays of texts come without them, shorter than the
batch (https://github.com/Azure/azure-functions-python-worker/issues/1122).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from azurefunctions.extensions.base import Datum

from sandbox.dotnet import LEFT_OUT, Undecodable, json_of, text_of, time_of
from sandbox.receiver import Delivery
from servicebus_sandbox.amqp import Symbol, Timestamp
from servicebus_sandbox.decode import decode_at
from servicebus_sandbox.skip import end_of

SOURCE = "AzureServiceBusReceivedMessage"

_HEADER, _ANNOTATIONS, _PROPERTIES, _APPLICATION_PROPERTIES = 0x70, 0x72, 0x73, 0x74
#: The standard properties, and the type that AMQP gives each (messaging, 3.2.4).
_NAMES: dict[str, type | tuple[type, ...]] = {
    "message_id": object,
    "user_id": bytes,
    "to": str,
    "subject": str,
    "reply_to": str,
    "correlation_id": object,
    "content_type": Symbol,
    "content_encoding": Symbol,
    "absolute_expiry_time": Timestamp,
    "creation_time": Timestamp,
    "group_id": str,
    "group_sequence": int,
    "reply_to_group_id": str,
}
#: A message without a time to live expires at the end of .NET's calendar.
_NEVER = "9999-12-31T23:59:59.9999999"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the .NET client reads of a message.

    Attributes:
        properties: The standard ones that are set, by name.
        application_properties: As JSON.
        annotations: The broker's, by name.
        delivery_count: Deliveries in vain, at least 0.
        ttl: Milliseconds, or None.
    """

    properties: dict[str, Any] = field(default_factory=dict)
    application_properties: dict[str, Any] = field(default_factory=dict)
    annotations: dict[str, Any] = field(default_factory=dict)
    delivery_count: int = 0
    ttl: int | None = None


def read(content: bytes) -> Facts:
    """Read a message as the .NET client does.

    Raises:
        Undecodable: It cannot.
    """
    sections, position = {}, 0
    while position < len(content):
        code, value_at = decode_at(content, position + 1)
        if code > _APPLICATION_PROPERTIES:
            break
        position = end_of(content, value_at)
        sections[int(code)] = decode_at(content, value_at)[0]
    header = (*sections.get(_HEADER, ()), *[None] * 5)[:5]
    properties = {}
    for (name, kind), value in zip(_NAMES.items(), sections.get(_PROPERTIES, ()), strict=False):
        if value is None:
            continue
        if not isinstance(value, kind) or (kind is str and isinstance(value, Symbol)):
            raise Undecodable(
                f"Azure.Messaging.ServiceBus.ServiceBusException: the property {name} is of another type than AMQP"
                " gives it: format code invalid (GeneralError)"
            )
        properties[name] = value
    applied = {str(name): json_of(value) for name, value in sections.get(_APPLICATION_PROPERTIES, {}).items()}
    return Facts(
        properties=properties,
        application_properties={name: value for name, value in applied.items() if value is not LEFT_OUT},
        annotations={str(name): value for name, value in sections.get(_ANNOTATIONS, {}).items()},
        delivery_count=int(header[4] or 0),
        ttl=header[2],
    )


def hand_over(batch: Sequence[Delivery], namespace: str) -> tuple[Datum, dict[str, Datum]]:
    """Make of a batch what the worker is sent: the data of the trigger's binding, and the trigger metadata.

    Raises:
        Undecodable: The .NET client cannot read one of the messages.
    """
    messages = [
        SimpleNamespace(
            version="1.0",
            source=SOURCE,
            content_type="application/octet-stream",
            content=delivery.lock_token.bytes_le + delivery.content,
        )
        for delivery in batch
    ]
    data = Datum(SimpleNamespace(model_binding_data=messages), "collection_model_binding_data")
    return data, metadata(batch, [read(delivery.content) for delivery in batch], namespace)


def metadata(batch: Sequence[Delivery], read: Sequence[Facts], namespace: str) -> dict[str, Datum]:
    """Give the trigger metadata of a batch, in the forms in which the host sends it."""

    def texts(take: Callable[[Facts], object]) -> Datum:
        found = (text_of(take(facts)) for facts in read)
        return Datum(SimpleNamespace(string=[text for text in found if text]), "collection_string")

    def document(values: Sequence[object]) -> Datum:
        return Datum(json.dumps(values), "json")

    def standard(name: str) -> Datum:
        return texts(lambda facts: facts.properties.get(name))

    enqueued = [_moment(facts.annotations.get("x-opt-enqueued-time")) for facts in read]
    expires = [_expiry(facts) for facts in read]
    applied = document([facts.application_properties for facts in read])
    partition_keys = texts(lambda facts: facts.annotations.get("x-opt-partition-key"))
    arrays = {
        "MessageId": standard("message_id"),
        "ContentType": standard("content_type"),
        "CorrelationId": standard("correlation_id"),
        "Subject": standard("subject"),
        "Label": standard("subject"),
        "To": standard("to"),
        "ReplyTo": standard("reply_to"),
        "SessionId": standard("group_id"),
        "ReplyToSessionId": standard("reply_to_group_id"),
        "PartitionKey": partition_keys,
        # A slip of the extension: the keys for transactions are those of the partitions.
        "TransactionPartitionKey": partition_keys,
        "DeadLetterSource": texts(lambda facts: facts.annotations.get("x-opt-deadletter-source")),
        "LockToken": Datum(SimpleNamespace(string=[str(each.lock_token) for each in batch]), "collection_string"),
        "SequenceNumber": Datum(
            SimpleNamespace(sint64=[int(facts.annotations.get("x-opt-sequence-number", 0)) for facts in read]),
            "collection_sint64",
        ),
        # The host counts from 1, the header from 0.
        "DeliveryCount": document([facts.delivery_count + 1 for facts in read]),
        "EnqueuedTimeUtc": document(enqueued),
        "ExpiresAtUtc": document(expires),
        "EnqueuedTime": document([f"{time}+00:00" for time in enqueued]),
        "ExpiresAt": document([f"{time}+00:00" for time in expires]),
        "ApplicationProperties": applied,
        "UserProperties": applied,
    }
    nothing = ("MessageReceiver", "MessageActions", "MessageSession", "SessionActions", "ReceiveActions")
    client = {"FullyQualifiedNamespace": namespace, "IsClosed": False, "TransportType": 0, "Identifier": namespace}
    return {
        **{f"{name}Array": datum for name, datum in arrays.items()},
        **{name: document({}) for name in nothing},  # type: ignore[arg-type] # an object, not an array
        "Client": Datum(json.dumps(client), "json"),
    }


def _moment(milliseconds: int | None) -> str:
    return time_of(milliseconds or 0, zone="")


def _expiry(facts: Facts) -> str:
    enqueued = facts.annotations.get("x-opt-enqueued-time") or 0
    return _NEVER if facts.ttl is None else time_of(enqueued + facts.ttl, zone="")
