"""The pass over the dead letters: what is chosen is locked in order, the rest keeps place and delivery count."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import pytest_asyncio
from azure.servicebus.aio import ServiceBusClient

from optout_ops.queues.taking import Take
from optout_ops.replay.plans import Chosen
from servicebus_sandbox import Broker
from tests.ops.making import dead, queues

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Shelf:
    """A queue of 30 dead letters whose locks end after two seconds."""

    def __init__(self, broker, client, name):
        self.queue = broker.queue(name)
        self.broker, self.client = broker, client
        self.queue.send([dead(number) for number in range(1, 31)])

    @asynccontextmanager
    async def passing(self, *numbers, **options):
        async with self.client.get_queue_receiver(self.queue.name) as receiver:
            async with Take(receiver, Chosen(numbers), **options) as take:
                yield take
            # Not left to the closing of the receiver: until then it would be handed again what was given back.
            await self.broker.wait_until(lambda: self.queue.locked == 0)

    def state(self):
        return [(each.sequence_number, each.delivery_count) for each in self.queue.messages()]


async def in_order(shelf):
    async with shelf.passing(2, 5, 30) as take:
        batches = [await take.lock(2), await take.lock(2)]
        for message in (*batches[0], *batches[1]):
            assert await take.complete(message.sequence_number)
        batches.append(await take.lock(2))
    return SimpleNamespace(batches=[[each.sequence_number for each in batch] for batch in batches], left=shelf.state())


async def given_back(shelf):
    async with shelf.passing(2, 5) as take:
        [message] = await take.lock(1)
        await take.complete(message.sequence_number)
        await take.lock(1)
    return SimpleNamespace(left=shelf.state())


async def beyond_the_limit(shelf):
    async with shelf.passing(30, hold=10) as take:
        [message] = await take.lock(1)
        await take.complete(message.sequence_number)
    return SimpleNamespace(let_go=take.let_go, left=shelf.state())


async def outliving(shelf):
    async with shelf.passing(*range(20, 31)) as take:
        for _ in range(6):
            [message] = await take.lock(1)
            await asyncio.sleep(0.4)
            assert await take.complete(message.sequence_number)
    return SimpleNamespace(left=shelf.state())


async def losing_a_lock(shelf):
    async with shelf.passing(1) as take:
        [message] = await take.lock(1)
        await asyncio.sleep(2.2)
        lost = await take.complete(message.sequence_number)
        [again] = await take.lock(1)
        completed = await take.complete(again.sequence_number)
    return SimpleNamespace(completions=(lost, completed), left=shelf.state())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def passes():
    """All passes at once, each over a queue of its own: most of the time they wait."""
    scenarios = (in_order, given_back, beyond_the_limit, outliving, losing_a_lock)
    properties = replace(queues(2)["opt-ins-dead-letter"], requires_duplicate_detection=False)
    async with (
        Broker({each.__name__: properties for each in scenarios}) as broker,
        ServiceBusClient.from_connection_string(broker.connection_string) as client,
    ):
        results = await asyncio.gather(*(each(Shelf(broker, client, each.__name__)) for each in scenarios))
    return dict(zip(scenarios, results, strict=True))


async def test_chosen_ones_come_in_order_and_leave_when_they_are_completed(passes):
    assert passes[in_order].batches == [[2, 5], [30], []]
    assert passes[in_order].left == [(number, 0) for number in range(1, 30) if number not in (2, 5)]


async def test_what_was_locked_and_not_completed_goes_back_uncounted(passes):
    assert passes[given_back].left == [(number, 0) for number in range(1, 31) if number != 2]


async def test_beyond_the_limit_the_rest_keeps_its_place_and_counts_one_delivery(passes):
    assert passes[beyond_the_limit].let_go == 19
    assert passes[beyond_the_limit].left == [(number, int(number > 10)) for number in range(1, 30)]


async def test_a_pass_that_outlives_the_locks_renews_them(passes):
    assert passes[outliving].left == [(number, 0) for number in (*range(1, 20), *range(26, 31))]


async def test_one_whose_lock_was_lost_comes_again(passes):
    assert passes[losing_a_lock].completions == (False, True)
    assert [number for number, _ in passes[losing_a_lock].left] == list(range(2, 31))
