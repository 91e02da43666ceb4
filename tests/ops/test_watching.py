"""What a running replay sees of itself when it does not wait: who failed again, and nobody twice."""

import asyncio

import pytest

from optout_core.outgoing import Outgoing, Queue
from optout_ops.letters.letter import REPLAY_OF
from optout_ops.replay.ramp import Ramp
from optout_ops.replay.watcher import Watcher
from tests.build import dead_letter_properties
from tests.ops.memory import MemoryQueues


class Counting(MemoryQueues):
    """Queues that count the messages that are read."""

    read = 0

    async def peek(self, queue, start=1):
        async for message in super().peek(queue, start):
            self.read += 1
            yield message

    def put(self, name, queue=Queue.OPT_INS, **properties):
        facts = dead_letter_properties(**{"optout-replay-id": "r"} | properties)
        self.accept(Outgoing(queue=queue, message_id=name, body=b"{", content_type=None, properties=facts))


@pytest.fixture
def queues():
    return Counting()


@pytest.fixture
def watcher(queues):
    return Watcher(queues, "r", patience=1, stop=asyncio.Event(), show=lambda _: None)


async def test_those_who_wait_for_another_try_count_as_failed_long_before_they_are_dead_letters(queues, watcher):
    await watcher.begin()
    for number in range(10):
        queues.put(f"e{number}:p1:a", **{REPLAY_OF: "x"})
    for number in range(9):
        queues.put(f"e{number}:r2:b")

    tally = await watcher.count_failures(10)

    assert tally.retrying == 9
    assert "9 of 10 recipients failed again" in str(Ramp(0.1).objection(tally, waited=False))


async def test_one_that_fails_again_and_again_counts_once(queues, watcher):
    await watcher.begin()
    queues.put("urn:a/e1:r2:b")
    await watcher.count_failures(10)
    queues.put("urn:a/e1:r3:c")

    assert (await watcher.count_failures(10)).retrying == 1


async def test_one_that_failed_and_is_a_dead_letter_now_counts_as_that(queues, watcher):
    await watcher.begin()
    queues.put("urn:a/e1:r2:b")
    await watcher.count_failures(10)
    queues.put("urn:a/e1:d4:d", Queue.DEAD_LETTERS)

    tally = await watcher.count_failures(10)

    assert (tally.retrying, tally.returned_recipients) == (0, 1)


async def test_a_look_reads_only_what_is_new(queues, watcher):
    for number in range(100):
        queues.put(f"old{number}", **{"optout-replay-id": "before"})
    await watcher.begin()
    queues.put("e1:r2:b")

    await watcher.count_failures(1)
    await watcher.count_failures(1)

    assert queues.read == 1


async def test_waiting_for_first_tries_ends_when_all_were_tried(queues, watcher):
    await watcher.begin()
    queues.put("e1:p1:a", **{REPLAY_OF: "x"})

    waiting = asyncio.create_task(watcher.wait_for_first_tries(1))
    await asyncio.sleep(0.05)
    queues.opt_ins.clear()

    assert (await waiting).gone == 1


async def test_waiting_for_first_tries_ends_when_patience_ends(queues):
    impatient = Watcher(queues, "r", patience=0, stop=asyncio.Event(), show=lambda _: None)
    await impatient.begin()
    queues.put("e1:p1:a", **{REPLAY_OF: "x"})

    assert (await impatient.wait_for_first_tries(1)).untried == 1


async def test_waiting_for_first_tries_ends_with_ctrl_c(queues):
    stop = asyncio.Event()
    watcher = Watcher(queues, "r", patience=60, stop=stop, show=lambda _: None)
    await watcher.begin()
    queues.put("e1:p1:a", **{REPLAY_OF: "x"})

    waiting = asyncio.create_task(watcher.wait_for_first_tries(1))
    await asyncio.sleep(0.05)
    stop.set()

    assert (await waiting).untried == 1
