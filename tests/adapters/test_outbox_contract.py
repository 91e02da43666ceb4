"""What the processor may expect of an outbox: the fake and the real one keep the same promises."""

from contextlib import contextmanager

import pytest
import pytest_asyncio

from optout_core.outgoing import Queue
from servicebus_sandbox import Broker, load_queues
from tests.adapters.outbox import LATER, QUEUES, ids, open_outbox, outgoing
from tests.build import QUEUES_FILE
from tests.fakes import FakeOutbox

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Fake:
    """The fake, and how to look into it and to break it."""

    def __init__(self):
        self.outbox = FakeOutbox()

    def kept(self, queue):
        messages = self.outbox.retries if queue is Queue.OPT_INS else self.outbox.dead_letters
        return [message.message_id for message in messages]

    @contextmanager
    def broken(self):
        self.outbox.closed.add(Queue.DEAD_LETTERS)
        yield
        self.outbox.closed.clear()


class Real:
    """The outbox in front of the sandbox's broker, and how to look into that and to break it."""

    def __init__(self, outbox, broker):
        self.outbox = outbox
        self._broker = broker

    def kept(self, queue):
        return ids(self._broker, QUEUES[queue])

    def broken(self):
        return self._broker.fail_sends(QUEUES[Queue.DEAD_LETTERS])


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["fake", "real"])
async def side(request):
    if request.param == "fake":
        yield Fake()
        return
    async with Broker(load_queues(QUEUES_FILE)) as broker, open_outbox(broker.connection_string) as (outbox, _):
        yield Real(outbox, broker)


async def test_each_message_is_in_its_queue_when_send_returns(side):
    await side.outbox.send([outgoing("r1", Queue.OPT_INS, scheduled_at=LATER), outgoing("d1"), outgoing("d2")])

    assert side.kept(Queue.OPT_INS)[-1:] == ["r1"]
    assert side.kept(Queue.DEAD_LETTERS)[-2:] == ["d1", "d2"]


async def test_nothing_to_send_is_fine(side):
    before = side.kept(Queue.DEAD_LETTERS)

    await side.outbox.send([])

    assert side.kept(Queue.DEAD_LETTERS) == before


async def test_an_id_that_was_sent_is_accepted_and_dropped(side):
    await side.outbox.send([outgoing("again")])
    await side.outbox.send([outgoing("again"), outgoing("new")])

    assert side.kept(Queue.DEAD_LETTERS)[-2:] == ["again", "new"]


async def test_what_was_not_taken_is_given_back_and_nothing_else(side):
    retry, dead = outgoing("retry", Queue.OPT_INS, scheduled_at=LATER), outgoing("dead")

    with side.broken():
        not_taken = await side.outbox.send([dead, retry])

    assert [each.message for each in not_taken] == [dead]
    assert "dead" not in side.kept(Queue.DEAD_LETTERS)
    assert side.kept(Queue.OPT_INS).count("retry") == 1
    assert not side.outbox.is_in_doubt


async def test_it_is_in_doubt_from_when_nothing_is_taken_until_something_is(side):
    with side.broken():
        await side.outbox.send([outgoing("in vain")])
        assert side.outbox.is_in_doubt
        await side.outbox.send([])
        assert side.outbox.is_in_doubt

    await side.outbox.send([outgoing("the next")])
    assert not side.outbox.is_in_doubt


async def test_what_failed_can_be_sent_again_whole_and_is_there_once(side):
    messages = [outgoing("late retry", Queue.OPT_INS, scheduled_at=LATER), outgoing("late dead")]

    with side.broken():
        await side.outbox.send(messages)
    await side.outbox.send(messages)

    assert side.kept(Queue.OPT_INS).count("late retry") == 1
    assert side.kept(Queue.DEAD_LETTERS).count("late dead") == 1
