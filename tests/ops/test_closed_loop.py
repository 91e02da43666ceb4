"""The closed loop on the broker: the real function works while dead letters are replayed, and the replay watches."""

import pytest

from tests.ops.bus import closed_loop, current

REFUSED = "+123"
"""The sandbox's endpoint refuses this number as the API reference's example does."""


@pytest.fixture
async def loop(place):
    async with closed_loop(place) as bus:
        yield bus


async def test_a_good_replay_ends_with_everybody_applied(loop):
    loop.bury(*range(1, 15))

    said = await loop("dlq", "replay", "--yes", "--json")

    assert said.code == 0
    assert said.json["sent"] == 14
    assert said.json["outcome"]["gone"] == 14
    assert said.json["stopped"] is None
    assert "1 recipient sent: 1 gone" in said.err
    assert "11 recipients sent: 11 gone" in said.err


async def test_a_replay_of_which_too_many_fail_again_stops_and_status_tells_to_the_end(loop):
    loop.fill(
        *(current(number, "RecipientRejected", *[f"+1{number}"] * (number % 2)) for number in range(100, 130)),
    )

    said = await loop("dlq", "replay", "--yes", "--fixed", "--json")
    told = await loop("dlq", "status")
    again = await loop("dlq", "replay", "--yes", "--fixed", "--no-ramp", "--json")
    await loop.broker.wait_until(lambda: len(loop.opt_ins) == 0)
    in_the_end = await loop("dlq", "status", said.json["replay"], "--json")

    assert (said.code, said.json["sent"]) == (3, 11)
    assert said.json["outcome"]["back"] == {"RecipientRejected": 5}
    assert "5 of 11 recipients failed again (45%, more than 10%): 5 RecipientRejected" in said.json["stopped"]
    assert told.code == 1
    assert "RecipientRejected" in told.out
    assert again.json["sent"] == 30 - 11 + 5
    assert in_the_end.json["back"] == {}
    assert (in_the_end.json["replayedAgain"], in_the_end.json["gone"]) == (5, 6)
