"""Runs that are longer than the life of their token: an hour on Azure, ten seconds here.

The client shows a new token when a tenth of the life of the old one is left, and only while it is doing something; the
broker drops the links to what no token is valid for, as Service Bus does.
"""

import asyncio
import functools
import gc
from datetime import timedelta

import pytest
from azure.servicebus import _base_handler
from azure.servicebus.aio import _base_handler_async

from optout_core.outgoing import Queue
from optout_core.settings import Settings
from optout_ops.letters.letter import read_letter
from optout_ops.letters.replacement import replacement
from optout_ops.queues.client import ServiceBusQueues
from optout_ops.queues.locking import ServiceBusPass
from optout_ops.queues.reading import read_message
from optout_ops.queues.sequence_numbers import SequenceNumbers
from tests.ops.bus import open_bus

#: Seconds. The client's window for the next token is a tenth of it, in whole seconds.
LIFE = 10

# The SDK leaves the socket of a connection that was given up to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def _short_lives(monkeypatch):
    make = functools.partial(_base_handler._generate_sas_token, expiry=timedelta(seconds=LIFE))
    monkeypatch.setattr(_base_handler_async, "_generate_sas_token", make)
    yield
    gc.collect()


def settings_of(bus):
    return Settings.from_environ({"ACS_ENDPOINT": "https://unset.invalid"} | bus.environ)


async def test_a_replay_that_is_longer_than_its_tokens_ends_whole(place):
    async with open_bus(place) as bus:
        bus.bury(*range(1, 56))

        began = asyncio.get_running_loop().time()
        said = await bus("dlq", "replay", "--yes", "--no-ramp", "--rate", "2.5")

        assert asyncio.get_running_loop().time() - began > 2 * LIFE
        assert said.code == 0, said
        assert (len(bus.opt_ins), len(bus.dead_letters)) == (55, 0)
        assert bus.opt_ins.duplicates == 0
        assert await bus.locked() == 0


async def test_what_stood_still_while_its_token_ended_goes_on(place):
    """As after a long wait, over two links: nothing is asked for in the time in which a new token could be shown."""
    async with open_bus(place) as bus, ServiceBusQueues(settings_of(bus)) as queues:
        bus.bury(*range(1, 9))
        numbers = [message.sequence_number async for message in queues.peek(Queue.DEAD_LETTERS)]
        letters = [message async for message in queues.peek(Queue.DEAD_LETTERS)]
        await queues.send([replacement(read_letter(letters[0]), "20260123T120000Z-abcdef")])

        receiver = await queues._receiver(Queue.DEAD_LETTERS)
        another = functools.partial(queues._connected().get_queue_receiver, queues.names[Queue.DEAD_LETTERS])
        async with ServiceBusPass(
            receiver, SequenceNumbers(numbers), read_message, another=another, per_link=4
        ) as locking:
            given = [*await locking.lock(4), *await locking.lock(4)]
            assert len(given) == 8
            await asyncio.sleep(LIFE + 1.5)

            assert all([await locking.complete(message.sequence_number) for message in given])
            assert await locking.lock(4) == []
        await queues.send([replacement(read_letter(letters[1]), "20260123T120000Z-abcdef")])

        assert [message async for message in queues.peek(Queue.DEAD_LETTERS)] == []
        assert (len(bus.opt_ins), len(bus.dead_letters)) == (2, 0)
