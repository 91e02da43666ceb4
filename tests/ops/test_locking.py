"""The pass over the dead letters on the wire, where locks expire and memory is limited."""

import asyncio
import itertools
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import pytest_asyncio
from azure.servicebus.aio import ServiceBusClient

from optout_ops.queues.locking import ServiceBusPass
from optout_ops.queues.reading import read_message
from optout_ops.queues.sequence_numbers import SequenceNumbers
from servicebus_sandbox import Broker
from servicebus_sandbox.limits import Limits
from tests.build import dead_letters
from tests.ops.bus import as_stored, current, open_bus, queues
from tests.ops.command_line import QUICK

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Seconds.
LOCK = 2
SLOW_LOCK = 6


class Shelf:
    """A queue of 30 dead letters whose locks expire after two seconds."""

    def __init__(self, broker, client, name):
        self._broker, self._client = broker, client
        self._queue = broker.queue(name)
        self._queue.send([as_stored(each) for each in dead_letters(30)])

    @asynccontextmanager
    async def locking(self, *numbers, **options):
        async with self._client.get_queue_receiver(self._queue.name) as receiver:
            options["another"] = lambda: self._client.get_queue_receiver(self._queue.name)
            async with ServiceBusPass(receiver, SequenceNumbers(numbers), read_message, **options) as opened:
                yield opened
            # Not left to the closing of the receiver: until then it would be handed again what was given back.
            await self._broker.wait_until(lambda: self._queue.locked == 0)

    def state(self):
        """Sequence numbers and delivery counts."""
        return [(each.sequence_number, each.delivery_count) for each in self._queue.messages()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shelves():
    quick, slow = (
        replace(
            queues(seconds)["opt-ins-dead-letter"],
            requires_duplicate_detection=False,
            forward_dead_lettered_messages_to=None,
        )
        for seconds in (LOCK, SLOW_LOCK)
    )
    names = {f"shelf-{number}": quick for number in range(9)} | {f"slow-{number}": slow for number in range(2)}
    async with (
        Broker(names) as broker,
        ServiceBusClient.from_connection_string(broker.connection_string) as client,
    ):
        numbers = itertools.count()
        slow_numbers = itertools.count()
        yield lambda kind: Shelf(broker, client, f"{kind}-{next(slow_numbers if kind == 'slow' else numbers)}")


@pytest_asyncio.fixture(loop_scope="module")
async def shelf(shelves):
    return shelves("shelf")


@pytest_asyncio.fixture(loop_scope="module")
async def slow_shelf(shelves):
    """A shelf on which a pass may open links, which takes most of a second each."""
    return shelves("slow")


async def test_beyond_the_limit_the_rest_keeps_its_place_and_counts_one_delivery(shelf):
    async with shelf.locking(30, hold=10) as locking:
        [message] = await locking.lock(1)
        await locking.complete(message.sequence_number)

    assert locking.overflow == 19
    assert shelf.state() == [(number, int(number > 10)) for number in range(1, 30)]


async def test_a_link_that_has_many_deliveries_is_followed_by_another_and_all_are_given_back(slow_shelf):
    async with slow_shelf.locking(28, 30, per_link=12) as locking:
        taken = [await locking.lock(1), await locking.lock(1)]
        for [message] in taken:
            await locking.complete(message.sequence_number)

    assert locking.overflow == 0
    assert slow_shelf.state() == [(number, 0) for number in (*range(1, 28), 29)]


async def test_a_link_whose_messages_are_forgotten_is_closed_and_the_pass_goes_on(slow_shelf):
    async with slow_shelf.locking(30, per_link=12, hold=6) as locking:
        [message] = await locking.lock(1)
        await locking.complete(message.sequence_number)

    assert locking.overflow == 23
    assert slow_shelf.state() == [(number, int(number > 6)) for number in range(1, 30)]


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


async def test_dead_letters_behind_more_than_a_link_carries_are_replayed(place):
    """The service stops giving out on a link with too many unsettled deliveries, without a word."""
    async with open_bus(place, limits=Limits(max_unsettled=2_048)) as bus:
        bus.fill(*(current(number, "StaleOptIn") for number in range(1, 2_501)))
        bus.bury(*range(2_501, 2_511))

        said = await bus("dlq", "replay", "--reason", "RetriesExhausted", *QUICK, "--json")

        assert (said.code, said.json["sent"]) == (0, 10)
        assert {each.delivery_count for each in bus.dead_letters.messages()} == {0}
        assert await bus.locked() == 0
