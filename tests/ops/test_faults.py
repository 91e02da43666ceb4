"""Replays while things go wrong: nothing is lost, and nothing is sent twice."""

import asyncio
import gc
import json
import signal
from types import SimpleNamespace

import pytest
import pytest_asyncio

from servicebus_sandbox.errors import QuotaExceeded
from tests.ops.making import QUICK, open_bus, queues

# The SDK leaves the socket of a connection that the broker dropped to the garbage collector.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.filterwarnings("ignore::ResourceWarning")]

DEPTH = 10_000
BLIND_DEPTH = 2_000


@pytest.fixture(autouse=True)
def _collect_what_the_sdk_leaves_open():
    yield
    gc.collect()


async def crash(place, depth, *, detects_duplicates):
    """Kill a replay between sending and completing, look, and run the same command again when the locks have ended."""
    place.mkdir()
    environment = {"OPTOUT_AUDIT": str(place / "audit.jsonl")}
    properties = queues(2, requires_duplicate_detection=detects_duplicates)
    async with open_bus(properties, environment.__setitem__) as bus:
        bus.bury(depth)
        total = lambda: len(bus.opt_ins) + len(bus.dead_letters)  # noqa: E731 - read in a loop by the broker
        process = bus.start(environment, "dlq", "replay", *QUICK)
        await bus.broker.wait_until(lambda: len(bus.opt_ins) > depth / 4 and total() > depth, timeout=60)
        process.kill()
        await asyncio.to_thread(process.communicate)
        after_crash = bus.names()
        await bus.released()
        again = await bus.finish(bus.start(environment, "dlq", "replay", *QUICK, "--json"))
        trail = [json.loads(line) for line in (place / "audit.jsonl").read_text().splitlines()]
        return SimpleNamespace(after_crash=after_crash, again=again, names=bus.names(), bus=bus, trail=trail)


async def interrupt(place):
    """Press Ctrl-C in the middle of a replay, look, and run the same command again."""
    environment = {"OPTOUT_AUDIT": str(place / "audit.jsonl")}
    async with open_bus(queues(), environment.__setitem__) as bus:
        bus.bury(300)
        process = bus.start(environment, "dlq", "replay", "--yes", "--no-ramp", "--rate", "100", "--json")
        await bus.broker.wait_until(lambda: len(bus.opt_ins) >= 100, timeout=30)
        process.send_signal(signal.SIGINT)
        said = await bus.finish(process)
        locked = await bus.released()
        rest = bus.dead_letters.messages()
        return SimpleNamespace(
            said=said,
            sent=len(bus.opt_ins),
            left=len(rest),
            counts={each.delivery_count for each in rest},
            locked=locked,
            again=await bus.finish(bus.start(environment, "dlq", "replay", *QUICK, "--json")),
            duplicates=bus.opt_ins.duplicates,
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crashes(tmp_path_factory):
    place = tmp_path_factory.mktemp("crash")
    detecting, blind, interrupted = await asyncio.gather(
        crash(place / "detecting", DEPTH, detects_duplicates=True),
        crash(place / "blind", BLIND_DEPTH, detects_duplicates=False),
        interrupt(place),
    )
    return SimpleNamespace(detecting=detecting, blind=blind, interrupted=interrupted)


async def test_a_killed_replay_has_lost_nothing(crashes):
    for run, depth in ((crashes.detecting, DEPTH), (crashes.blind, BLIND_DEPTH)):
        waiting, dead = run.after_crash
        assert {*waiting, *dead} == {f"e{number}" for number in range(1, depth + 1)}
        assert set(waiting) & set(dead), "the test must kill it between sending and completing"


async def test_the_same_command_finishes_a_killed_replay_under_its_id_and_sends_nothing_twice(crashes):
    waiting, dead = crashes.detecting.names

    assert crashes.detecting.again.code == 0
    assert sorted(waiting) == sorted(f"e{number}" for number in range(1, DEPTH + 1))
    assert dead == []
    assert len({line["run"] for line in crashes.detecting.trail}) == 1
    assert crashes.detecting.bus.opt_ins.duplicates > 0


async def test_without_duplicate_detection_a_killed_replay_sends_at_most_one_batch_twice(crashes):
    waiting, dead = crashes.blind.names

    assert crashes.blind.again.code == 0
    assert set(waiting) == {f"e{number}" for number in range(1, BLIND_DEPTH + 1)}
    assert 0 < len(waiting) - BLIND_DEPTH <= 100
    assert dead == []


async def test_ctrl_c_leaves_nothing_half_done_and_the_same_command_goes_on(crashes):
    run = crashes.interrupted

    assert run.said.code == 130
    assert run.said.json["interrupted"] is True
    assert run.said.json["sent"] == run.sent
    assert 100 <= run.sent < 300
    assert run.sent + run.left == 300
    assert (run.counts, run.locked) == ({0}, 0)
    assert run.again.json["sent"] == run.left
    assert run.duplicates == 0


@pytest_asyncio.fixture(loop_scope="module")
async def bus(connect):
    async with connect() as opened:
        yield opened


async def test_a_send_that_the_broker_refuses_loses_nothing(bus):
    bus.bury(3)
    with bus.broker.fail_sends("opt-ins", QuotaExceeded("the queue opt-ins is full")):
        said = await bus("dlq", "replay", *QUICK)

    assert said.code == 4
    assert "nothing is lost" in said.err
    assert (len(bus.opt_ins), len(bus.dead_letters), await bus.released()) == (0, 3, 0)


async def test_a_lost_answer_sends_nothing_twice(bus):
    bus.bury(3)
    bus.broker.lose_answers(1)

    said = await bus("dlq", "replay", *QUICK, "--json")

    assert said.code == 0
    assert len(bus.opt_ins) == 3
    assert bus.opt_ins.duplicates == 3
    assert len(bus.dead_letters) == 0
