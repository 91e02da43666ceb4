"""The real function_app.py, found and fed as the host does it, with the broker and the endpoint of the sandbox."""

import asyncio
import socket
import sys
from uuid import UUID

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from optout_core.errors import SettingsError
from optout_core.settings import Settings
from sandbox.endpoint import REFERENCE_FAULTS
from sandbox.host import Host, make_trigger, running
from sandbox.worker import Worker
from servicebus_sandbox import Broker, State, load_queues
from servicebus_sandbox.amqp import DecimalBits, Timestamp, Ulong
from tests.adapters.acs_client import SENDER
from tests.adapters.function import ROOT, amqp, data, fresh, function_app, messages, process_opt_ins, whole
from tests.adapters.outbox import DEAD_LETTERS, OPT_INS
from tests.build import wire

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REFERENCE = ("+15555555551", "+123", "+15555555553")


@pytest_asyncio.fixture
async def broker():
    async with Broker(load_queues(ROOT / "infra" / "queues.json")) as running:
        yield running


@pytest.fixture
def environ(broker, endpoint, monkeypatch):
    """The app settings, as the process's own environment."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(field.alias, raising=False)
    settings = {
        "ACS_ENDPOINT": endpoint.url,
        "ACS_ACCESS_KEY": endpoint.access_key,
        "ServiceBusConnection": broker.connection_string,
        "OPT_IN_QUEUE": OPT_INS,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


def dead(broker):
    """Give the dead letters by reason."""
    stored = [each.message for each in broker.queue(DEAD_LETTERS).messages()]
    return {message.application_properties["DeadLetterReason"]: message for message in stored}


async def test_the_host_finds_it_feeds_it_and_completes_what_it_settled(broker, endpoint, environ):
    endpoint.faults = REFERENCE_FAULTS
    endpoint.opted_out = {(SENDER, to) for to in REFERENCE}
    async with (
        ServiceBusClient.from_connection_string(broker.connection_string) as client,
        client.get_queue_sender(OPT_INS) as sender,
    ):
        published = [wire(fresh(*REFERENCE, id="ev-1")), b"nonsense \xff"]
        await sender.send_messages(
            [ServiceBusMessage(each, application_properties={"traceparent": TRACEPARENT}) for each in published]
        )

    async with function_app() as app:
        worker = Worker(lambda: app)
        host = Host(make_trigger(await worker.start(), ROOT / "host.json", environ), worker)
        async with running(host):
            await broker.wait_until(lambda: broker.queue(OPT_INS).active == 0 and len(broker.queue(DEAD_LETTERS)) == 2)
        await worker.run(sys.modules["function_app"].service.close)
        await worker.close()

    assert endpoint.opted_out == {(SENDER, to) for to in REFERENCE[1:]}
    [retry] = broker.queue(OPT_INS).messages(State.SCHEDULED)
    assert b"+15555555553" in retry.message.body
    assert b"+15555555551" not in retry.message.body
    assert retry.message.application_properties["optout-attempt"] == 1
    assert dead(broker).keys() == {"RecipientRejected", "MalformedEvent"}
    assert dead(broker)["MalformedEvent"].body == published[1]
    everything = [retry.message, *dead(broker).values()]
    assert {message.application_properties["traceparent"] for message in everything} == {TRACEPARENT}


@pytest.mark.usefixtures("environ")
async def test_odd_properties_of_a_message_do_not_keep_it_from_its_dead_letter(broker):
    """Each of them once made the client raise, or could: a failed send gives back the whole batch."""
    odd = {
        "millis": Timestamp(1_700_000_000_000),
        "long": 2**40,
        "unsigned": Ulong(2**64 - 1),
        "binary": b"\xff",
        "uuid": UUID(int=5),
        "list": [1, "a"],
        "decimal": DecimalBits(bytes.fromhex("3038000000000000000000001425d829")),
        "none": None,
    }
    plain = {"millis": Timestamp(1_700_000_000_000), "long": 2**40, "unsigned": Ulong(2**64 - 1), "uuid": UUID(int=5)}
    batch = whole(
        amqp(data(b"garbled"), message_id="odd", properties=odd, content_type="text/x"),
        amqp(data(b"garbled too"), message_id="plain", properties=plain),
    )

    async with process_opt_ins() as process:
        await process(batch)

    stored = {message.message.body: message.message for message in broker.queue(DEAD_LETTERS).messages()}
    properties = stored[b"garbled"].application_properties
    assert {name: properties.get(name) for name in odd} == {
        "millis": "2023-11-14T22:13:20Z",
        "long": 2**40,
        "unsigned": 2**64 - 1,
        "binary": "/w==",
        "uuid": str(UUID(int=5)),
        "list": '[1, "a"]',
        "decimal": 33802.4489,
        "none": None,
    }
    properties = stored[b"garbled too"].application_properties
    assert {name: properties[name] for name in plain} == {**plain, "millis": 1_700_000_000_000}


@pytest.mark.usefixtures("environ")
async def test_a_wrong_setting_stops_the_app_before_it_has_a_trigger_and_messages_wait(monkeypatch):
    """Found at an invocation, it would fail ten deliveries within seconds and dead-letter the whole queue."""
    monkeypatch.setenv("ACS_ENDPOINT", "http://not-this-machine.example")

    with pytest.raises(SettingsError, match="ACS_ENDPOINT must start with https://"):
        async with function_app():
            pytest.fail("there is an app")


@pytest.mark.usefixtures("environ")
async def test_sixteen_first_invocations_at_once_all_do_their_work(endpoint):
    numbers = [f"+1555555{number:04}" for number in range(16)]
    async with process_opt_ins() as process:
        await asyncio.gather(*[process(messages(fresh(number))) for number in numbers])

    assert sorted(to for request in endpoint.requests for to in request.recipients) == numbers


@pytest.mark.usefixtures("environ")
async def test_it_returns_nothing_since_the_worker_allows_nothing_else():
    async with process_opt_ins() as process:
        assert await process(messages(fresh())) is None


@pytest.mark.usefixtures("environ")
async def test_an_endpoint_that_is_gone_puts_everybody_off_and_fails_nothing(broker, monkeypatch):
    with socket.socket() as held:
        # Nobody listens there, and nobody else can take the port meanwhile.
        held.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ACS_ENDPOINT", f"http://127.0.0.1:{held.getsockname()[1]}")

        async with process_opt_ins() as process:
            await process(messages(fresh("+15555555551", "+15555555552"), fresh(id="2")))

    waiting = [each.message for each in broker.queue(OPT_INS).messages(State.SCHEDULED)]
    assert [message.application_properties["optout-recipients"] for message in waiting] == [2, 1]
    assert {message.application_properties["optout-attempt"] for message in waiting} == {0}
    assert len(broker.queue(DEAD_LETTERS)) == 0
