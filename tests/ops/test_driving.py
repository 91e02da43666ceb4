"""The seam of a replay, in front of queues in memory: a lock is lost, time passes, Ctrl-C is pressed, ACS fails."""

import asyncio
from datetime import timedelta

import pytest

from optout_core.outgoing import Queue
from optout_ops.audit import AuditTrail, RunRecorder
from optout_ops.exits import ExitCode, OutOfReach
from optout_ops.letters.letter import REPLAY_OF
from optout_ops.letters.verdicts import ReplayRule
from optout_ops.queues.sequence_numbers import SequenceNumbers
from optout_ops.replay.choose import Choice
from optout_ops.replay.drive import DriveOptions, drive
from optout_ops.replay.ramp import Ramp
from optout_ops.replay.selection import Selection
from optout_ops.run import Run
from tests.build import NOW, dead_letter, dead_letters
from tests.ops.memory import MemoryQueues, returned

RULE = ReplayRule(max_age=timedelta(hours=72), max_replays=3)
NO_RAMP = Ramp(0.1, ())


class Replay:
    """A replay of all dead letters of some queues, and everything that it touches."""

    def __init__(self, place, queues):
        self.queues = queues
        self.trail = AuditTrail(place / "audit.jsonl")
        self.stop, self.now = asyncio.Event(), NOW
        self.tallies = []

    async def __call__(self, ramp=NO_RAMP, rate=100_000.0):
        selection = Selection(chosen=SequenceNumbers(self.queues.numbers))
        return await drive(
            Choice(replay_id="r1", selection=selection, request={}),
            DriveOptions(rule=RULE, ramp=ramp, rate=rate, patience=0),
            queues=self.queues,
            run=Run(
                recorder=RunRecorder(self.trail, "replay", "r1"),
                advance=lambda _: None,
                note=lambda _: None,
                now=lambda: self.now,
                stop=self.stop,
            ),
            show=self.tallies.append,
        )

    def steps(self, *names):
        return [(line["step"], line.get("numbers")) for line in self.trail.read() if line["step"] in names]


@pytest.fixture
def replay_of(tmp_path):
    return lambda *letters, **options: Replay(tmp_path, MemoryQueues(*letters, **options))


async def test_a_dead_letter_whose_lock_was_lost_is_completed_the_next_time_and_not_sent_again(replay_of):
    replay = replay_of(*dead_letters(3))
    replay.queues.lost_locks = {2}

    result = await replay()

    assert len(replay.queues.opt_ins) == 3
    assert replay.queues.duplicates[Queue.OPT_INS] == 0
    assert replay.queues.numbers == []
    assert (result.sent, result.leftover.still_there) == (3, 0)


async def test_what_is_about_to_be_sent_is_written_down_first(replay_of):
    replay = replay_of(*dead_letters(2))
    replay.queues.refusals = {Queue.OPT_INS}

    with pytest.raises(OutOfReach):
        await replay()

    assert replay.steps("sending", "sent") == [("sending", [1, 2])]
    assert (replay.queues.numbers, replay.queues.locked) == ([1, 2], set())


async def test_the_trail_says_what_was_sent_and_which_replay_it_had_come_back_from(replay_of):
    replay = replay_of(dead_letter(1, **{"optout-replay-id": "r0", "optout-replay-count": 1}), dead_letter(2))

    await replay()

    [sent] = [line for line in replay.trail.read() if line["step"] == "sent"]
    assert (sent["numbers"], sent["earlier"]) == ([1, 2], {"r0": 1})


async def test_a_dead_letter_that_grew_too_old_while_it_waited_its_turn_is_left(replay_of):
    replay = replay_of(*dead_letters(2))
    replay.now = NOW + timedelta(days=4)

    result = await replay()

    assert replay.queues.opt_ins == []
    assert replay.queues.numbers == [1, 2]
    assert (result.sent, result.refusals) == (0, 2)


async def test_the_first_one_alone_decides_whether_a_second_is_sent(replay_of):
    replay = replay_of(*dead_letters(50), function=lambda _: False)

    result = await replay(Ramp(0.1))

    assert len(replay.queues.opt_ins) == 1
    assert "1 of 1 recipients still wait for their first try. Is the function running?" in result.objection
    assert result.exit_code(Selection()) is ExitCode.GUARD


async def test_a_good_ramp_goes_on_to_the_end_and_looks_once_more(replay_of):
    replay = replay_of(*dead_letters(150), function=lambda _: True)

    result = await replay(Ramp(0.1))

    assert (result.sent, result.objection) == (150, None)
    assert [(tally.sent, tally.gone) for tally in replay.tallies] == [(1, 1), (11, 11), (111, 111)]


async def test_a_replay_of_which_too_many_fail_again_stops_by_itself(replay_of):
    replay = replay_of(*dead_letters(50))

    def function(message):
        # Every other recipient is refused.
        if int(message.properties["optout-event-id"][1:]) % 2 == 0:
            replay.queues.accept(returned(message))
        return True

    replay.queues.function = function

    result = await replay(Ramp(0.1))

    assert result.sent == 11
    assert "5 of 11 recipients failed again (45%, more than 10%)" in result.objection
    assert (result.returned, len(replay.queues.dead_letters)) == (5, 50 - 11 + 5)


async def test_recipients_that_wait_for_another_try_count_as_failures(replay_of):
    replay = replay_of(*dead_letters(50))

    def function(message):
        # A retry carries the replay's id on, and is no longer said to be of a dead letter.
        message.properties.pop(REPLAY_OF)
        return False

    replay.queues.function = function

    result = await replay(Ramp(0.1))

    assert (result.sent, result.retrying) == (1, 1)
    assert "1 of 1 recipients failed again (100%, more than 10%): 1 wait for another try" in result.objection


@pytest.mark.parametrize(
    ("count", "sent", "code"), [(50, 1, ExitCode.GUARD), (1, 1, ExitCode.SOME_FAILED)], ids=["of many", "of one"]
)
async def test_a_first_step_that_came_back_whole_stops_the_replay_where_there_is_more(replay_of, count, sent, code):
    replay = replay_of(*dead_letters(count))

    def function(message):
        replay.queues.accept(returned(message))
        return True

    replay.queues.function = function

    result = await replay(Ramp(0.1))

    assert (result.sent, result.returned, len(replay.queues.dead_letters)) == (sent, sent, count)
    assert result.exit_code(Selection()) is code


async def test_ctrl_c_while_it_waits_for_its_rate_sends_nothing_more(replay_of):
    replay = replay_of(*dead_letters(3))

    # One at once, then one every 100 s; Ctrl-C comes a moment later.
    replay.queues.function = lambda _: asyncio.get_running_loop().call_later(0.05, replay.stop.set) and False
    result = await replay(rate=0.01)

    assert (result.sent, result.interrupted) == (1, True)
    assert (replay.queues.numbers, replay.queues.locked) == ([2, 3], set())
