"""The pass over the dead letters on the wire, where locks expire and memory is limited."""

import asyncio
import itertools
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import pytest_asyncio
from azure.servicebus.aio import ServiceBusClient

from optout_ops.queues.client import read_message
from optout_ops.queues.locking import ServiceBusPass
from optout_ops.queues.sequence_numbers import SequenceNumbers
from servicebus_sandbox import Broker
from tests.build import dead_letters
from tests.ops.bus import as_stored, queues

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Seconds.
LOCK = 2


class Shelf:
    """A queue of 30 dead letters whose locks expire after two seconds."""

    def __init__(self, broker, client, name):
        self._broker, self._client = broker, client
        self._queue = broker.queue(name)
        self._queue.send([as_stored(each) for each in dead_letters(30)])

    @asynccontextmanager
    async def locking(self, *numbers, **options):
        async with self._client.get_queue_receiver(self._queue.name) as receiver:
            async with ServiceBusPass(receiver, SequenceNumbers(numbers), read_message, **options) as opened:
                yield opened
            # Not left to the closing of the receiver: until then it would be handed again what was given back.
            await self._broker.wait_until(lambda: self._queue.locked == 0)

    def state(self):
        """Sequence numbers and delivery counts."""
        return [(each.sequence_number, each.delivery_count) for each in self._queue.messages()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shelves():
    properties = replace(queues(LOCK)["opt-ins-dead-letter"], requires_duplicate_detection=False)
    async with (
        Broker({f"shelf-{number}": properties for number in range(9)}) as broker,
        ServiceBusClient.from_connection_string(broker.connection_string) as client,
    ):
        names = itertools.count()
        yield lambda: Shelf(broker, client, f"shelf-{next(names)}")


@pytest_asyncio.fixture(loop_scope="module")
async def shelf(shelves):
    return shelves()


async def test_beyond_the_limit_the_rest_keeps_its_place_and_counts_one_delivery(shelf):
    async with shelf.locking(30, hold=10) as locking:
        [message] = await locking.lock(1)
        await locking.complete(message.sequence_number)

    assert locking.overflow == 19
    assert shelf.state() == [(number, int(number > 10)) for number in range(1, 30)]


async def test_a_pass_that_outlives_the_locks_renews_them(shelf):
    async with shelf.locking(*range(20, 31)) as locking:
        for _ in range(6):
            [message] = await locking.lock(1)
            await asyncio.sleep(LOCK / 5)
            assert await locking.complete(message.sequence_number)

    assert shelf.state() == [(number, 0) for number in (*range(1, 20), *range(26, 31))]


async def test_a_lost_lock_counts_a_delivery_of_its_message_alone(shelf):
    async with shelf.locking(1) as locking:
        [message] = await locking.lock(1)
        await asyncio.sleep(LOCK + 0.2)
        lost = await locking.complete(message.sequence_number)
        [again] = await locking.lock(1)

    assert (lost, again.sequence_number, again.delivery_count) == (False, 1, 1)
    assert [number for number, _ in shelf.state()] == list(range(1, 31))
