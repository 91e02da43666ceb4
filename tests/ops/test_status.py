"""`optout dlq status`: what became of a replay, told later."""

import json
import re

import pytest

from optout_core.outgoing import Queue
from optout_ops.replay.tally import Tally
from tests.build import dead_letter, dead_letters
from tests.ops.bus import closed_loop, open_bus
from tests.ops.command_line import QUICK
from tests.ops.memory import returned


def refuse(desk, *events):
    """Let the function refuse the recipients of some events, and apply all others."""

    def function(message):
        if message.properties["optout-event-id"] in events:
            desk.queues.accept(returned(message))
        return True

    desk.queues.function = function


def test_everybody_who_is_in_neither_queue_is_gone_and_said_to_be_applied_by_nobody(desk):
    desk.put(*dead_letters(4), function=lambda _: True)
    replay = desk.dlq("replay", *QUICK, "--json").json["replay"]

    said = desk.dlq("status", replay, "--json")

    assert said.code == 0
    assert (said.json["sent"], said.json["gone"], said.json["known"]) == (4, 4, True)
    assert said.json["applied"] is None


def test_who_is_back_is_told_with_the_reason(desk):
    desk.put(*dead_letters(4))
    refuse(desk, "e2", "e3")
    desk.dlq("replay", *QUICK)

    said = desk.dlq("status")

    rows = [line.split()[:3] for line in said.out.splitlines()]
    assert said.code == 1
    assert ["gone", "2", "in"] in rows
    assert ["back", "2", "RecipientRejected"] in rows


def test_who_was_back_and_left_again_is_told_of_the_first_replay(desk):
    desk.put(*dead_letters(4))
    refuse(desk, "e2", "e3")
    first = desk.dlq("replay", *QUICK, "--json").json["replay"]
    refuse(desk)
    desk.dlq("replay", *QUICK, "--fixed")

    said = desk.dlq("status", first, "--json")

    assert (said.json["back"], said.json["replayedAgain"], said.json["gone"]) == ({}, 2, 2)


def test_a_replay_that_was_cut_off_says_what_may_have_been_sent(desk):
    desk.put(*dead_letters(2))
    desk.queues.refusals = {Queue.OPT_INS}
    desk.dlq("replay", *QUICK)

    said = desk.dlq("status")

    assert "2 recipients more were about to be sent, and may have been: run the same command again" in said.out


def test_a_replay_of_another_machine_is_read_from_the_queues(desk):
    desk.put(dead_letter(1, **{"optout-replay-id": "theirs", "optout-replay-count": 1}))

    said = desk.dlq("status", "theirs")

    assert said.code == 1
    assert "knows no replay theirs in this namespace" in said.err
    assert "this machine's audit trail does not know" in said.out


def test_without_any_replay_there_is_no_newest_one(desk):
    said = desk.dlq("status")

    assert said.code == 1
    assert "knows no replay in this namespace; give the replay's id, or OPTOUT_AUDIT" in said.err


async def test_whom_the_ledger_confirms_is_applied(place):
    ledger = {"CONSENT_LEDGER": f"sqlite:///{place / 'ledger.db'}"}
    async with closed_loop(place, ledger) as bus:
        bus.bury(*range(1, 13))
        replayed = await bus("dlq", "replay", "--yes", "--rate", "10000", "--json")
        status = await bus("dlq", "status", "--json")
        report = await bus("report", "-o", str(place / "report.html"))
        page = (place / "report.html").read_text()

    assert replayed.code == 0
    for said in (replayed.json["outcome"], status.json):
        assert (said["sent"], said["applied"], said["gone"]) == (12, 12, 0)
    assert report.code == 0
    assert re.search(r"<td>done</td><td>12</td><td>12</td>", page)


async def test_whom_somebody_took_away_is_gone(place):
    ledger = {"CONSENT_LEDGER": f"sqlite:///{place / 'ledger.db'}"}
    async with open_bus(place) as bus:
        bus.environ |= ledger
        bus.bury(1, 2)
        await bus("dlq", "replay", *QUICK)
        while taken := bus.opt_ins.lock_next():
            bus.opt_ins.complete(taken.lock_token)
        status = await bus("dlq", "status", "--json")

    assert (status.json["sent"], status.json["applied"], status.json["gone"]) == (2, 0, 2)


def test_who_was_seen_in_a_queue_a_moment_ago_is_not_counted_twice():
    tally = Tally(replay_id="r", sent=10, untried=2, retrying=1)

    tally.confirm(9)

    assert (tally.applied, tally.gone) == (7, 0)


@pytest.mark.parametrize(
    ("outcome", "ended"), [("interrupted", "ended as `interrupted`"), (None, "still runs, or was cut off")]
)
def test_how_a_replay_ended_is_said_as_the_list_of_replays_says_it(desk, outcome, ended):
    desk.put(*dead_letters(2), function=lambda _: True)
    desk.dlq("replay", *QUICK)
    lines = desk.trail
    lines[-1]["outcome"] = outcome
    kept = lines if outcome else lines[:-1]
    (desk.place / "audit.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in kept))

    said = desk.dlq("status")

    assert f"This replay {ended}: run the same command again to finish it." in said.out
    assert (outcome or ended) in desk("replays").out
