"""The host does with messages what the Functions host does: complete all, or abandon all."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import List  # noqa: UP035 - as the worker needs it

import azure.functions as func
import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from optout_core.adapters.trigger import WholeMessage
from sandbox.connection import Address
from sandbox.host import Host, Trigger, make_trigger, running
from sandbox.host_json import HostError, HostJson
from sandbox.run import ROOT
from sandbox.worker import Worker, index
from servicebus_sandbox import Broker, load_queues

SETTINGS = {
    "OPT_IN_QUEUE": "opt-ins",
    "ServiceBusConnection": "Endpoint=sb://127.0.0.1;SharedAccessKeyName=n;SharedAccessKey=k",
}


def an_app(function):
    """An app with a batch trigger for a function."""
    app = func.FunctionApp()
    app.service_bus_queue_trigger(
        arg_name="messages",
        queue_name="%OPT_IN_QUEUE%",
        connection="ServiceBusConnection",
        cardinality=func.Cardinality.MANY,
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


@pytest.fixture
async def broker():
    async with Broker(load_queues(ROOT / "infra" / "queues.json")) as started:
        yield started


@asynccontextmanager
async def hosting(broker, function, *, queue="opt-ins", key=None, **settings):
    """Let the host feed a function while the block runs."""
    worker = Worker(function.app)
    await worker.start()
    connection = broker.connection_string_of(key) if key else broker.connection_string
    try:
        trigger = Trigger(
            name="f", queue=queue, address=Address.parse(connection), settings=HostJson(**settings), grace=0.1
        )
        host = Host(trigger, worker)
        async with running(host):
            yield host
    finally:
        await worker.close()


async def publish(broker, *messages):
    client = ServiceBusClient.from_connection_string(broker.connection_string)
    async with client, client.get_queue_sender("opt-ins") as sender:
        for message in messages:
            await sender.send_messages(message)


async def test_a_function_that_returns_completes_every_message(broker):
    function = Function()
    await publish(broker, ServiceBusMessage(b"1"), ServiceBusMessage(b"2"))

    async with hosting(broker, function):
        await broker.wait_until(lambda: len(broker.queue("opt-ins")) == 0)

    assert function.given == [[b"1", b"2"]]


async def test_a_function_that_raises_gets_every_message_again(broker):
    function = Function(failures=2)
    await publish(broker, ServiceBusMessage(b"1"), ServiceBusMessage(b"2"))

    async with hosting(broker, function):
        await broker.wait_until(lambda: len(function.given) == 3 and len(broker.queue("opt-ins")) == 0)

    assert len(broker.queue("opt-ins-dead-letter")) == 0


async def test_a_message_that_fails_ten_times_is_in_the_dead_letter_queue_with_the_brokers_reason(broker):
    function = Function(failures=100)
    await publish(broker, ServiceBusMessage(b"poison", message_id="poison"))

    async with hosting(broker, function):
        await broker.wait_until(lambda: len(broker.queue("opt-ins-dead-letter")) == 1)

    (dead,) = broker.queue("opt-ins-dead-letter").messages()
    assert dead.message.application_properties["DeadLetterReason"] == "MaxDeliveryCountExceeded"
    assert len(function.given) == 10


async def test_the_host_goes_on_when_the_broker_drops_its_connection(broker):
    function = Function()
    async with hosting(broker, function):
        await publish(broker, ServiceBusMessage(b"before"))
        await broker.wait_until(lambda: len(function.given) == 1 and len(broker.queue("opt-ins")) == 0)
        await broker.drop_connections()
        await publish(broker, ServiceBusMessage(b"after"))
        await broker.wait_until(lambda: len(function.given) == 2, timeout=30)

    assert function.given == [[b"before"], [b"after"]]


def test_the_trigger_of_the_real_function_is_found_with_its_settings_filled_in():
    trigger = make_trigger(index(Function().app()), ROOT / "host.json", SETTINGS)

    assert (trigger.queue, trigger.settings.max_batch) == ("opt-ins", 100)
    assert trigger.settings.timeout == timedelta(minutes=4, seconds=30)


def test_an_app_without_the_setting_that_its_trigger_names_is_refused():
    with pytest.raises(HostError, match="app setting OPT_IN_QUEUE is missing"):
        make_trigger(index(Function().app()), ROOT / "host.json", {})


def test_an_app_with_no_function_is_refused():
    with pytest.raises(HostError, match="this one has 0"):
        index(func.FunctionApp())
