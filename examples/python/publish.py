"""Publish an opt-in and an opt-out with azure-servicebus.

    pip install azure-servicebus azure-identity
    python publish.py

In the sandbox ServiceBusConnection leads to the namespace; on Azure ServiceBusConnection__fullyQualifiedNamespace names
it, and whoever runs this needs the role "Azure Service Bus Data Sender" on the queue.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

from azure.identity import DefaultAzureCredential
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusSender
from azure.servicebus.exceptions import MessageSizeExceededError

SOURCE = "https://shop.example/preferences"
SENDER = "+18001234567"


def opt_in(recipients: Sequence[str], said_at: datetime, reference: str) -> dict[str, Any]:
    """Make the event that people opted in.

    Args:
        recipients: Their numbers, in E.164; about 9,000 fit one event.
        said_at: When they said so; aware. In an import this is when each person said so, not the time of the import.
        reference: Where the evidence is kept.
    """
    consent = {"capturedAt": said_at.isoformat(), "method": "web-form", "reference": reference}
    return _event("sms.opt-in.v1", said_at, {**_request(recipients), "consent": consent})


def opt_out(recipients: Sequence[str], said_at: datetime) -> dict[str, Any]:
    """Make the event that people opted out, by another way than a text to the sender."""
    return _event("sms.opt-out.v1", said_at, _request(recipients))


def message(event: Mapping[str, Any]) -> ServiceBusMessage:
    """Make the message of an event."""
    return ServiceBusMessage(
        json.dumps(event),
        content_type="application/cloudevents+json",
        # The broker drops a second message with the same MessageId without a word, and `id` is unique within its source
        # only. A hash has at most 128 characters and shows no number in the log of the Functions host.
        message_id=sha256(f"{event['source']}\n{event['id']}".encode()).hexdigest(),
    )


def send(sender: ServiceBusSender, events: Iterable[Mapping[str, Any]]) -> None:
    """Send events in as few transfers as possible."""
    batch = sender.create_message_batch()
    for each in map(message, events):
        try:
            batch.add_message(each)
        except MessageSizeExceededError:
            if len(batch) > 0:
                sender.send_messages(batch)
            batch = sender.create_message_batch()
            # What does not fit an empty batch raises again: split the recipients of that event.
            batch.add_message(each)
    if len(batch) > 0:
        sender.send_messages(batch)


def connect() -> ServiceBusClient:
    """Open the namespace that the environment names."""
    if connection := os.environ.get("ServiceBusConnection"):
        return ServiceBusClient.from_connection_string(connection)
    return ServiceBusClient(os.environ["ServiceBusConnection__fullyQualifiedNamespace"], DefaultAzureCredential())


def _event(kind: str, said_at: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "type": kind,
        "source": SOURCE,
        # Better the key of your own record: publishing that again is then the same event.
        "id": str(uuid4()),
        "time": said_at.isoformat(),
        "data": data,
    }


def _request(recipients: Sequence[str]) -> dict[str, Any]:
    return {"from": SENDER, "recipients": [{"to": recipient} for recipient in recipients]}


def main() -> None:
    """Publish what two people said a minute ago."""
    said_at = datetime.now(UTC) - timedelta(minutes=1)
    events = [opt_in(["+15555555551"], said_at, "consents/7f3a"), opt_out(["+15555555552"], said_at)]
    with connect() as client, client.get_queue_sender("opt-ins") as sender:
        send(sender, events)
    for event in events:
        print(event["type"], event["id"])


if __name__ == "__main__":
    main()
