"""The host does with messages what the Functions host does: complete all, or abandon all."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import azure.functions as func
import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.amqp import AmqpAnnotatedMessage

from sandbox.host import Host, HostError, Trigger, find_trigger
from sandbox.run import ROOT
from servicebus_sandbox import Broker, load_queues

SETTINGS = {"OPT_IN_QUEUE": "opt-ins", "ServiceBusConnection": "Endpoint=sb://127.0.0.1"}


class Function:
    """A function with memory: what it was given, and how often it still has to fail."""

    def __init__(self, failures: int = 0, takes: float = 0.0) -> None:
        self.given: list[list[func.ServiceBusMessage]] = []
        self.failures = failures
        self.takes = takes

    async def __call__(self, messages: list[func.ServiceBusMessage]) -> None:
        self.given.append(messages)
        await asyncio.sleep(self.takes)
        if len(self.given) <= self.failures:
            raise RuntimeError("not today")


@pytest.fixture
async def broker():
    async with Broker(load_queues(ROOT / "infra" / "queues.json")) as running:
        yield running


@asynccontextmanager
async def hosting(broker, function, **trigger):
    given = Trigger("f", function, "messages", "opt-ins", broker.connection_string, 1000, timedelta(seconds=5))
    host = Host(replace(given, **trigger))
    running = asyncio.create_task(host.run())
    yield
    host.stop()
    await running


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

    assert [[message.get_body() for message in batch] for batch in function.given] == [[b"1", b"2"]]


async def test_a_function_that_raises_gets_every_message_again_with_its_delivery_count(broker):
    function = Function(failures=2)
    await publish(broker, ServiceBusMessage(b"1"), ServiceBusMessage(b"2"))

    async with hosting(broker, function):
        await broker.wait_until(lambda: len(function.given) == 3 and len(broker.queue("opt-ins")) == 0)

    assert [[message.delivery_count for message in batch] for batch in function.given] == [[1, 1], [2, 2], [3, 3]]
    assert len(broker.queue("opt-ins-dead-letter")) == 0


async def test_a_message_that_fails_ten_times_is_in_the_dead_letter_queue_with_the_brokers_reason(broker):
    function = Function(failures=100)
    await publish(broker, ServiceBusMessage(b"poison", message_id="poison"))

    async with hosting(broker, function):
        await broker.wait_until(lambda: len(broker.queue("opt-ins-dead-letter")) == 1)

    (dead,) = broker.queue("opt-ins-dead-letter").messages()
    assert dead.message.application_properties["DeadLetterReason"] == "MaxDeliveryCountExceeded"
    assert len(function.given) == 10


async def test_an_invocation_that_takes_too_long_counts_as_failed(broker):
    function = Function(takes=60)
    await publish(broker, ServiceBusMessage(b"slow"))

    async with hosting(broker, function, timeout=timedelta(milliseconds=50)):
        await broker.wait_until(lambda: len(function.given) == 2)

    assert len(broker.queue("opt-ins")) + len(broker.queue("opt-ins-dead-letter")) == 1


async def test_properties_and_bodies_that_json_does_not_know_arrive_as_text(broker):
    function = Function()
    odd = AmqpAnnotatedMessage(value_body="a value", application_properties={"id": UUID(int=7), "count": 3})
    await publish(broker, odd)

    async with hosting(broker, function):
        await broker.wait_until(lambda: len(broker.queue("opt-ins")) == 0)

    ((message,),) = function.given
    assert message.get_body() == b"a value"
    assert message.application_properties == {"id": str(UUID(int=7)), "count": 3}


# azure-servicebus leaves the socket of a lost connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_the_host_goes_on_when_the_broker_drops_its_connection(broker):
    function = Function()
    async with hosting(broker, function):
        await publish(broker, ServiceBusMessage(b"before"))
        await broker.wait_until(lambda: len(function.given) == 1 and len(broker.queue("opt-ins")) == 0)
        await broker.drop_connections()
        await publish(broker, ServiceBusMessage(b"after"))
        await broker.wait_until(lambda: len(function.given) == 2, timeout=30)

    assert function.given[-1][0].get_body() == b"after"


def test_the_trigger_of_the_real_function_is_found_with_its_settings_filled_in():
    app = func.FunctionApp()
    decorate = app.service_bus_queue_trigger(
        arg_name="messages",
        queue_name="%OPT_IN_QUEUE%",
        connection="ServiceBusConnection",
        cardinality=func.Cardinality.MANY,
        data_type=func.DataType.BINARY,
    )
    decorate(Function().__call__)

    trigger = find_trigger(app, ROOT / "host.json", SETTINGS)

    assert (trigger.queue, trigger.max_batch, trigger.timeout) == ("opt-ins", 100, timedelta(minutes=4, seconds=30))


def test_an_app_without_the_setting_that_its_trigger_names_is_refused(tmp_path):
    app = func.FunctionApp()
    app.service_bus_queue_trigger(
        arg_name="messages",
        queue_name="%OPT_IN_QUEUE%",
        connection="ServiceBusConnection",
        cardinality=func.Cardinality.MANY,
        data_type=func.DataType.BINARY,
    )(Function().__call__)
    (tmp_path / "host.json").write_text(json.dumps({"version": "2.0"}))

    with pytest.raises(HostError, match="app setting OPT_IN_QUEUE is missing"):
        find_trigger(app, tmp_path / "host.json", {})


def test_an_app_with_no_function_is_refused():
    with pytest.raises(HostError, match="this one has 0"):
        find_trigger(func.FunctionApp(), ROOT / "host.json", SETTINGS)
