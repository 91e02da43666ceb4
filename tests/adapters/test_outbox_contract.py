"""What the processor may expect of an outbox: the fake and the real one keep the same promises."""

from contextlib import contextmanager

import pytest
import pytest_asyncio

from optout_core.errors import SendFailed
from optout_core.messages import Queue
from servicebus_sandbox import Broker, load_queues
from tests.adapters.hosting import ROOT
from tests.adapters.sending import LATER, QUEUES, ids, outgoing, sending
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
        self.outbox.accepts.append(1)
        yield


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
    async with (
        Broker(load_queues(ROOT / "infra" / "queues.json")) as broker,
        sending(broker.connection_string) as (outbox, _),
    ):
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


async def test_what_failed_can_be_sent_again_whole_and_is_there_once(side):
    messages = [outgoing("retry", Queue.OPT_INS, scheduled_at=LATER), outgoing("dead")]

    with side.broken(), pytest.raises(SendFailed):
        await side.outbox.send(messages)
    assert "dead" not in side.kept(Queue.DEAD_LETTERS)
    await side.outbox.send(messages)

    assert side.kept(Queue.OPT_INS).count("retry") == 1
    assert side.kept(Queue.DEAD_LETTERS).count("dead") == 1
