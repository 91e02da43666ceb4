"""The host does with messages what the Functions host does: complete all, or abandon all."""

import asyncio
from datetime import timedelta
from typing import List  # noqa: UP035 - as the worker needs it

import azure.functions as func
import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from optout_core.adapters.trigger import WholeMessage
from sandbox.host import make_trigger
from sandbox.host_json import HostError
from sandbox.run import ROOT
from sandbox.worker import index
from servicebus_sandbox import Broker
from servicebus_sandbox.messages import decode_message
from tests.adapters.function import amqp, data
from tests.sandbox.feeding import SETTINGS, Function, an_app, hosting, publish, until, with_locks_of


async def test_a_function_that_returns_completes_every_message(broker):
    function = Function()
    await publish(broker, ServiceBusMessage(b"1"), ServiceBusMessage(b"2"))

    async with hosting(broker, function):
        await until(lambda: len(broker.queue("opt-ins")) == 0)

    assert function.given == [[b"1", b"2"]]


async def test_a_function_that_raises_gets_every_message_again(broker):
    function = Function(failures=2)
    await publish(broker, ServiceBusMessage(b"1"), ServiceBusMessage(b"2"))

    async with hosting(broker, function):
        await until(lambda: len(function.given) == 3 and len(broker.queue("opt-ins")) == 0)

    assert len(broker.queue("opt-ins-dead-letter")) == 0


async def test_a_message_that_fails_ten_times_is_in_the_dead_letter_queue_with_the_brokers_reason(broker):
    function = Function(failures=100)
    await publish(broker, ServiceBusMessage(b"poison", message_id="poison"))

    async with hosting(broker, function):
        await until(lambda: len(broker.queue("opt-ins-dead-letter")) == 1)

    (dead,) = broker.queue("opt-ins-dead-letter").messages()
    assert dead.message.application_properties["DeadLetterReason"] == "MaxDeliveryCountExceeded"
    assert len(function.given) == 10


async def test_the_host_goes_on_when_the_broker_drops_its_connection(broker):
    function = Function()
    async with hosting(broker, function):
        await publish(broker, ServiceBusMessage(b"before"))
        await until(lambda: len(function.given) == 1 and len(broker.queue("opt-ins")) == 0)
        await broker.drop_connections()
        await publish(broker, ServiceBusMessage(b"after"))
        await until(lambda: len(function.given) == 2, patience=30)

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


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"is_sessions_enabled": True}, "isSessionsEnabled is not imitated"),
        ({"auto_complete_messages": False}, "autoCompleteMessages is not imitated"),
        ({"cardinality": func.Cardinality.ONE}, "cardinality MANY"),
        ({"cardinality": None}, "cardinality MANY"),
    ],
)
def test_an_option_of_the_trigger_that_is_not_honoured_is_refused_by_name(options, named):
    async def process(messages: List[WholeMessage]) -> None:  # noqa: UP006 - as the worker needs it
        """Never called."""

    with pytest.raises(HostError, match=named):
        index(an_app(process, **options))


def test_a_topic_or_an_output_binding_is_refused_by_name():
    async def process(messages: List[WholeMessage]) -> None:  # noqa: UP006 - as the worker needs it
        """Never called."""

    topic = func.FunctionApp()
    topic.service_bus_topic_trigger(
        arg_name="messages", topic_name="t", subscription_name="s", connection="c", cardinality=func.Cardinality.MANY
    )(process)
    with pytest.raises(HostError, match="topicName, subscriptionName is not imitated"):
        index(topic)
    output = func.FunctionApp()
    output.queue_output(arg_name="out", queue_name="q", connection="c")(
        output.service_bus_queue_trigger(
            arg_name="messages", queue_name="q", connection="c", cardinality=func.Cardinality.MANY
        )(process)
    )
    with pytest.raises(HostError, match="a binding queue is not imitated"):
        index(output)


def test_an_app_that_binds_bytes_is_refused_by_name():
    async def process(messages: List[func.ServiceBusMessage]) -> None:  # noqa: UP006 - as the worker needs it
        """Never called."""

    with pytest.raises(HostError, match=r"process binds its messages as .*ServiceBusMessage.*List\[WholeMessage\]"):
        index(an_app(process))


def test_an_annotation_that_the_worker_cannot_index_is_refused():
    async def process(messages: list[WholeMessage]) -> None:
        """Never called."""

    with pytest.raises(HostError, match="write typing"):
        index(an_app(process))


async def test_what_comes_within_20_ms_of_the_first_message_is_one_batch_and_later_ones_are_the_next(broker):
    function = Function()
    connection = ServiceBusClient.from_connection_string(broker.connection_string)
    async with connection, connection.get_queue_sender("opt-ins") as sender, hosting(broker, function):
        await sender.send_messages([ServiceBusMessage(b"1"), ServiceBusMessage(b"2")])
        await asyncio.sleep(0.2)
        await sender.send_messages(ServiceBusMessage(b"3"))
        await until(lambda: len(broker.queue("opt-ins")) == 0)

    assert function.given == [[b"1", b"2"], [b"3"]]


async def test_a_batch_holds_no_more_than_host_json_says_and_the_rest_stays_unlocked(broker):
    function = Function(takes=0.2)
    await publish(broker, *(ServiceBusMessage(b"%d" % number) for number in range(5)))

    async with hosting(broker, function, max_batch=2):
        await until(lambda: len(function.given) == 1)
        locked = broker.queue("opt-ins").locked
        await until(lambda: len(broker.queue("opt-ins")) == 0)

    assert function.given == [[b"0", b"1"], [b"2", b"3"], [b"4"]]
    assert locked == 2


async def test_a_message_that_comes_during_an_invocation_goes_back_unseen_and_uncounted(broker):
    function = Function(takes=0.4)
    await publish(broker, ServiceBusMessage(b"first"))

    async with hosting(broker, function, max_batch=5):
        await until(lambda: len(function.given) == 1)
        queue = broker.queue("opt-ins")
        queue.send([decode_message(amqp(data(b"second")))])
        await asyncio.sleep(0.1)
        [_, second] = queue.messages()
        seen = (second.delivery_count, second.lock_token, len(function.given))
        await until(lambda: len(queue) == 0)

    assert function.given == [[b"first"], [b"second"]]
    assert seen == (0, None, 1)


async def test_the_message_whose_lock_is_lost_fails_alone_and_is_told_of_once(broker, caplog):
    function = Function(takes=0.2)
    queue = broker.queue("opt-ins")
    await publish(broker, *(ServiceBusMessage(b"%d" % number) for number in range(3)))

    async with hosting(broker, function):
        await until(lambda: len(function.given) == 1)
        lost = queue.messages()[1]
        queue.abandon(lost.lock_token)
        await until(lambda: len(queue) == 0)

    assert function.given == [[b"0", b"1", b"2"], [b"1"]]
    [record] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert "An unhandled exception occurred in the message batch receive loop (namespace=" in record.message
    assert record.message.endswith("(MessageLockLost)")


async def test_no_lock_is_renewed_so_a_long_invocation_gets_its_messages_again_and_counted():
    async with Broker(with_locks_of(0.3)) as broker:
        function = Function(takes=0.6)
        await publish(broker, ServiceBusMessage(b"slow"))

        async with hosting(broker, function):
            await until(lambda: len(function.given) == 2)
            counts = [each.delivery_count for each in broker.queue("opt-ins").messages()]

    assert function.given == [[b"slow"], [b"slow"]]
    assert counts == [1]


async def test_a_connection_that_is_cut_during_an_invocation_does_not_cost_the_settlement(broker, caplog):
    function = Function(takes=0.3)
    await publish(broker, *(ServiceBusMessage(b"%d" % number) for number in range(3)))

    async with hosting(broker, function):
        await until(lambda: len(function.given) == 1)
        await broker.drop_connections()
        await until(lambda: len(broker.queue("opt-ins")) == 0)

    assert function.given == [[b"0", b"1", b"2"]]
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


async def test_without_auto_complete_nothing_is_settled_after_a_success(broker):
    function = Function()
    await publish(broker, ServiceBusMessage(b"1"))

    async with hosting(broker, function, auto_complete=False):
        await until(lambda: len(function.given) == 1)
        await asyncio.sleep(0.1)

    assert broker.queue("opt-ins").locked == 1
