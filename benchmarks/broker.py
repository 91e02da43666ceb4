"""Measure the sandbox's broker through azure-servicebus, the broker in a process of its own.

    python -m benchmarks broker [MESSAGES]

Prints messages a second: each send or settlement on its own, in batches of 100, and several senders at once. The client
costs more than the broker, so the broker's own processor time per message is printed as well.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import time
from typing import TYPE_CHECKING, Annotated

import typer
from azure.servicebus import ServiceBusMessage, ServiceBusReceiveMode
from azure.servicebus.aio import ServiceBusClient

from servicebus_sandbox import Broker, QueueProperties

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from multiprocessing.connection import Connection

QUEUE = "benchmark"
BODY = b'{"from": "+18001234567", "recipients": [{"to": "+15555555551"}], "consent": {"method": "web"}}' * 4
BATCH = 100


def serve(pipe: Connection) -> None:
    """Run a broker until the pipe says anything, answering with the processor seconds used so far."""

    async def run() -> None:
        async with Broker({QUEUE: QueueProperties(requires_duplicate_detection=True)}) as broker:
            pipe.send(broker.connection_string)
            while await asyncio.to_thread(pipe.recv):
                usage = resource.getrusage(resource.RUSAGE_SELF)
                pipe.send(usage.ru_utime + usage.ru_stime)

    asyncio.run(run())


async def measure(pipe: Connection, what: str, work: Awaitable[int]) -> None:
    """Print what a piece of work, which returns its number of messages, costs."""
    pipe.send("how much?")
    used, started = pipe.recv(), time.perf_counter()
    count = await work
    seconds = time.perf_counter() - started
    pipe.send("how much?")
    print(f"{what:<44} {count / seconds:>9,.0f} /s {(pipe.recv() - used) / count * 1e6:>6,.0f} µs broker CPU each")


async def send_batches(client: ServiceBusClient, count: int, name: str) -> int:
    """Send messages in batches of 100."""
    async with client.get_queue_sender(QUEUE) as sender:
        for start in range(0, count, BATCH):
            batch = [ServiceBusMessage(BODY, message_id=f"{name}-{start + i}") for i in range(BATCH)]
            await sender.send_messages(batch)
    return count


async def send_singly(client: ServiceBusClient, count: int) -> int:
    """Send messages one by one."""
    async with client.get_queue_sender(QUEUE) as sender:
        for number in range(count):
            await sender.send_messages(ServiceBusMessage(BODY, message_id=f"single-{number}"))
    return count


async def receive_and_complete(client: ServiceBusClient, count: int) -> int:
    """Receive in peek-lock, completing each message on its own."""
    done = 0
    async with client.get_queue_receiver(QUEUE, prefetch_count=BATCH) as receiver:
        while done < count:
            for message in await receiver.receive_messages(BATCH):
                await receiver.complete_message(message)
                done += 1
    return done


async def receive_and_delete(client: ServiceBusClient, count: int) -> int:
    """Receive without settling."""
    done = 0
    mode = ServiceBusReceiveMode.RECEIVE_AND_DELETE
    async with client.get_queue_receiver(QUEUE, receive_mode=mode, prefetch_count=BATCH) as receiver:
        while done < count:
            done += len(await receiver.receive_messages(BATCH))
    return done


async def send_together(connection_string: str, count: int, senders: int) -> int:
    """Send in batches on several connections at once."""
    async with ServiceBusClient.from_connection_string(connection_string) as client:
        sent = await asyncio.gather(*[send_batches(client, count, f"together-{number}") for number in range(senders)])
    return sum(sent)


def main(messages: Annotated[int, typer.Argument(min=100)] = 10_000) -> None:
    """Measure the sandbox's broker through azure-servicebus."""
    asyncio.run(_measure_all(messages))


async def _measure_all(count: int) -> None:
    context = multiprocessing.get_context("spawn")
    pipe, far_end = context.Pipe()
    process = context.Process(target=serve, args=(far_end,), daemon=True)
    process.start()
    connection_string = pipe.recv()
    async with ServiceBusClient.from_connection_string(connection_string) as client:
        await measure(pipe, "send in batches of 100", send_batches(client, count, "batch"))
        await measure(pipe, "receive and delete", receive_and_delete(client, count))
        await measure(pipe, "send one by one", send_singly(client, count // 5))
        await measure(pipe, "receive, complete one by one", receive_and_complete(client, count // 5))
    await measure(pipe, "send in batches on 4 connections", send_together(connection_string, count, 4))
    pipe.send("")
    process.join()
