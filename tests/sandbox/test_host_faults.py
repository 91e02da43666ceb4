"""What goes wrong goes wrong in the host as in the real one: undecodable messages, refusals, stop, time-out, crash."""

import asyncio
import logging
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import List  # noqa: UP035 - as the worker needs it

import pytest
from azure.servicebus import ServiceBusMessage

from optout_core.adapters.trigger import WholeMessage
from sandbox.address import Address
from sandbox.host import Host, HostEnded, Trigger, running
from sandbox.host_json import ClientRetries, HostJson
from sandbox.run import ROOT
from sandbox.worker import Worker
from servicebus_sandbox import LISTEN, SEND, AccessKey, Broker
from servicebus_sandbox.amqp import Char, DecimalBits, Symbol
from servicebus_sandbox.errors import LinkDetached
from servicebus_sandbox.messages import decode_message
from tests.adapters.function import amqp, data, section
from tests.sandbox.feeding import QUEUES, Function, an_app, hosting, publish, until, with_locks_of

QUICK = ClientRetries(delay=timedelta(milliseconds=50))


def errors_of(caplog):
    """What was logged as an error."""
    return [each.message for each in caplog.records if each.levelname == "ERROR"]


# --- what the .NET client cannot decode ---


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (amqp(data(b"x"), properties={"map": {"a": 1}}), "unsupported type Microsoft.Azure.Amqp.Encoding.AmqpMap"),
        (amqp(data(b"x"), properties={"c": Char("\U0001f600")}), "Failed to convert to a char"),
        (amqp(data(b"x"), properties={"d": DecimalBits(8)}), None),
        (amqp(data(b"x"), properties={"d": DecimalBits(4)}), None),
        (section(0x73, [None, None, None, Symbol("subject")]) + data(b"x"), "the property subject"),
        (section(0x73, [None] * 6 + ["text/plain"]) + data(b"x"), "the property content_type"),
    ],
    ids=["map", "char", "decimal64", "decimal32", "subject as a symbol", "content type as a string"],
)
async def test_a_message_that_dotnet_cannot_decode_holds_its_whole_receive_until_the_locks_end(content, said, caplog):
    async with Broker(with_locks_of(0.4, max_delivery_count=3)) as broker:
        function, started = Function(), time.monotonic()
        broker.queue("opt-ins").send([decode_message(content), decode_message(amqp(data(b"neighbour")))])
        async with hosting(broker, function):
            await until(lambda: broker.queue("opt-ins").locked == 2)
            # Later than what one receive gathers.
            await asyncio.sleep(0.1)
            broker.queue("opt-ins").send([decode_message(amqp(data(b"later")))])
            await until(lambda: len(broker.queue("opt-ins-dead-letter")) == 2, patience=30)
            rounds = time.monotonic() - started

    assert function.given == [[b"later"]]
    assert rounds >= 3 * 0.4
    reasons = {
        each.message.application_properties["DeadLetterReason"]
        for each in broker.queue("opt-ins-dead-letter").messages()
    }
    assert reasons == {"MaxDeliveryCountExceeded"}
    errors = {each.message for each in caplog.records if each.levelname == "ERROR"}
    assert all(said and said in error for error in errors)
    assert bool(errors) is (said is not None)


# --- errors ---


async def test_an_unknown_queue_is_an_error_without_any_pause_and_the_host_goes_on(broker, caplog):
    function = Function()

    async with hosting(broker, function, queue="mistyped"):
        await asyncio.sleep(0.5)

    errors = errors_of(caplog)
    assert len(errors) > 10
    assert all("could not be found" in each and each.endswith("(MessagingEntityNotFound)") for each in errors)


async def test_a_disabled_queue_is_an_error_without_any_pause_until_it_is_enabled(broker, caplog):
    function = Function()
    await publish(broker, ServiceBusMessage(b"1"))
    broker.set_status("opt-ins", "ReceiveDisabled")

    async with hosting(broker, function):
        await asyncio.sleep(0.3)
        given = list(function.given)
        broker.set_status("opt-ins", "Active")
        await until(lambda: len(broker.queue("opt-ins")) == 0)

    errors = errors_of(caplog)
    assert (given, function.given) == ([], [[b"1"]])
    assert len(errors) > 10
    assert all(each.endswith("its status is ReceiveDisabled (MessagingEntityDisabled)") for each in errors)


async def test_a_key_that_may_not_listen_is_tried_four_times_before_it_is_an_error(caplog):
    keys = (AccessKey("send-only", "c2VuZA==", frozenset({SEND})), AccessKey("listen", "bGlzdGVu", frozenset({LISTEN})))
    async with Broker(QUEUES, keys=keys) as broker, hosting(broker, Function(), key="send-only", retries=QUICK):
        await asyncio.sleep(0.5)
        early = errors_of(caplog)
        await asyncio.sleep(0.7)

    [error] = errors_of(caplog)
    assert early == []
    assert "System.UnauthorizedAccessException: unauthorized access: 'Listen' claim is required" in error


async def test_a_namespace_that_is_away_for_a_while_is_not_in_the_log_and_longer_is_an_error_each_time(caplog):
    function = Function()
    async with Broker(QUEUES) as first, hosting(first, function, retries=QUICK):
        await publish(first, ServiceBusMessage(b"before"))
        await until(lambda: len(first.queue("opt-ins")) == 0)
        await first.__aexit__()
        await asyncio.sleep(0.3)
        async with Broker(QUEUES, first.port) as second:
            await publish(second, ServiceBusMessage(b"after"))
            await until(lambda: len(second.queue("opt-ins")) == 0)
            silent = errors_of(caplog)
        await until(lambda: len(errors_of(caplog)) == 2)

    assert function.given == [[b"before"], [b"after"]]
    assert silent == []
    assert all(each.endswith("(ServiceCommunicationProblem)") for each in errors_of(caplog))


async def test_a_busy_service_is_given_time_without_a_word(broker, caplog):
    function = Function()
    await publish(broker, ServiceBusMessage(b"1"))

    with broker.fail_receives() as refused:
        async with hosting(broker, function, retries=QUICK):
            await asyncio.sleep(0.3)
            # The first pause of the client alone would have been over.
            met, given = refused.met, list(function.given)
            await until(lambda: errors_of(caplog), patience=30)
            tries = refused.met

    assert (met, given) == (1, [])
    # The next receive may have begun.
    assert tries in (1 + QUICK.max_retries, 2 + QUICK.max_retries)
    assert errors_of(caplog)[0].endswith("(ServiceBusy)")


async def test_a_link_that_is_detached_while_the_host_waits_or_works_costs_nothing(broker, caplog):
    """What Service Bus does to links of ten minutes without a message, and a full batch in work."""
    function = Function(takes=0.3)
    async with hosting(broker, function, max_batch=2, retries=QUICK):
        await until(broker.queue_links)
        [waiting] = broker.queue_links()
        waiting.detach(LinkDetached("force detached"))
        broker.queue("opt-ins").send([decode_message(amqp(data(b"%d" % number))) for number in (1, 2)])
        await until(lambda: len(function.given) == 1)
        detached = broker.detach_idle_links(0)
        await until(lambda: len(broker.queue("opt-ins")) == 0)

    assert detached == 1
    assert function.given == [[b"1", b"2"]]
    assert errors_of(caplog) == []


async def test_a_wrong_key_is_tried_four_times_before_it_is_an_error(broker, caplog):
    wrong = replace(Address.parse(broker.connection_string), key="bm90IHRoZSBrZXk=")
    trigger = Trigger(name="f", queue="opt-ins", address=wrong, settings=HostJson(retries=QUICK))
    worker = Worker(Function().app)
    await worker.start()

    async with running(Host(trigger, worker)):
        await asyncio.sleep(0.5)
        early = errors_of(caplog)
        await asyncio.sleep(0.7)
    await worker.close()

    assert early == []
    [error] = errors_of(caplog)
    assert "System.UnauthorizedAccessException: Put token failed. status-code: 401" in error
    assert [QUICK.pause(number) for number in (1, 2, 3)] == pytest.approx([0.1, 0.2, 0.4])


def test_the_pauses_are_those_of_the_client():
    retries = ClientRetries()

    assert sum(retries.pause(number) for number in (1, 2, 3)) == pytest.approx(11.2)
    assert replace(retries, is_exponential=False).pause(3) == pytest.approx(0.8)
    assert retries.pause(20) == 60


# --- the log ---


async def test_the_message_ids_of_every_batch_are_in_the_log(broker, caplog):
    caplog.set_level(logging.INFO, logger="sandbox.host")
    await publish(broker, ServiceBusMessage(b"1", message_id="call +15555550001"))

    async with hosting(broker, Function()):
        await until(lambda: len(broker.queue("opt-ins")) == 0)

    assert any(
        each.message.startswith("Trigger Details: MessageIdArray: ['call +15555550001'], SequenceNumberArray: [1],")
        for each in caplog.records
    )


# --- stop, time-out, crash ---


async def test_a_stop_waits_for_the_invocation_and_completes_its_messages(broker):
    function = Function(takes=0.3)
    await publish(broker, ServiceBusMessage(b"1"))

    async with hosting(broker, function):
        await until(lambda: len(function.given) == 1)

    assert function.finished == 1
    assert len(broker.queue("opt-ins")) == 0


async def test_a_stop_while_nothing_comes_is_quick_and_leaves_nothing_locked(broker):
    async with hosting(broker, Function()):
        await asyncio.sleep(0.2)
    await publish(broker, ServiceBusMessage(b"1"))
    await asyncio.sleep(0.1)

    assert (len(broker.queue("opt-ins")), broker.queue("opt-ins").locked) == (1, 0)


async def test_a_batch_that_was_received_when_the_stop_comes_counts_a_delivery_and_calls_nobody(broker):
    function = Function()
    await publish(broker, ServiceBusMessage(b"1"))

    async with hosting(broker, function) as host:
        receive = host._receive

        async def received_and_stopped():
            batch = await receive()
            host.stop()
            return batch

        # Nothing has been received yet: the host has not had its first turn of the loop.
        host._receive = received_and_stopped
        await until(host._stopping.is_set)

    assert function.given == []
    [stored] = broker.queue("opt-ins").messages()
    assert (stored.delivery_count, stored.lock_token) == (1, None)


async def test_a_time_out_ends_the_worker_where_it_stands_and_the_next_one_knows_nothing(broker):
    """No `finally` runs, and the module is imported anew: what a process that is killed leaves behind."""
    loaded = []

    class Forgetful(Function):
        def app(self):
            loaded.append(len(self.given))
            return super().app()

    function = Forgetful(takes=60)
    await publish(broker, ServiceBusMessage(b"slow"))

    async with hosting(broker, function, timeout=timedelta(milliseconds=100)):
        await until(lambda: len(function.given) == 2)
        counts = [each.delivery_count for each in broker.queue("opt-ins").messages()]
        function.takes = 0
        await until(lambda: len(broker.queue("opt-ins")) == 0)

    assert loaded == [0, 1, 2]
    assert counts == [1]
    assert function.finished == 1


async def test_a_time_out_is_said_in_the_words_of_the_host(broker, caplog):
    await publish(broker, ServiceBusMessage(b"slow"))
    function = Function(takes=60)

    async with hosting(broker, function, timeout=timedelta(milliseconds=100)):
        await until(lambda: len(function.given) == 2)
        function.takes = 0
        await until(lambda: len(broker.queue("opt-ins")) == 0)

    said = [each.message for each in caplog.records if each.levelname == "ERROR"]
    assert said[0].startswith("Timeout value of 0:00:00.100000 exceeded by function 'Functions.f'")
    assert "(Failed," in said[1]


async def test_a_function_that_exits_ends_its_worker_and_nothing_else(broker):
    class Leaving(Function):
        def app(self):
            async def process(messages: List[WholeMessage]) -> None:  # noqa: UP006 - as the worker needs it
                self.given.append([message.arrival(datetime.now(UTC)).body for message in messages])
                if len(self.given) == 1:
                    raise SystemExit(1)

            return an_app(process)

    function = Leaving()
    await publish(broker, ServiceBusMessage(b"1"))

    async with hosting(broker, function):
        await until(lambda: len(broker.queue("opt-ins")) == 0)

    assert function.given == [[b"1"], [b"1"]]


async def test_a_function_that_blocks_its_loop_does_not_block_the_broker(broker):
    class Blocking(Function):
        def app(self):
            def process(messages: List[WholeMessage]) -> None:  # noqa: UP006 - as the worker needs it
                self.given.append(len(messages))
                time.sleep(0.4)

            return an_app(process)

    function = Blocking()
    await publish(broker, ServiceBusMessage(b"1"))

    async with hosting(broker, function):
        await until(lambda: len(function.given) == 1)
        async with asyncio.timeout(0.3):
            await asyncio.sleep(0.01)
        await until(lambda: len(broker.queue("opt-ins")) == 0)


async def test_a_function_that_returns_something_fails_as_the_worker_says(broker, caplog):
    class Returning(Function):
        def app(self):
            async def process(messages: List[WholeMessage]) -> int:  # noqa: UP006 - as the worker needs it
                self.given.append(len(messages))
                return 1

            return an_app(process)

    await publish(broker, ServiceBusMessage(b"1"))

    async with hosting(broker, Returning()):
        await until(lambda: len(broker.queue("opt-ins-dead-letter")) == 1)

    assert "returned a non-None value" in caplog.text


async def test_a_host_that_ends_by_itself_ends_who_waits_for_it_with_a_message(broker):
    worker = Worker(Function().app)
    await worker.start()
    trigger = Trigger(name="f", queue="opt-ins", address=Address.parse(broker.connection_string), settings=HostJson())

    class Broken(Host):
        async def _turn(self):
            raise RuntimeError("a bug")

    with pytest.raises(HostEnded, match=r"the host ended \(RuntimeError: a bug\); messages wait"):
        async with running(Broken(trigger, worker)):
            await asyncio.Event().wait()
    await worker.close()


def test_up_ends_when_its_host_does_and_says_so():
    """The host is broken from outside: a bug that does it is not to be had."""
    broken = (
        "from sandbox.__main__ import main; from sandbox.host import Host\n"
        "async def turn(self): raise RuntimeError('a bug')\n"
        "Host._turn = turn\n"
        "main(['up'])"
    )

    ran = subprocess.run(
        [sys.executable, "-c", broken], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert ran.returncode == 1
    assert "the host ended (RuntimeError: a bug); messages wait in the queue; start the sandbox again" in ran.stderr
    assert "Traceback" not in ran.stderr
