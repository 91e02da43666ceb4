"""`optout dlq plan` and `replay` against the broker: nothing is lost, and what is not chosen keeps its place."""

import asyncio
import json
import os
import pty
import re
import signal
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import pytest_asyncio

from tests.ops.making import QUICK, dead, open_bus, queues, read_all, stored

REASONS = ("RetriesExhausted", "RecipientRejected", "StaleOptIn", "NewerOptOut", "MaxDeliveryCountExceeded")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mixed(tmp_path_factory):
    """A queue with everything in it, before a replay, after it, and after one with all that may be allowed."""
    place = tmp_path_factory.mktemp("mixed")
    old = datetime.now(UTC) - timedelta(hours=80)
    bare = json.dumps({"from": "+18001234567", "recipients": [{"to": "+15555550000"}]})
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPTOUT_AUDIT", str(place / "audit.jsonl"))
        environment.delenv("OPT_IN_MAX_AGE", raising=False)
        async with open_bus(queues(), environment.setenv) as bus:
            bus.fill(dead(number, REASONS[number % 5]) for number in range(1, 201))
            bus.fill(
                [
                    dead(201, time=old, name="old"),
                    dead(202, name="often", **{"optout-replay-id": "r0", "optout-replay-count": 3}),
                    dead(203, body="{not JSON", name="unreadable"),
                    dead(204, "SomebodyElses", name="foreign"),
                    dead(205, "UnsupportedEvent", name="readable-now"),
                    stored("untimed", bare, {"DeadLetterReason": REASONS[4]}),
                ]
            )
            before = bus.dead_letters.messages()
            dry = await bus("dlq", "replay", "--dry-run", "--json")
            dry_depth = len(bus.dead_letters)
            said = await bus("dlq", "replay", *QUICK, "--json")
            locked = await bus.released()
            sent = bus.opt_ins.messages()
            left = [(each.sequence_number, each.delivery_count) for each in bus.dead_letters.messages()]
            allowed = ("--fixed", "--max-age", "4d", "--max-replays", "4")
            more = await bus("dlq", "replay", *QUICK, "--json", *allowed)
            yield SimpleNamespace(
                before=before,
                dry=dry,
                dry_depth=dry_depth,
                said=said,
                sent=[stored.message for stored in sent],
                left=[number for number, _ in left],
                counts={count for _, count in left},
                locked=locked,
                more=more,
                more_sent=[stored.message for stored in bus.opt_ins.messages()[len(sent) :]],
                trail=[json.loads(line) for line in (place / "audit.jsonl").read_text().splitlines()],
            )


def test_a_replayed_dead_letter_keeps_its_bytes_its_trace_and_its_correlation(mixed):
    before, after = mixed.before[3].message, mixed.sent[0]

    assert after.body == before.body
    assert after.properties["correlation_id"] == "c-1"
    assert after.properties["content_type"] == "application/cloudevents+json"
    assert after.application_properties["traceparent"] == before.application_properties["traceparent"]
    assert after.application_properties["optout-event-id"] == "e4"
    assert after.application_properties["optout-of"] == 3


def test_a_replayed_dead_letter_gets_a_new_id_a_further_hop_and_a_fresh_start(mixed):
    after = mixed.sent[0]
    properties = after.application_properties

    assert after.message_id.startswith("urn:test/e4:p7:")
    assert properties["optout-replay-of"] == "urn:test/e4:d6:4"
    assert properties["optout-replay-id"] == mixed.said.json["replay"]
    assert properties["optout-replay-count"] == 1
    assert properties["optout-attempt"] == 0
    assert properties["optout-hop"] == 7


def test_a_replayed_dead_letter_no_longer_says_that_it_was_one(mixed):
    gone = {"DeadLetterReason", "DeadLetterErrorDescription", "optout-http-status", "optout-error-code", "optout-ms-cv"}

    assert not any(gone & message.application_properties.keys() for message in mixed.sent)


def test_a_dry_run_shows_and_sends_nothing(mixed):
    assert mixed.dry.code == 0
    assert mixed.dry.json["chosen"] == 80
    assert mixed.dry.json["sent"] == 0
    assert mixed.dry_depth == 206


def test_only_what_is_safe_is_replayed(mixed):
    assert mixed.said.code == 0
    assert mixed.said.json["sent"] == 80
    assert mixed.said.json["verdicts"] == {"safe": 80, "after a fix": 43, "never": 83}


def test_what_is_not_chosen_keeps_its_place_and_its_delivery_count(mixed):
    expected = [each.sequence_number for each in mixed.before if each.message not in mixed.sent]

    assert mixed.left == [number for number in expected if number % 5 in (1, 2, 3) or number > 200]
    assert mixed.counts == {0}
    assert mixed.locked == 0


def test_what_needs_a_fix_an_age_or_another_try_goes_when_the_operator_allows_it(mixed):
    names = {message.application_properties["optout-event-id"] for message in mixed.more_sent}

    assert mixed.more.json["sent"] == 45
    assert {"old", "often", "foreign", "readable-now", "untimed", "e1"} <= names
    assert "unreadable" not in names


def test_an_event_without_a_time_gets_the_time_it_was_dead_lettered(mixed):
    [stored] = [each for each in mixed.before if each.message.message_id == "untimed"]
    [sent] = [each for each in mixed.more_sent if each.application_properties["optout-event-id"] == "untimed"]

    body = json.loads(sent.body)

    assert body["type"] == "sms.opt-in.v1"
    assert abs(datetime.fromisoformat(body["time"]).timestamp() - stored.enqueued_at) < 0.01


def test_the_audit_trail_tells_who_sent_what_when_and_how_it_ended(mixed):
    lines = [line for line in mixed.trail if line["run"] == mixed.said.json["replay"]]

    assert [line["step"] for line in lines if line["step"] not in ("sending", "sent")] == ["begin", "end"]
    assert sum(len(line["numbers"]) for line in lines if line["step"] == "sent") == 80
    assert lines[-1]["outcome"] == "done"
    assert all(line["who"] and line["at"] for line in lines)


async def test_without_an_answer_nothing_is_sent(bus):
    bus.bury(3)

    said = await bus("dlq", "replay")

    assert said.code == 3
    assert "3 dead letters with 3 recipients to replay." in said.err
    assert "Nobody is there to ask" in said.err
    assert len(bus.dead_letters) == 3


async def test_an_empty_queue_is_no_failure(bus):
    said = await bus("dlq", "replay", *QUICK, "--json")

    assert said.code == 0
    assert said.json["chosen"] == 0


async def test_a_plan_is_acted_on_exactly_and_drift_is_told(bus, place):
    bus.bury(10, numbers=("+15555555551",))
    plan = place / "plan.jsonl"
    planned = await bus("dlq", "plan", "-o", str(plan), "--json")
    lines = plan.read_text().splitlines()
    changed = lines[10].replace(json.loads(lines[10])["hash"], "0" * 16)
    plan.write_text("\n".join([lines[0], *lines[2:6], *lines[7:10], changed]) + "\n")
    bus.take_away(2)
    bus.bury(1, name="late")

    said = await bus("dlq", "replay", str(plan), *QUICK, "--json")

    assert planned.json["chosen"] == 10
    assert "15555555551" not in "".join(lines)
    assert said.code == 1
    assert said.json["replay"] == planned.json["replay"]
    assert said.json["drift"] == {"gone": 1, "changed": 1}
    assert said.json["sent"] == 6
    assert [stored.sequence_number for stored in bus.dead_letters.messages()] == [1, 6, 10, 11]


async def test_a_plan_overwrites_no_file(bus, place):
    (place / "plan.jsonl").write_text("mine")

    said = await bus("dlq", "plan", "-o", str(place / "plan.jsonl"))

    assert said.code == 2
    assert "File exists" in said.err


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["{}"], "this is no plan"),
        (["HEADER", "{}"], "line 2 of the plan does not do: sequenceNumber"),
        (["HEADER", "ITEM 5", "ITEM 4"], "line 3 of the plan is out of order"),
    ],
)
async def test_a_broken_plan_is_refused_with_its_line(bus, place, lines, problem):
    header = {
        "plan": 1,
        "replayId": "r1",
        "madeAt": "2026-01-23T10:00:00Z",
        "queue": "opt-ins-dead-letter",
        "filter": {},
    }
    item = {"id": "m", "reason": "StaleOptIn", "hash": "0" * 16, "recipients": 1, "verdict": "never", "why": "old"}
    made = [
        json.dumps(header)
        if line == "HEADER"
        else json.dumps(item | {"sequenceNumber": int(line[5:])})
        if line.startswith("ITEM")
        else line
        for line in lines
    ]
    place.joinpath("plan.jsonl").write_text("\n".join(made))

    said = await bus("dlq", "replay", str(place / "plan.jsonl"), *QUICK)

    assert said.code == 2
    assert problem in said.err
    assert len(said.err.splitlines()) == 1


async def test_a_plan_and_filters_together_are_refused(bus):
    said = await bus("dlq", "replay", "plan.jsonl", "--reason", "StaleOptIn")

    assert said.code == 2
    assert "leave the filters out" in said.err


async def test_what_somebody_else_holds_is_left_and_told(bus):
    bus.bury(3)
    bus.dead_letters.lock_next()

    said = await bus("dlq", "replay", *QUICK)

    assert said.code == 1
    assert "2 dead letters with 2 recipients sent" in said.out
    assert "1 could not be taken: another session holds them" in said.out


async def test_a_number_chooses_and_is_never_shown(bus, trail):
    bus.fill([dead(1, numbers=("+15555555551", "+15555555552")), dead(2)])

    said = await bus("dlq", "replay", *QUICK, "--to", "+1 (555) 555-5552", "--json")

    assert said.json["sent"] == 1
    assert trail()[0]["selection"]["filter"] == {"to": "+1555•••5552"}
    assert "5555552" not in said.out + said.err


async def test_without_an_audit_trail_nothing_is_changed(bus, place, monkeypatch):
    bus.bury(1)
    monkeypatch.setenv("OPTOUT_AUDIT", str(place / "audit.jsonl" / "no-folder"))
    (place / "audit.jsonl").write_text("")

    said = await bus("dlq", "replay", *QUICK)

    assert said.code == 2
    assert "audit trail" in said.err
    assert len(bus.dead_letters) == 1


async def test_on_a_terminal_it_asks_and_shows_how_far_it_is(bus):
    bus.bury(300)
    ours, theirs = pty.openpty()
    process = bus.start(
        {"TERM": "xterm", "NO_COLOR": "1"}, "dlq", "replay", *QUICK[1:2], "--rate", "200", terminal=theirs
    )
    os.close(theirs)
    os.write(ours, b"y\n")
    shown = await asyncio.to_thread(read_all, ours)

    assert await asyncio.to_thread(process.wait) == 0
    assert "Replay 300 dead letters (300 recipients) from opt-ins-dead-letter to opt-ins? [y]" in shown
    assert re.search(r"replaying .*\d+/300 .*/s", shown)
    assert "\x1b[31m" not in shown
    assert len(bus.opt_ins) == 300


@pytest.mark.parametrize("command", [["replay"], ["purge"]], ids=str)
async def test_ctrl_c_at_the_question_ends_the_command_and_changes_nothing(bus, command):
    bus.bury(2)
    ours, theirs = pty.openpty()
    process = bus.start({"TERM": "dumb"}, "dlq", *command, terminal=theirs)
    os.close(theirs)
    shown = b""
    while b"[" not in shown:
        shown += await asyncio.to_thread(os.read, ours, 4096)
    await asyncio.sleep(0.2)  # the question is on the screen a moment before it is waited for
    process.send_signal(signal.SIGINT)
    shown += (await asyncio.to_thread(read_all, ours)).encode()

    assert await asyncio.to_thread(process.wait) == 130
    assert b"Traceback" not in shown
    assert (len(bus.opt_ins), len(bus.dead_letters), await bus.released()) == (0, 2, 0)


async def test_ctrl_c_ends_what_only_looks_at_once(bus):
    bus.bury(20_000)
    process = bus.start({}, "dlq", "list", "--json")
    await bus.broker.wait_until(lambda: bool(bus.broker.queue_links()), timeout=20)
    await asyncio.sleep(0.3)
    process.send_signal(signal.SIGINT)

    said = await bus.finish(process)

    assert said.code == 130
    assert said.out == ""
    assert "Traceback" not in said.err
