"""Measure `optout dlq replay` on a deep dead-letter queue: the real command in a process of its own, no ramp, no rate.

    python -m benchmarks replay [DEAD_LETTERS] [SHARE]

SHARE of the dead letters are chosen, spread evenly; the rest keep their place. Prints dead letters a second, and the
largest resident memory of the replaying process. The broker runs in a third process: all of them share the machine.
"""

import asyncio
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated

import typer
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from servicebus_sandbox import Broker, load_queues

BATCH = 100


def serve(pipe: Connection) -> None:
    """Run a broker until the pipe says anything, then answer with the depth of both queues, each time."""

    async def run() -> None:
        async with Broker(load_queues(Path(__file__).parents[1] / "infra" / "queues.json")) as broker:
            pipe.send(broker.connection_string)
            while await asyncio.to_thread(pipe.recv):
                pipe.send((len(broker.queue("opt-ins")), len(broker.queue("opt-ins-dead-letter"))))

    asyncio.run(run())


def dead_letter(number: int, *, chosen: bool) -> ServiceBusMessage:
    """Make one as the function makes them."""
    event = {
        "specversion": "1.0",
        "type": "sms.opt-in.v1",
        "source": "urn:benchmark",
        "id": f"event-{number}",
        "time": datetime.now(UTC).isoformat(),
        "datacontenttype": "application/json",
        "data": {"from": "+18001234567", "recipients": [{"to": f"+1555{number:07}"}]},
    }
    return ServiceBusMessage(
        json.dumps(event),
        message_id=f"urn:benchmark/event-{number}:d6:0123456789abcdef",
        content_type="application/cloudevents+json",
        application_properties={
            "DeadLetterReason": "RetriesExhausted" if chosen else "StaleOptIn",
            "DeadLetterErrorDescription": "ACS failed for this recipient on every try of the schedule",
            "optout-event-id": f"event-{number}",
            "optout-attempt": 5,
            "optout-hop": 6,
            "optout-recipients": 1,
            "optout-of": 1,
            "optout-first-enqueued": datetime.now(UTC).isoformat(),
            "optout-http-status": 500,
        },
    )


async def fill(connection_string: str, count: int, share: float) -> int:
    """Fill the dead-letter queue; returns how many of them a replay chooses."""
    chosen = [int((number + 1) * share) > int(number * share) for number in range(count)]
    async with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_sender("opt-ins-dead-letter") as sender,
    ):
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            await sender.send_messages([dead_letter(number, chosen=chosen[number]) for number in numbers])
    return sum(chosen)


def main(
    dead_letters: Annotated[int, typer.Argument(min=1)] = 100_000,
    share: Annotated[float, typer.Argument(min=0, max=1)] = 1.0,
) -> None:
    """Measure `optout dlq replay` on a deep dead-letter queue."""
    count = dead_letters
    ours, theirs = multiprocessing.Pipe()
    broker = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    broker.start()
    connection_string = ours.recv()
    chosen = asyncio.run(fill(connection_string, count, share))
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"ServiceBusConnection": connection_string, "OPTOUT_AUDIT": f"{folder}/audit.jsonl"}
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "optout_ops", "dlq", "replay", "--yes", "--no-ramp", "--rate", "1000000"],
            env=environment,
            check=True,
        )
        seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    ours.send("look")
    print(f"{chosen:,} of {count:,} replayed in {seconds:,.1f} s: {chosen / seconds:,.0f} a second")
    print(f"queues: {ours.recv()} in opt-ins and in opt-ins-dead-letter; largest resident memory {memory:,.0f} MB")
    ours.send("")
    broker.join()
