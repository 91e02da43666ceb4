"""Replays on the broker while things go wrong: nothing is lost, and nothing is sent twice."""

import asyncio
import gc
import json
import signal

import pytest

from servicebus_sandbox.errors import QuotaExceeded
from tests.ops.bus import finish, open_bus, queues
from tests.ops.command_line import QUICK

# The SDK leaves the socket of a connection that the broker dropped to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def _collect_what_the_sdk_leaves_open():
    yield
    gc.collect()


def events(count):
    return {f"e{number}" for number in range(1, count + 1)}


async def kill_between_sending_and_completing(bus):
    """Kill a replay when replacements are in the queue whose dead letters are not yet gone."""
    depth = len(bus.dead_letters)
    process = bus.start("dlq", "replay", *QUICK)
    await bus.broker.wait_until(lambda: 500 < len(bus.opt_ins) > depth - len(bus.dead_letters), timeout=60)
    process.kill()
    await asyncio.to_thread(process.communicate)


async def test_a_killed_replay_loses_nothing_and_the_same_command_finishes_it_and_sends_nothing_twice(place):
    depth = 4_000
    async with open_bus(place, queues(lock_seconds=2)) as bus:
        bus.bury(*range(1, depth + 1))
        await kill_between_sending_and_completing(bus)
        waiting, dead = bus.names()
        await bus.locked()

        said = await bus("dlq", "replay", *QUICK, "--json")

        assert {*waiting, *dead} == events(depth)
        assert set(waiting) & set(dead), "the test must kill it between sending and completing"
        assert said.code == 0
        assert sorted(bus.names()[0]) == sorted(events(depth))
        assert bus.names()[1] == []
        assert bus.opt_ins.duplicates > 0
        lines = (place / "audit.jsonl").read_text().splitlines()
        assert len({json.loads(line)["run"] for line in lines}) == 1


async def test_without_duplicate_detection_a_killed_replay_sends_at_most_one_batch_twice(place):
    depth = 2_000
    async with open_bus(place, queues(lock_seconds=2, requires_duplicate_detection=False)) as bus:
        bus.bury(*range(1, depth + 1))
        await kill_between_sending_and_completing(bus)
        await bus.locked()

        said = await bus("dlq", "replay", *QUICK, "--json")

        waiting, dead = bus.names()
        assert said.code == 0
        assert set(waiting) == events(depth)
        assert 0 < len(waiting) - depth <= 100
        assert dead == []


async def test_ctrl_c_leaves_nothing_half_done_and_the_same_command_goes_on(bus):
    bus.bury(*range(1, 301))
    process = bus.start("dlq", "replay", "--yes", "--no-ramp", "--rate", "100", "--json")
    await bus.broker.wait_until(lambda: len(bus.opt_ins) >= 100, timeout=30)
    process.send_signal(signal.SIGINT)
    said = await finish(process)
    locked, rest, sent = await bus.locked(), bus.dead_letters.messages(), len(bus.opt_ins)

    again = await bus("dlq", "replay", *QUICK, "--json")

    assert said.code == 130
    assert said.json["interrupted"] is True
    assert said.json["sent"] == sent
    assert 100 <= sent < 300
    assert sent + len(rest) == 300
    assert ({each.delivery_count for each in rest}, locked) == ({0}, 0)
    assert again.json["sent"] == len(rest)
    assert bus.opt_ins.duplicates == 0


async def test_a_send_that_the_broker_refuses_loses_nothing(bus):
    bus.bury(1, 2, 3)
    with bus.broker.fail_sends("opt-ins", QuotaExceeded("the queue opt-ins is full")):
        said = await bus("dlq", "replay", *QUICK)

    assert said.code == 4
    assert "nothing is lost" in said.err
    assert (len(bus.opt_ins), len(bus.dead_letters), await bus.locked()) == (0, 3, 0)


async def test_a_lost_answer_sends_nothing_twice(bus):
    bus.bury(1, 2, 3)
    bus.broker.lose_answers(1)

    said = await bus("dlq", "replay", *QUICK, "--json")

    assert said.code == 0
    assert len(bus.opt_ins) == 3
    assert bus.opt_ins.duplicates == 3
    assert len(bus.dead_letters) == 0
