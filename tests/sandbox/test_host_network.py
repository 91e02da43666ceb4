"""The network lets the host down: links detached in the middle of a batch, dropped packets, a broker gone silent."""

import asyncio
import logging
import time
from datetime import timedelta

import pytest
from azure.servicebus import ServiceBusMessage

from sandbox import connection
from sandbox.host_json import ClientRetries
from servicebus_sandbox import Broker
from tests.proxy import Proxy
from tests.sandbox.feeding import Function, hosting, publish, until, with_locks_of

#: One try of a client that nobody makes wait.
IMPATIENT = ClientRetries(try_timeout=timedelta(seconds=0.5), delay=timedelta(milliseconds=10), max_retries=1)


@pytest.fixture
async def proxy(broker):
    async with Proxy(broker.port) as running:
        yield running


async def test_a_link_that_is_detached_while_a_full_batch_is_in_work_ends_nothing(broker):
    """Without credit a link is idle, and Service Bus detaches idle links."""
    function = Function(takes=0.5)
    await publish(broker, *(ServiceBusMessage(f"{number}") for number in range(5)))

    async with hosting(broker, function, max_batch=5):
        await until(lambda: len(function.given) == 1)
        assert broker.detach_idle_links(0) > 0
        await publish(broker, ServiceBusMessage("after"))
        await until(lambda: len(broker.queue("opt-ins")) == 0)

    assert sorted(map(len, function.given)) == [1, 5]


async def test_a_connection_that_is_lost_while_a_batch_is_in_work_ends_nothing(broker):
    function = Function(takes=0.5)
    await publish(broker, *(ServiceBusMessage(f"{number}") for number in range(5)))

    async with hosting(broker, function, max_batch=5):
        await until(lambda: len(function.given) == 1)
        await broker.drop_connections()
        await until(lambda: len(broker.queue("opt-ins")) == 0)

    assert list(map(len, function.given)) == [5]


async def test_a_broker_that_is_not_heard_of_any_more_is_left_for_a_new_connection(monkeypatch):
    """What was on its way over the lost connection comes again when its lock ends.

    The broker does not know that the old link is dead, and has credit on it for one message.
    """
    monkeypatch.setattr(connection, "IDLE_TIMEOUT", 0.6)
    function = Function()

    async with (
        Broker(with_locks_of(1.0)) as broker,
        Proxy(broker.port) as proxy,
        hosting(broker, function, port=proxy.port, retries=IMPATIENT, max_batch=1),
    ):
        await publish(broker, ServiceBusMessage("before"))
        await until(lambda: len(function.given) == 1)
        proxy.drop()
        proxy.heal()
        await publish(broker, ServiceBusMessage("after"))
        await until(lambda: len(broker.queue("opt-ins")) == 0)

    assert [b"after"] in function.given


async def test_a_quiet_broker_that_sends_heart_beats_is_not_left(broker, monkeypatch, caplog):
    monkeypatch.setattr(connection, "IDLE_TIMEOUT", 0.4)

    async with hosting(broker, Function(), retries=IMPATIENT):
        await until(lambda: len(broker.queue_links()) == 1)
        [link] = broker.queue_links()
        await asyncio.sleep(1.2)
        assert broker.queue_links() == [link]

    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_stop_while_packets_are_dropped_takes_no_longer_than_a_try_may(proxy):
    async with Broker(with_locks_of(0.5)) as broker:
        proxy.target = broker.port
        function = Function()
        async with hosting(broker, function, port=proxy.port, retries=IMPATIENT):
            await until(lambda: len(broker.queue_links()) == 1)
            await asyncio.sleep(0.1)
            proxy.drop()
            stopped = time.monotonic()
        took = time.monotonic() - stopped

        assert took < 2 * IMPATIENT.try_timeout.total_seconds()


async def test_what_cannot_be_settled_since_packets_are_dropped_comes_again_when_its_lock_ends(proxy, caplog):
    async with Broker(with_locks_of(1)) as broker:
        proxy.target = broker.port
        function = Function(takes=0.2)
        await publish(broker, ServiceBusMessage("1"))
        async with hosting(broker, function, port=proxy.port, retries=IMPATIENT):
            await until(lambda: len(function.given) == 1)
            proxy.drop()
            await asyncio.sleep(1.2)
            proxy.heal()
            proxy.cut()
            await until(lambda: len(broker.queue("opt-ins")) == 0)

    assert len(function.given) == 2
    assert any(record.message.endswith("(ServiceTimeout)") for record in caplog.records)
