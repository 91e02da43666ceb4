"""What a running replay sees of itself when it does not wait: who failed again, and nobody twice."""

import asyncio

from optout_core.messages import Queue
from optout_ops.letters.dead_letters import REPLAY_OF
from optout_ops.replay.ramp import Ramp
from optout_ops.replay.watcher import ReplayWatcher
from tests.ops.making import message, properties


class Namespace:
    """Two queues with memory, looked at without locking."""

    def __init__(self):
        self.messages: dict[Queue, list] = {queue: [] for queue in Queue}
        self.read = 0

    def put(self, queue, name, **more):
        number = len(self.messages[queue]) + 1
        facts = properties(**{"optout-replay-id": "r", "optout-recipients": 1} | more)
        self.messages[queue].append(message(number=number, message_id=name, properties=facts))

    async def peek(self, queue, start=1):
        for each in self.messages[queue]:
            if each.sequence_number >= start:
                self.read += 1
                yield each

    async def tail(self, queue):
        return len(self.messages[queue])


def watcher(namespace):
    return ReplayWatcher(namespace, "r", patience=1, stop=asyncio.Event(), say=lambda _: None)


async def test_those_who_wait_for_another_try_count_as_failed_long_before_they_are_dead_letters():
    namespace = Namespace()
    watch = watcher(namespace)
    await watch.begin()
    for number in range(10):
        namespace.put(Queue.OPT_INS, f"e{number}:p1:a", **{REPLAY_OF: "x"})
    for number in range(9):
        namespace.put(Queue.OPT_INS, f"e{number}:r2:b")

    tally = await watch.look(10, wait=False)

    assert tally.retrying == 9
    assert "9 of 10 recipients failed again" in str(Ramp(0.1).objection(tally, waited=False))


async def test_one_that_fails_again_and_again_counts_once_and_as_a_dead_letter_in_the_end():
    namespace = Namespace()
    watch = watcher(namespace)
    await watch.begin()
    namespace.put(Queue.OPT_INS, "urn:a/e1:r2:b")
    await watch.look(10, wait=False)
    namespace.put(Queue.OPT_INS, "urn:a/e1:r3:c")
    again = (await watch.look(10, wait=False)).retrying
    namespace.put(Queue.DEAD_LETTERS, "urn:a/e1:d4:d")

    tally = await watch.look(10, wait=False)

    assert (again, tally.retrying, tally.back_recipients) == (1, 0, 1)


async def test_a_look_reads_only_what_is_new():
    namespace = Namespace()
    watch = watcher(namespace)
    for number in range(100):
        namespace.put(Queue.OPT_INS, f"old{number}", **{"optout-replay-id": "before"})
    await watch.begin()
    namespace.put(Queue.OPT_INS, "e1:r2:b")

    await watch.look(1, wait=False)
    await watch.look(1, wait=False)

    assert namespace.read == 1
