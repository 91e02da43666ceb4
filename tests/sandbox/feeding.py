"""A function with memory, and a host that feeds it from a broker."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import List  # noqa: UP035 - as the worker needs it

import azure.functions as func
from azure.servicebus.aio import ServiceBusClient

from optout_core.adapters.trigger import WholeMessage
from sandbox.address import Address
from sandbox.host import Host, Trigger, running
from sandbox.host_json import HostJson
from sandbox.run import ROOT
from sandbox.worker import Worker
from servicebus_sandbox import load_queues

QUEUES = load_queues(ROOT / "infra" / "queues.json")
SETTINGS = {
    "OPT_IN_QUEUE": "opt-ins",
    "ServiceBusConnection": "Endpoint=sb://127.0.0.1;SharedAccessKeyName=n;SharedAccessKey=k",
}


def with_locks_of(seconds, **changed):
    """The queues with shorter locks."""
    duration = timedelta(seconds=seconds)
    return {name: replace(each, lock_duration=duration, **changed) for name, each in QUEUES.items()}


def an_app(function, **changed):
    """An app with a batch trigger for a function."""
    app = func.FunctionApp()
    app.service_bus_queue_trigger(
        arg_name="messages",
        queue_name="%OPT_IN_QUEUE%",
        connection="ServiceBusConnection",
        **{"cardinality": func.Cardinality.MANY, **changed},
    )(function)
    return app


class Function:
    """A function with memory: what it was given, and how often it still has to fail."""

    def __init__(self, failures=0, takes=0.0):
        self.given = []
        self.failures = failures
        self.takes = takes
        self.finished = 0

    def app(self):
        async def process(messages: List[WholeMessage]) -> None:  # noqa: UP006 - as the worker needs it
            self.given.append([message.arrival(datetime.now(UTC)).body for message in messages])
            try:
                await asyncio.sleep(self.takes)
            finally:
                self.finished += 1
            if len(self.given) <= self.failures:
                raise RuntimeError("not today")

        return an_app(process)


@asynccontextmanager
async def hosting(broker, function, *, queue="opt-ins", key=None, port=None, **settings):
    """Let the host feed a function while the block runs; it reaches the broker at another port, where one is given."""
    worker = Worker(function.app)
    await worker.start()
    connection = broker.connection_string_of(key) if key else broker.connection_string
    try:
        address = Address.parse(connection)
        address = replace(address, port=port or address.port)
        trigger = Trigger(name="f", queue=queue, address=address, settings=HostJson(**settings), grace=0.1, busy=0.4)
        host = Host(trigger, worker)
        async with running(host):
            yield host
    finally:
        await worker.close()


async def until(true, patience=10):
    """Wait until something is true; what the function does is no change that the broker tells of."""
    async with asyncio.timeout(patience):
        while not true():  # noqa: ASYNC110 - it is true in another thread, which sets no event
            await asyncio.sleep(0.005)


async def publish(broker, *messages, queue="opt-ins"):
    client = ServiceBusClient.from_connection_string(broker.connection_string)
    async with client, client.get_queue_sender(queue) as sender:
        for message in messages:
            await sender.send_messages(message)
