"""A namespace for the contract tests: the sandbox's broker, or a real one when SERVICEBUS_CONNECTION_STRING is set."""

import asyncio
import gc
import inspect
import os
import socket
import warnings
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusReceiveMode
from azure.servicebus.aio import ServiceBusClient as AsyncServiceBusClient

from servicebus_sandbox import Broker, load_queues

QUEUES_FILE = Path(__file__).with_name("queues.json")

#: Seconds that a test waits for a message that should be there.
PATIENCE = 20.0


@dataclass
class Bus:
    """A namespace with the two queues of queues.json; `broker` is None when it is a real one."""

    connection_string: str
    opt_ins: str
    dead_letters: str
    broker: Broker | None


@pytest.fixture
def unused_tcp_port() -> int:
    """Give a port of this machine on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(autouse=True)
def _sockets_that_the_client_leaves_behind():
    """Collect what azure-servicebus forgets of a lost connection here, or it warns in the middle of some other test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bus():
    opt_ins = os.environ.get("OPT_IN_QUEUE", "opt-ins")
    dead_letters = os.environ.get("DEAD_LETTER_QUEUE", "opt-ins-dead-letter")
    if real := os.environ.get("SERVICEBUS_CONNECTION_STRING"):
        bus = Bus(real, opt_ins, dead_letters, None)
        await drain(bus)
        yield bus
        return
    async with Broker(load_queues(QUEUES_FILE)) as broker:
        yield Bus(broker.connection_string, "opt-ins", "opt-ins-dead-letter", broker)


async def drain(bus):
    """Empty the queues of a real namespace, which may hold what an earlier run has left."""
    mode = ServiceBusReceiveMode.RECEIVE_AND_DELETE
    async with AsyncServiceBusClient.from_connection_string(bus.connection_string) as client:
        for queue in (bus.opt_ins, bus.dead_letters):
            async with client.get_queue_receiver(queue, receive_mode=mode) as receiver:
                while await receiver.receive_messages(100, max_wait_time=3):
                    continue


class Awaitable:
    """An object of azure-servicebus whose methods can all be awaited, those of the synchronous client in a thread."""

    def __init__(self, wrapped):
        self._wrapped = wrapped

    def __getattr__(self, name):
        method = getattr(self._wrapped, name)

        async def call(*args, **kwargs):
            if inspect.iscoroutinefunction(method):
                return await method(*args, **kwargs)
            return await asyncio.to_thread(method, *args, **kwargs)

        return call

    async def open(self):
        if hasattr(self._wrapped, "__aenter__"):
            await self._wrapped.__aenter__()
        else:
            await asyncio.to_thread(self._wrapped.__enter__)


@dataclass
class Client:
    """The client of a test, its senders and receivers opened once: to open one takes half a second."""

    bus: Bus
    client: Any
    _open: dict[Any, Any] = field(default_factory=dict)

    def sender(self, queue=None):
        return self._once(("sender", queue), lambda: self.client.get_queue_sender(queue or self.bus.opt_ins))

    def receiver(self, queue=None, **options):
        key = ("receiver", queue, *options.items())
        return self._once(key, lambda: self.client.get_queue_receiver(queue or self.bus.opt_ins, **options))

    def _once(self, key, make):
        if key not in self._open:
            self._open[key] = Awaitable(make())
        return self._open[key]

    async def close(self):
        await asyncio.gather(*[opened.close() for opened in self._open.values()])
        await Awaitable(self.client).close()

    async def send(self, *bodies, **properties):
        """Send messages with ids of their own; returns the ids."""
        messages = [ServiceBusMessage(body, **{"message_id": uuid4().hex} | properties) for body in bodies]
        await self.sender().send_messages(messages[0] if len(messages) == 1 else messages)
        return [message.message_id for message in messages]

    async def receive(self, *ids, queue=None, **options):
        """Receive exactly these messages, in peek-lock. Others, left by somebody else, are completed and forgotten."""
        receiver = self.receiver(queue, **options)
        found: dict[str, Any] = {}
        async with asyncio.timeout(PATIENCE):
            while found.keys() != set(ids):
                for message in await receiver.receive_messages(len(ids) - len(found), max_wait_time=PATIENCE):
                    if message.message_id in ids:
                        found[message.message_id] = message
                    else:
                        await receiver.complete_message(message)
        return [found[one] for one in ids]

    async def peek(self, *ids, queue=None, **options):
        """Return those of these messages that are in a queue, in whatever state."""
        found, number = [], 1
        while page := await self.receiver(queue, **options).peek_messages(250, sequence_number=number):
            found += [message for message in page if message.message_id in ids]
            number = page[-1].sequence_number + 1
        return found


CLIENTS: dict[str, Any] = {"sync": ServiceBusClient, "aio": AsyncServiceBusClient}


@pytest.fixture(scope="module", params=CLIENTS)
def kind(request):
    return request.param


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(bus, kind):
    options = {"retry_total": 1, "retry_backoff_factor": 0.1}
    client = Client(bus, CLIENTS[kind].from_connection_string(bus.connection_string, **options))
    yield client
    await client.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slow(bus):
    """What takes a second each, done together: by client and deed, what came of it or was raised."""
    head, _, tail = bus.connection_string.partition("SharedAccessKey=")
    wrong_key = f"{head}SharedAccessKey=wrong;{tail.partition(';')[2]}"
    outcomes = {}

    async def do(kind):
        stranger = Client(bus, CLIENTS[kind].from_connection_string(bus.connection_string, retry_total=0))
        impostor = Client(bus, CLIENTS[kind].from_connection_string(wrong_key, retry_total=0))
        deeds = {
            "receive from an unknown queue": stranger.receiver("no-such-queue").receive_messages(
                1, max_wait_time=PATIENCE
            ),
            "send to an unknown queue": stranger.sender("no-such-queue").send_messages(
                ServiceBusMessage("x"), timeout=PATIENCE
            ),
            "receive with a wrong key": impostor.receiver().receive_messages(1, max_wait_time=PATIENCE),
            "send with a wrong key": impostor.sender().send_messages(ServiceBusMessage("x"), timeout=PATIENCE),
            "let a message expire": expire(stranger),
        }
        results = await asyncio.gather(*deeds.values(), return_exceptions=True)
        outcomes.update({(kind, deed): result for deed, result in zip(deeds, results, strict=True)})
        await asyncio.gather(stranger.close(), impostor.close())

    async def expire(client):
        dead_letters = client.receiver(bus.dead_letters)
        [sent], _ = await asyncio.gather(client.send("x", time_to_live=timedelta(seconds=1)), dead_letters.open())
        async with asyncio.timeout(PATIENCE):
            while not (found := await client.peek(sent, queue=bus.dead_letters)):  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.05)
        return found[0]

    await asyncio.gather(*map(do, CLIENTS))
    return outcomes
