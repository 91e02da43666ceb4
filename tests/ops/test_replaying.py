"""The seam of a replay, with parts that remember: a lock is lost, time passes, Ctrl-C is pressed."""

import asyncio
import json
from datetime import timedelta

from optout_ops.letters.verdicts import Rule
from optout_ops.replay.loop import Replayer
from optout_ops.replay.ramp import Ramp
from optout_ops.replay.tally import Tally
from tests.ops.making import NOW, event, message


class Queue:
    """Gives out its messages in order, and those again whose lock it lost."""

    def __init__(self, messages, loses=()):
        self.waiting = list(messages)
        self.out = {}
        self.loses = set(loses)
        self.completed, self.left = [], []

    async def lock(self, at_most):
        batch, self.waiting = self.waiting[:at_most], self.waiting[at_most:]
        self.out |= {each.sequence_number: each for each in batch}
        return batch

    async def complete(self, number):
        each = self.out.pop(number)
        if number in self.loses:
            self.loses.discard(number)
            self.waiting.append(each)
            return False
        self.completed.append(number)
        return True

    def leave(self, number):
        self.left.append(self.out.pop(number).sequence_number)


class Watcher:
    """Reports the tallies it was given, in turn."""

    def __init__(self, *tallies):
        self.tallies = list(tallies)
        self.looks = []

    async def begin(self):
        self.begun = True

    async def look(self, sent, *, wait):
        self.looks.append((sent, wait))
        return self.tallies.pop(0) if self.tallies else Tally("r", sent)


class Trail:
    """Remembers the steps."""

    def __init__(self):
        self.steps = []

    def write(self, step, **facts):
        self.steps.append((step, facts["numbers"]))


def letters(count):
    return [message(json.dumps(event(f"e{n}", time=NOW - timedelta(hours=1))), n) for n in range(1, count + 1)]


class Stage:
    """A replay and everything it touches."""

    def __init__(self, queue, *tallies, ramp=None):
        self.queue, self.watcher, self.trail = queue, Watcher(*tallies), Trail()
        self.sent, self.stop, self.time = [], asyncio.Event(), NOW
        self.ramp = ramp or Ramp(0.1, ())

    async def send(self, outgoing):
        assert not set(self.queue.completed) & {each.properties["optout-event-id"] for each in outgoing}
        self.sent += [each.message_id for each in outgoing]

    async def run(self, after_send=lambda: None):
        async def pace(_):
            after_send()

        return await Replayer(
            "r",
            self.queue,
            self.send,
            self.watcher,
            self.trail,
            Rule(timedelta(hours=72), 3),
            self.ramp,
            pace,
            100,
            self.stop,
            lambda: self.time,
            lambda _: None,
        ).run()


async def test_one_whose_lock_was_lost_is_completed_the_next_time_and_not_sent_again():
    stage = Stage(Queue(letters(3), loses={2}))

    result = await stage.run()

    assert len(stage.sent) == len(set(stage.sent)) == 3
    assert stage.queue.completed == [1, 3, 2]
    assert result.sent == 3


async def test_what_is_about_to_be_sent_is_written_down_first():
    stage = Stage(Queue(letters(2)))

    await stage.run()

    assert stage.trail.steps == [("sending", [1, 2]), ("sent", [1, 2])]


async def test_one_that_grew_too_old_while_it_waited_its_turn_is_left():
    stage = Stage(Queue(letters(2)))
    stage.time = NOW + timedelta(days=4)

    result = await stage.run()

    assert stage.sent == []
    assert stage.queue.left == [1, 2]
    assert (result.sent, result.turned) == (0, 2)


async def test_the_first_one_alone_decides_whether_a_second_is_sent():
    stage = Stage(Queue(letters(50)), Tally("r", 1, retrying=1), ramp=Ramp(0.1))

    result = await stage.run()

    assert len(stage.sent) == 1
    assert stage.watcher.looks == [(1, True)]
    assert "1 of 1 recipients failed again (100%, more than 10%): 1 wait for another try" in result.stopped


async def test_a_good_ramp_goes_on_to_the_end_and_looks_once_more():
    stage = Stage(Queue(letters(150)), ramp=Ramp(0.1))

    result = await stage.run()

    assert result.sent == 150
    assert stage.watcher.looks == [(1, True), (11, True), (111, True), (150, False)]
    assert result.stopped is None


async def test_ctrl_c_while_it_waits_for_its_rate_sends_nothing_more():
    stage = Stage(Queue(letters(3)))

    result = await stage.run(after_send=stage.stop.set)

    assert stage.sent == []
    assert result.sent == 0
