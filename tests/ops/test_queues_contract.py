"""What the commands may expect of the two queues: those in memory and those behind AMQP keep the same promises."""

import asyncio
from contextlib import ExitStack

import pytest
import pytest_asyncio

from optout_core.outgoing import Outgoing, Queue
from optout_core.settings import Settings
from optout_ops.exits import OutOfReach
from optout_ops.queues.client import ServiceBusQueues
from optout_ops.queues.sequence_numbers import SequenceNumbers
from servicebus_sandbox.errors import QuotaExceeded
from tests.build import dead_letter
from tests.ops.bus import Bus, open_bus, queues
from tests.ops.memory import MemoryQueues

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Seconds; the shortest for which a lock can be held while a test looks.
LOCK = 2


class Memory:
    """The queues in memory, and how to look into them and to break them."""

    def __init__(self):
        self.queues = MemoryQueues()

    def fill(self, count):
        first = self.queues._last[Queue.DEAD_LETTERS] + 1
        for number in range(first, first + count):
            self.queues.accept(outgoing(f"dead-{number}", Queue.DEAD_LETTERS))
        return list(range(first, first + count))

    def state(self):
        return [(each.sequence_number, each.delivery_count) for each in self.queues.dead_letters]

    def kept(self):
        return [each.message_id for each in self.queues.opt_ins]

    def lock_first(self):
        self.queues.locked.add(self.queues.numbers[0])

    async def lose_lock(self, number):
        self.queues.lost_locks.add(number)

    async def clear(self):
        self.queues.dead_letters.clear()
        self.queues.locked.clear()
        self.queues.refusals.clear()

    def refuse(self):
        self.queues.refusals.add(Queue.OPT_INS)


class Amqp:
    """The queues of the sandbox's broker, and how to look into them and to break them."""

    def __init__(self, bus: Bus, opened: ServiceBusQueues):
        self.bus, self.queues = bus, opened
        self._refusing = ExitStack()

    def fill(self, count):
        before = self.bus.dead_letters.messages()
        self.bus.fill(*(dead_letter(number, name=f"{id(before)}-{number}") for number in range(1, count + 1)))
        return [each.sequence_number for each in self.bus.dead_letters.messages()][len(before) :]

    def state(self):
        return [(each.sequence_number, each.delivery_count) for each in self.bus.dead_letters.messages()]

    def kept(self):
        return [each.message.message_id for each in self.bus.opt_ins.messages()]

    def lock_first(self):
        self.bus.dead_letters.lock_next()

    async def lose_lock(self, _):
        await asyncio.sleep(LOCK + 0.2)

    async def clear(self):
        await self.bus.locked()
        for stored in self.bus.dead_letters.messages():
            self.bus.dead_letters.life.remove(stored)
        self._refusing.close()

    def refuse(self):
        full = QuotaExceeded("the queue opt-ins is full")
        self._refusing.enter_context(self.bus.broker.fail_sends("opt-ins", full))


def outgoing(name, queue=Queue.OPT_INS, **fields):
    ordinary = {"body": b"{}", "content_type": "application/json", "properties": {"optout-hop": 7, "who": "a test"}}
    return Outgoing(queue=queue, message_id=name, **ordinary | fields)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["memory", "amqp"])
async def opened(request, tmp_path_factory):
    if request.param == "memory":
        yield Memory()
        return
    async with open_bus(tmp_path_factory.mktemp("contract"), queues(LOCK)) as bus:
        settings = {"ACS_ENDPOINT": "https://unset.invalid", "OPT_IN_QUEUE": "opt-ins"}
        async with ServiceBusQueues(Settings.from_environ(settings | bus.environ)) as connected:
            yield Amqp(bus, connected)


@pytest_asyncio.fixture(loop_scope="module")
async def side(opened):
    yield opened
    await opened.clear()


async def peeked(side, start=1):
    return [each.sequence_number async for each in side.queues.peek(Queue.DEAD_LETTERS, start)]


async def test_a_peek_gives_the_messages_in_order_from_a_number_on_and_locks_none(side):
    numbers = side.fill(4)

    assert await peeked(side) == numbers
    assert await peeked(side, numbers[2]) == numbers[2:]
    assert await peeked(side, numbers[-1] + 1) == []
    async with side.queues.locking(SequenceNumbers(numbers[:1])) as locking:
        assert len(await locking.lock(1)) == 1
        assert await peeked(side) == numbers


async def test_behind_its_tail_a_queue_is_empty(side):
    assert await side.queues.tail(Queue.DEAD_LETTERS) == 0
    numbers = side.fill(3)

    tail = await side.queues.tail(Queue.DEAD_LETTERS)

    assert tail == numbers[-1]
    assert await peeked(side, tail + 1) == []


async def test_a_message_is_in_its_queue_as_it_was_sent_when_send_returns(side):
    await side.queues.send([outgoing("sent", correlation_id="c-1", body=b"\xff{")])

    [message] = [each async for each in side.queues.peek(Queue.OPT_INS) if each.message_id == "sent"]
    assert message.body == b"\xff{"
    assert message.content_type == "application/json"
    assert message.correlation_id == "c-1"
    assert message.properties == {"optout-hop": 7, "who": "a test"}


async def test_an_id_that_was_sent_is_accepted_and_dropped(side):
    await side.queues.send([outgoing("again")])
    await side.queues.send([outgoing("again"), outgoing("new")])

    assert side.kept()[-2:] == ["again", "new"]


async def test_a_refused_send_is_out_of_reach_and_sends_nothing(side):
    before = side.kept()
    side.refuse()

    with pytest.raises(OutOfReach, match=r"the queue 'opt-ins'.*nothing is lost"):
        await side.queues.send([outgoing("refused")])
    assert side.kept() == before


async def test_the_chosen_messages_are_locked_in_order_and_leave_when_they_are_completed(side):
    numbers = side.fill(6)

    async with side.queues.locking(SequenceNumbers([numbers[1], numbers[2], numbers[5]])) as locking:
        batches = []
        while batch := await locking.lock(2):
            batches.append([each.sequence_number for each in batch])
            for number in batches[-1]:
                assert await locking.complete(number)

    assert batches == [[numbers[1], numbers[2]], [numbers[5]]]
    assert (locking.completed, locking.overflow) == (3, 0)
    assert side.state() == [(numbers[0], 0), (numbers[3], 0), (numbers[4], 0)]


async def test_a_message_that_is_left_or_not_completed_is_given_back_uncounted(side):
    numbers = side.fill(3)
    chosen = SequenceNumbers(numbers[:2])

    async with side.queues.locking(chosen) as locking:
        await locking.lock(2)
        locking.leave(numbers[0])
    async with side.queues.locking(chosen) as again:
        locked = [each.sequence_number for each in await again.lock(2)]

    assert locked == numbers[:2]
    assert side.state() == [(number, 0) for number in numbers]


async def test_a_message_whose_lock_was_lost_is_given_again(side):
    [number] = side.fill(1)

    async with side.queues.locking(SequenceNumbers([number])) as locking:
        [message] = await locking.lock(1)
        await side.lose_lock(number)
        lost = await locking.complete(number)
        [again] = await locking.lock(1)
        completed = await locking.complete(number)

    assert (lost, completed) == (False, True)
    assert again.body == message.body
    assert side.state() == []


async def test_a_message_that_another_session_holds_or_that_is_gone_is_passed_over(side):
    numbers = side.fill(3)
    side.lock_first()

    async with side.queues.locking(SequenceNumbers([*numbers, numbers[-1] + 10])) as locking:
        locked = [each.sequence_number for each in await locking.lock(10)]

    assert locked == numbers[1:]


async def test_a_pass_without_chosen_messages_is_over_at_once(side):
    side.fill(1)

    async with side.queues.locking(SequenceNumbers()) as locking:
        assert await locking.lock(10) == []


async def test_the_right_to_send_is_tried_without_sending(side):
    before = side.kept()

    await side.queues.may_send(Queue.OPT_INS)

    assert side.kept() == before


async def test_the_queues_and_their_namespace_have_names(side):
    assert side.queues.names == {Queue.OPT_INS: "opt-ins", Queue.DEAD_LETTERS: "opt-ins-dead-letter"}
    assert side.queues.namespace
