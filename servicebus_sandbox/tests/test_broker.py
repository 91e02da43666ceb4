"""What only the sandbox can show: short locks, a full queue, other keys, and faults on demand.

Opening and closing azure-servicebus takes seconds of sleep, so these tests share one broker, with a queue for each
need, and one client, whose senders and receivers are opened at once. The tests of faults have their own.
"""

import asyncio
import gc
import ssl
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
import pytest_asyncio
from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.servicebus import ServiceBusMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import (
    MessageLockLostError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusQuotaExceededError,
    ServiceBusServerBusyError,
)
from cryptography import x509

from servicebus_sandbox import LISTEN, SEND, AccessKey, Broker, EntityNotFound, QueueProperties
from servicebus_sandbox.frames import SENDER, Disposition
from servicebus_sandbox.tests.certificates import make_certificate
from servicebus_sandbox.tests.peer import connected, message

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # azure-servicebus leaves sockets unclosed when it opens a lost connection again.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SHORT = timedelta(seconds=0.3)
QUEUES = {
    "plain": QueueProperties(),
    "short": QueueProperties(lock_duration=SHORT),
    "once": QueueProperties(requires_duplicate_detection=True),
    "small": QueueProperties(max_size_in_megabytes=1),
}
KEYS = [
    AccessKey("everything", "one"),
    AccessKey("listener", "two", frozenset({LISTEN})),
    AccessKey("sender", "three", frozenset({SEND})),
]


ENTRA_ID = "Entra ID"


class Identity(AsyncTokenCredential):
    """A credential of Entra ID, which nobody here can check."""

    async def get_token(self, *_scopes, **_options):
        return AccessToken("header.payload.signature", int(time.time()) + 3600)

    async def close(self):
        pass

    async def __aexit__(self, *_):
        pass


class Bench:
    """A broker and clients of it, which are all closed together."""

    def __init__(self, broker):
        self.broker = broker
        self._opened = []
        self._clients = {}

    def client(self, key="everything", retries=0):
        options = {"retry_total": retries, "retry_backoff_factor": 0.05}
        if key == ENTRA_ID and key not in self._clients:
            host = f"127.0.0.1:{self.broker.port}"
            self._clients[key] = ServiceBusClient(host, Identity(), use_tls=False, **options)
        elif key not in self._clients:
            text = self.broker.connection_string_of(key)
            self._clients[key] = ServiceBusClient.from_connection_string(text, **options)
        return self._clients[key]

    def sender(self, queue="plain", key="everything"):
        return self._keep(self.client(key).get_queue_sender(queue))

    def receiver(self, queue="plain", key="everything", **options):
        return self._keep(self.client(key).get_queue_receiver(queue, **options))

    def _keep(self, handler):
        self._opened.append(handler)
        return handler

    async def close(self):
        await asyncio.gather(*[handler.close() for handler in self._opened], return_exceptions=True)
        await asyncio.gather(*[client.close() for client in self._clients.values()], return_exceptions=True)


@asynccontextmanager
async def running(retries=0, **options):
    async with Broker(QUEUES, keys=KEYS, **options) as broker:
        bench = Bench(broker)
        bench.client(retries=retries)
        yield bench
        await bench.close()
    gc.collect()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench():
    async with running() as bench:
        yield bench


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def handlers(bench):
    """A sender and a receiver of each queue, all opened at once."""
    pairs = {queue: (bench.sender(queue), bench.receiver(queue)) for queue in QUEUES}
    await asyncio.gather(*[handler.__aenter__() for pair in pairs.values() for handler in pair])
    return pairs


@pytest.fixture
def broker(bench):
    return bench.broker


def new(body="x", **properties):
    return ServiceBusMessage(body, message_id=uuid4().hex, **properties)


async def exchange(pair, *messages):
    """Send messages, and receive as many."""
    sender, receiver = pair
    await sender.send_messages(list(messages))
    return await receiver.receive_messages(len(messages), max_wait_time=5)


async def test_a_message_whose_lock_expired_is_delivered_again_without_being_asked_for(broker, handlers):
    _, receiver = handlers["short"]
    [first] = await exchange(handlers["short"], new())
    [again] = await receiver.receive_messages(1, max_wait_time=2)

    assert (first.delivery_count, again.delivery_count) == (0, 1)
    with pytest.raises(MessageLockLostError):
        await receiver.complete_message(first)
    await receiver.complete_message(again)
    assert broker.queue("short").active == 0


async def test_settling_a_message_whose_lock_the_broker_has_ended_is_an_error(broker, handlers):
    _, receiver = handlers["plain"]
    queue = broker.queue("plain")
    first, second = await exchange(handlers["plain"], new(), new())
    queue.release(first.lock_token)
    queue.complete(second.lock_token)

    for settle in (receiver.complete_message, receiver.abandon_message, receiver.dead_letter_message):
        with pytest.raises(MessageLockLostError):
            await settle(first)
    with pytest.raises(MessageLockLostError):
        await receiver.renew_message_lock(second)
    assert (queue.active, queue.dead_lettered) == (1, 0)
    queue.take_next()


async def test_without_forwarding_dead_letters_are_in_the_subqueue_and_are_settled_there(bench, broker, handlers):
    [message] = await exchange(handlers["plain"], new("bad"))
    await handlers["plain"][1].dead_letter_message(message, reason="Bad")
    dead_letters = bench.receiver(sub_queue=ServiceBusSubQueue.DEAD_LETTER)
    [dead] = await dead_letters.receive_messages(1, max_wait_time=2)
    await dead_letters.abandon_message(dead)
    [again] = await dead_letters.receive_messages(1, max_wait_time=2)

    assert (dead.dead_letter_reason, str(dead), dead.sequence_number) == ("Bad", "bad", message.sequence_number)
    assert again.delivery_count == 1
    await dead_letters.complete_message(again)
    assert broker.queue("plain").dead_lettered == 0


async def test_waiting_ends_as_soon_as_the_condition_holds_and_not_when_it_never_does(broker, handlers):
    sender, _ = handlers["once"]
    queue = broker.queue("once")
    waiting = asyncio.create_task(broker.wait_until(lambda: queue.active == 2))
    await sender.send_messages(new())
    assert not waiting.done()
    await sender.send_messages(new())
    await waiting

    with pytest.raises(TimeoutError):
        await broker.wait_until(lambda: queue.active == 3, timeout=0.01)
    with pytest.raises(EntityNotFound):
        broker.queue("other")


async def test_a_message_can_be_looked_at(broker, handlers):
    sender, _ = handlers["plain"]
    await sender.send_messages(new(b"body", application_properties={"a": 1}, correlation_id="c"))
    message = broker.queue("plain").take_next().message

    assert (message.body, message.application_properties) == (b"body", {"a": 1})
    assert message.properties["correlation_id"] == "c"


async def test_a_full_queue_refuses_sends(broker, handlers):
    sender, _ = handlers["small"]
    for _ in range(4):
        await sender.send_messages(new(b"x" * 250_000))
    with pytest.raises(ServiceBusQuotaExceededError, match="full"):
        await sender.send_messages(new(b"x" * 250_000))

    assert broker.queue("small").active == 4


async def test_what_a_key_or_a_queue_allows_is_done_and_the_rest_refused_with_a_reason(bench, broker):
    attempts = [
        bench.sender(key="sender").send_messages(new()),
        bench.sender(key="listener").send_messages(new()),
        bench.receiver(key="sender").receive_messages(1, max_wait_time=20),
        bench.receiver(session_id="s").receive_messages(1, max_wait_time=20),
        bench.receiver("other").receive_messages(1, max_wait_time=20),
        bench.sender(key=ENTRA_ID).send_messages(new()),
    ]
    sent, not_sent, not_received, no_sessions, no_queue, by_identity = await asyncio.gather(
        *attempts, return_exceptions=True
    )

    assert (sent, by_identity, broker.queue("plain").active) == (None, None, 2)
    assert [broker.queue("plain").take_next(), broker.queue("plain").take_next()].count(None) == 0
    assert isinstance(not_sent, ServiceBusAuthorizationError)
    assert "'Send' claim is required" in str(not_sent)
    assert isinstance(not_received, ServiceBusAuthorizationError)
    assert "'Listen' claim is required" in str(not_received)
    assert "create a session receiver" in str(no_sessions)
    assert isinstance(no_queue, ServiceBusAuthenticationError)
    assert "there are: once" in str(no_queue.inner_exception)
    assert "three" not in repr(KEYS)


async def test_two_brokers_live_side_by_side_and_a_port_can_be_chosen(broker):
    async with Broker(QUEUES) as other:
        assert other.port != broker.port
    async with Broker(QUEUES, port=other.port) as again:
        assert again.port == other.port
        with pytest.raises(OSError, match="address already in use"):
            await Broker(QUEUES, port=other.port).__aenter__()


async def test_sends_can_be_refused_for_a_while(broker, handlers):
    sender, _ = handlers["once"]
    before = broker.queue("once").active
    with broker.fail_sends("once") as refused:
        for batch in ([new()], [new(), new()]):
            with pytest.raises(ServiceBusServerBusyError):
                await sender.send_messages(batch)
    await sender.send_messages(new())

    assert (refused.met, broker.queue("once").active) == (2, before + 1)


async def test_receives_can_be_refused_for_a_while_and_the_client_is_told_that_the_service_is_busy(broker, handlers):
    sender, receiver = handlers["once"]
    await sender.send_messages(new())
    with broker.fail_receives("once") as refused:
        with pytest.raises(ServiceBusServerBusyError):
            await receiver.receive_messages(1, max_wait_time=5)
        with pytest.raises(ServiceBusServerBusyError):
            await receiver.peek_messages(1)

    assert refused.met >= 2
    assert len(await receiver.peek_messages(1, sequence_number=1)) == 1


async def test_with_a_certificate_the_broker_serves_tls(tmp_path):
    context = make_certificate(tmp_path, x509.DNSName("localhost"))
    trusting = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
    async with Broker(QUEUES, tls=context) as broker:
        async with connected(broker, ssl=trusting, server_hostname="localhost") as peer:
            await peer.open()
            await peer.begin()
            await peer.authorize(path="plain")
            await peer.attach("plain", SENDER)
            peer.transfer(message(b"x" * 60_000))
            await peer.expect(Disposition)
            await broker.drop_connections()
        assert broker.queue("plain").active == 1
        assert "UseDevelopmentEmulator" not in broker.connection_string


async def test_a_broker_ends_whatever_became_of_the_handshakes_of_tls(tmp_path):
    context = make_certificate(tmp_path, x509.DNSName("localhost"))
    async with asyncio.timeout(10):
        async with Broker(QUEUES, tls=context) as broker:
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection("127.0.0.1", broker.port, ssl=ssl.create_default_context())
            _, silent = await asyncio.open_connection("127.0.0.1", broker.port)
            await broker.drop_connections()
        silent.close()
        await silent.wait_closed()


async def test_faults_of_the_network_lose_nothing_and_double_nothing():
    """One story, since opening again after each fault takes the client most of a second."""
    async with running(retries=2) as bench:
        broker, queue = bench.broker, bench.broker.queue("once")
        sender, receiver = bench.sender("once"), bench.receiver("once")
        await asyncio.gather(sender.__aenter__(), receiver.__aenter__())
        first, second = await exchange((sender, receiver), new("1"), new("2"))

        await broker.drop_connections()
        third, _ = await asyncio.gather(receiver.receive_messages(1, max_wait_time=20), sender.send_messages(new("3")))
        await receiver.complete_message(first)
        await receiver.dead_letter_message(second, reason="Why")
        await receiver.complete_message(third[0])
        assert (queue.active, queue.dead_lettered, queue.duplicates) == (0, 1, 0)

        broker.lose_answers()
        await sender.send_messages(new("4"))
        assert (queue.active, queue.duplicates) == (1, 1)
