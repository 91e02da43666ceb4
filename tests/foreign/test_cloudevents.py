"""What the CloudEvents SDK for JavaScript publishes through Microsoft's client, decoded by us."""

import asyncio
import os
from datetime import UTC, datetime

import pytest
from azure.servicebus.aio import ServiceBusClient

from optout_core import events
from optout_core.adapters import received
from optout_core.errors import MalformedEvent
from optout_core.events import OptIn, OptOut
from tests.foreign.services import SERVICEBUS, servicebus

#: When the person said it; publish.js says so.
SAID = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

READ = [
    "structured, HTTP, as bytes",
    "structured, MQTT, as an object",
    "structured, as an object",
    "structured, as text in a value",
    "binary, cloudEvents:",
    "binary, cloudEvents_",
    "binary, HTTP headers",
    "binary, Kafka headers",
]
#: The client writes a text as JSON, which it is already.
REFUSED = ["structured, HTTP, as text"]


async def published(node, count):
    """Publish, and give what arrives: by its subject, an arrival of an opt-in and one of an opt-out."""
    found = {}
    async with servicebus(SERVICEBUS) as services:
        process = await asyncio.create_subprocess_exec(
            node, "publish.js", cwd=SERVICEBUS, env={"PATH": os.environ["PATH"], **services}
        )
        assert await process.wait() == 0
        async with (
            ServiceBusClient.from_connection_string(services["SERVICEBUS_CONNECTION_STRING"]) as client,
            client.get_queue_receiver("events") as receiver,
        ):
            while count > 0:
                messages = await receiver.receive_messages(count, max_wait_time=20)
                assert messages
                count -= len(messages)
                for message in messages:
                    decoded = received.within(message)
                    enqueued_at = received.enqueued_at(decoded)
                    assert enqueued_at is not None
                    arrival = received.read(decoded, enqueued_at)
                    found.setdefault(arrival.subject, []).append(arrival)
    return found


@pytest.mark.timeout(600)
async def test_events_of_the_sdk_mean_what_they_say_in_whatever_mode_they_come(node, install):
    await asyncio.to_thread(install, SERVICEBUS)
    arrivals = await published(node, 2 * len(READ + REFUSED))

    assert set(arrivals) == {*READ, *REFUSED}
    for way in READ:
        (opt_in,), (opt_out,) = map(events.decode, arrivals[way])

        assert isinstance(opt_in, OptIn), way
        assert isinstance(opt_out, OptOut), way
        for event, person in ((opt_in, "+15555550001"), (opt_out, "+15555550002")):
            assert [recipient.text for recipient in event.recipients] == [person], way
            assert event.sender.text == "+18001234567", way
            assert event.source.raw == "https://shop.example/", way
            assert event.time == SAID, way
        assert opt_in.consent is not None, way
        assert opt_in.consent.method == "web", way
    for way in REFUSED:
        for arrival in arrivals[way]:
            with pytest.raises(MalformedEvent, match="written as JSON twice"):
                events.decode(arrival)
