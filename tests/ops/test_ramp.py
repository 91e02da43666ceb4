"""The closed loop: the real function works while dead letters are replayed, and the replay watches."""

from types import SimpleNamespace

import pytest
import pytest_asyncio

from tests.ops.making import closed_loop, dead

REFUSED = ("+123",)
"""The sandbox's endpoint refuses this number as the API reference's example does."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loop(tmp_path_factory):
    """A good replay, a bad one that stops by itself, and what `status` says of both afterwards."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPTOUT_AUDIT", str(tmp_path_factory.mktemp("loop") / "audit.jsonl"))
        async with closed_loop(environment) as bus:
            bus.bury(14)
            good = await bus("dlq", "replay", "--yes", "--json")
            bus.fill(
                dead(number, "RecipientRejected", numbers=REFUSED if number % 2 else (f"+1555{number:07}",))
                for number in range(100, 130)
            )
            bad = await bus("dlq", "replay", "--yes", "--fixed", "--json")
            left = len(bus.dead_letters)
            told, first = await bus.together(("dlq", "status"), ("dlq", "status", good.json["replay"], "--json"))
            again = await bus("dlq", "replay", "--yes", "--fixed", "--no-ramp", "--json")
            await bus.broker.wait_until(lambda: len(bus.opt_ins) == 0)
            second = await bus("dlq", "status", bad.json["replay"], "--json")
            yield SimpleNamespace(good=good, bad=bad, left=left, told=told, first=first, again=again, second=second)


def test_a_good_replay_ends_with_everybody_applied(loop):
    assert loop.good.code == 0
    assert loop.good.json["sent"] == 14
    assert loop.good.json["outcome"]["applied"] == 14
    assert loop.good.json["stopped"] is None
    assert "1 sent: 1 applied" in loop.good.err
    assert "11 sent: 11 applied" in loop.good.err


def test_a_replay_of_which_too_many_fail_again_stops_by_itself(loop):
    assert loop.bad.code == 3
    assert loop.bad.json["sent"] == 11
    assert loop.bad.json["outcome"]["back"] == {"RecipientRejected": 5}
    assert "5 of 11 recipients failed again (45%, more than 10%): 5 RecipientRejected" in loop.bad.json["stopped"]
    assert loop.left == 30 - 11 + 5


def test_status_tells_what_is_back_and_why(loop):
    assert loop.told.code == 1
    assert "RecipientRejected" in loop.told.out
    assert loop.first.code == 0
    assert loop.first.json["applied"] == 14


def test_status_knows_that_what_was_back_has_left_again(loop):
    assert loop.again.json["sent"] == loop.left
    assert loop.second.json["back"] == {}
    assert loop.second.json["replayedAgain"] == 5
    assert loop.second.json["applied"] == 6
