"""Publish an opt-in and an opt-out that the CloudEvents SDK makes; the connection is that of publish.py.

It needs one package more:

    pip install azure-servicebus azure-identity cloudevents
    python publish_cloudevents.py
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

from azure.servicebus import ServiceBusMessage
from cloudevents.core.bindings.amqp import to_structured_event
from cloudevents.core.v1.event import CloudEvent
from publish import SENDER, SOURCE, connect


def opt_in(recipient: str, said_at: datetime, reference: str) -> CloudEvent:
    """Make the event that a person opted in at a time; aware."""
    consent = {"capturedAt": said_at.isoformat(), "method": "web-form", "reference": reference}
    return _event("sms.opt-in.v1", said_at, {**_request(recipient), "consent": consent})


def opt_out(recipient: str, said_at: datetime) -> CloudEvent:
    """Make the event that a person opted out."""
    return _event("sms.opt-out.v1", said_at, _request(recipient))


def message(event: CloudEvent) -> ServiceBusMessage:
    """Make the message of an event, in structured mode.

    Binary mode works as well, but azure-servicebus cannot send the `time` that `to_binary_event` writes: it is an
    integer beyond 32 bits. Give `cloudEvents_time` as text in ISO 8601 then.
    """
    written = to_structured_event(event)
    return ServiceBusMessage(
        written.application_data,
        content_type=written.properties["content-type"],
        message_id=sha256(f"{event.get_source()}\n{event.get_id()}".encode()).hexdigest(),
    )


def _event(kind: str, said_at: datetime, data: Mapping[str, Any]) -> CloudEvent:
    attributes = {
        "specversion": "1.0",
        "type": kind,
        "source": SOURCE,
        "id": str(uuid4()),
        "time": said_at,
        # Without it the SDK writes the data as `data_base64`, which is read as well, but not by people.
        "datacontenttype": "application/json",
    }
    return CloudEvent(attributes, dict(data))


def _request(recipient: str) -> dict[str, Any]:
    return {"from": SENDER, "recipients": [{"to": recipient}]}


def main() -> None:
    """Publish what two people said a minute ago."""
    said_at = datetime.now(UTC) - timedelta(minutes=1)
    events = [opt_in("+15555555551", said_at, "consents/7f3a"), opt_out("+15555555552", said_at)]
    with connect() as client, client.get_queue_sender("opt-ins") as sender:
        batch = sender.create_message_batch()
        for event in events:
            batch.add_message(message(event))
        sender.send_messages(batch)
    for event in events:
        print(event.get_type(), event.get_id())


if __name__ == "__main__":
    main()
