"""`optout dlq plan` and `replay`: what is chosen, what is sent, what stays where it is."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from optout_core.outgoing import Queue
from optout_ops.queues.messages import MessageState
from tests.build import NOW, OTHER, PERSON, bare, dead_letter, dead_letter_properties, dead_letters, wire
from tests.ops.bus import current
from tests.ops.command_line import QUICK

UNDATED = structs.replace(
    dead_letter(
        7,
        "MaxDeliveryCountExceeded",
        body=bare("+15555550000"),
        **{"optout-event-id": None, "optout-first-enqueued": None},
    ),
    content_type="application/json",
)
"""A bare request that the broker dead-lettered: nothing in it says when the person opted in."""


def sent(desk):
    """The events that were sent, in order."""
    return [message.properties["optout-event-id"] for message in desk.queues.opt_ins]


# --- what is sent --------------------------------------------------------------------------------------------------


def test_a_replayed_dead_letter_keeps_its_bytes_its_trace_and_its_correlation(desk):
    before = dead_letter(4)
    desk.put(before)

    desk.dlq("replay", *QUICK)

    [after] = desk.queues.opt_ins
    assert after.body == before.body
    assert after.correlation_id == "c-1"
    assert after.content_type == "application/cloudevents+json"
    assert after.properties["traceparent"] == before.properties["traceparent"]
    assert after.properties["optout-event-id"] == "e4"
    assert after.properties["optout-of"] == 3


def test_a_replayed_dead_letter_gets_a_new_id_a_further_hop_and_a_fresh_start(desk):
    desk.put(dead_letter(4))

    said = desk.dlq("replay", *QUICK, "--json")

    [after] = desk.queues.opt_ins
    assert after.message_id.startswith("urn:test/e4:p7:")
    assert after.properties["optout-replay-of"] == f"urn:test/e4:d6:{4:016x}"
    assert after.properties["optout-replay-id"] == said.json["replay"]
    assert after.properties["optout-replay-count"] == 1
    assert after.properties["optout-attempt"] == 0
    assert after.properties["optout-hop"] == 7


def test_a_replayed_dead_letter_no_longer_says_that_it_was_one(desk):
    desk.put(dead_letter(4, **{"optout-error-code": "TooManyRequests", "optout-ms-cv": "cv"}))

    desk.dlq("replay", *QUICK)

    [after] = desk.queues.opt_ins
    gone = {"DeadLetterReason", "DeadLetterErrorDescription", "optout-http-status", "optout-error-code", "optout-ms-cv"}
    assert not gone & after.properties.keys()


def test_an_event_without_a_time_gets_the_time_of_its_arrival(desk):
    desk.put(UNDATED)

    desk.dlq("replay", *QUICK, "--fixed")

    [after] = desk.queues.opt_ins
    body = json.loads(after.body)
    assert body["type"] == "sms.opt-in.v1"
    assert datetime.fromisoformat(body["time"]) == NOW


# --- what is chosen ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letter", "options"),
    [
        (dead_letter(1, "RetriesExhausted"), []),
        (dead_letter(1, "MaxDeliveryCountExceeded"), []),
        (dead_letter(1, "RecipientRejected"), ["--fixed"]),
        (dead_letter(1, "SomebodyElses"), ["--fixed"]),
        (dead_letter(1, "UnsupportedEvent"), ["--fixed"]),
        (UNDATED, ["--fixed"]),
        (dead_letter(1, time=NOW - timedelta(hours=80)), ["--max-age", "4d"]),
        (dead_letter(1, **{"optout-replay-id": "r0", "optout-replay-count": 3}), ["--max-replays", "4"]),
    ],
    ids=["safe", "broker's", "after a fix", "foreign", "readable now", "undated", "old", "often"],
)
def test_a_dead_letter_goes_when_the_operator_allows_it_and_not_before(desk, letter, options):
    desk.put(letter)

    strict = desk.dlq("replay", *QUICK, "--json").json["sent"]
    allowed = desk.dlq("replay", *QUICK, *options, "--json").json["sent"]

    assert (strict, strict + allowed) == (0 if options else 1, 1)


@pytest.mark.parametrize(
    "letter",
    [dead_letter(1, body=b"{not JSON"), dead_letter(1, "StaleOptIn"), dead_letter(1, "NewerOptOut")],
    ids=["unreadable", "stale", "overtaken by a STOP"],
)
def test_some_dead_letters_are_never_replayed(desk, letter):
    desk.put(letter)

    said = desk.dlq("replay", *QUICK, "--fixed", "--max-age", "9d", "--max-replays", "9", "--json")

    assert said.json["verdicts"]["never"] == 1
    assert (said.json["chosen"], desk.queues.numbers) == (0, [letter.sequence_number])


def test_a_dry_run_shows_and_sends_nothing(desk):
    desk.put(dead_letter(1), dead_letter(2, "RecipientRejected"), dead_letter(3, "StaleOptIn"), dead_letter(4))

    said = desk.dlq("replay", "--dry-run", "--json")

    assert said.code == 0
    assert (said.json["chosen"], said.json["sent"]) == (2, 0)
    assert said.json["verdicts"] == {"safe": 2, "done": 0, "after a fix": 1, "never": 1}
    assert "Left where they are, after a fix: 1 RecipientRejected; --fixed replays them." in said.err
    assert "Left where they are, never: 1 StaleOptIn; `optout dlq show` says why." in said.err
    assert (len(desk.queues.dead_letters), desk.trail) == (4, [])


def test_the_limit_counts_what_is_replayed_and_not_what_is_left(desk):
    desk.put(dead_letter(1, "StaleOptIn"), dead_letter(2), dead_letter(3), dead_letter(4))

    desk.dlq("replay", *QUICK, "--limit", "2")

    assert desk.queues.numbers == [1, 2]


def test_a_number_chooses_and_is_never_shown(desk):
    desk.put(dead_letter(1, "RetriesExhausted", PERSON, OTHER), dead_letter(2))

    said = desk.dlq("replay", *QUICK, "--to", "+1 (555) 555-5552", "--json")

    assert said.json["sent"] == 1
    assert desk.trail[0]["selection"]["filter"] == {"to": "+1555•••5552"}
    assert "5555552" not in said.out + said.err


def test_an_empty_queue_is_no_failure(desk):
    said = desk.dlq("replay", *QUICK, "--json")

    assert said.code == 0
    assert said.json["chosen"] == 0


# --- asking, writing down, going on --------------------------------------------------------------------------------


def test_without_an_answer_nothing_is_sent(desk):
    desk.put(*dead_letters(3))

    said = desk.dlq("replay")

    assert said.code == 3
    assert "3 dead letters with 3 recipients to replay." in said.err
    assert "Replay 3 dead letters (3 recipients) from opt-ins-dead-letter to opt-ins?" in said.err
    assert "Nobody is there to ask" in said.err
    assert len(desk.queues.dead_letters) == 3


def test_the_audit_trail_tells_who_sent_what_when_and_how_it_ended(desk):
    desk.put(*dead_letters(3))

    said = desk.dlq("replay", *QUICK, "--json")

    assert [line["step"] for line in desk.trail] == ["begin", "sending", "sent", "end"]
    assert desk.trail[2]["numbers"] == [1, 2, 3]
    assert desk.trail[-1]["outcome"] == "done"
    assert {line["run"] for line in desk.trail} == {said.json["replay"]}
    assert all(line["who"] and line["at"] for line in desk.trail)


def test_without_an_audit_trail_nothing_is_changed(desk, place):
    desk.put(dead_letter(1))
    (place / "audit.jsonl").write_text("")
    desk.environ["OPTOUT_AUDIT"] = str(place / "audit.jsonl" / "no-folder")

    said = desk.dlq("replay", *QUICK)

    assert said.code == 2
    assert "audit trail" in said.err
    assert len(desk.queues.dead_letters) == 1


def test_a_replay_that_failed_goes_on_under_its_id(desk):
    desk.put(*dead_letters(3))
    desk.now = datetime.now(UTC)  # the trail writes the time of the machine
    desk.put(*(current(number) for number in range(1, 4)))
    desk.queues.refusals = {Queue.OPT_INS}
    failed = desk.dlq("replay", *QUICK)
    desk.queues.refusals = set()

    said = desk.dlq("replay", *QUICK, "--json")

    assert (failed.code, said.code) == (4, 0)
    assert {line["run"] for line in desk.trail} == {said.json["replay"]}


def test_another_selection_is_another_replay(desk):
    desk.now = datetime.now(UTC)
    desk.put(current(1), current(2, "MaxDeliveryCountExceeded"))
    desk.queues.refusals = {Queue.OPT_INS}
    desk.dlq("replay", *QUICK)
    desk.queues.refusals = set()

    desk.dlq("replay", *QUICK, "--reason", "RetriesExhausted")

    assert len({line["run"] for line in desk.trail}) == 2


def test_what_somebody_else_holds_is_left_and_told(desk):
    desk.put(*dead_letters(3))
    desk.queues.locked = {1}

    said = desk.dlq("replay", *QUICK)

    assert said.code == 1
    assert "2 dead letters with 2 recipients sent" in said.out
    assert "1 are locked for five minutes at most, by another session." in said.out


def test_what_an_earlier_run_of_ours_may_hold_is_told_with_its_begin(desk):
    desk.now = datetime.now(UTC)
    desk.put(*(current(number) for number in (1, 2)))
    desk.queues.refusals = {Queue.OPT_INS}
    desk.dlq("replay", *QUICK)
    desk.queues.refusals, desk.queues.locked = set(), {1}

    said = desk.dlq("replay", *QUICK)

    assert re.search(r"1 are locked .* by another session, perhaps the replay that .* began at 20", said.out)


def test_what_somebody_else_took_meanwhile_is_no_failure_and_told(desk):
    desk.put(*dead_letters(3))
    desk.queues.vanishing = {2}

    said = desk.dlq("replay", *QUICK)

    assert said.code == 0
    assert "1 are no longer in the queue: somebody else took them before we came to them." in said.out


@pytest.mark.parametrize("state", [MessageState.DEFERRED, MessageState.SCHEDULED])
def test_what_the_queue_does_not_give_out_is_told_with_its_number(desk, state):
    desk.put(dead_letter(1), structs.replace(dead_letter(2), state=state))

    told = f"1 cannot be taken, since it is {state} (number 2): the queue gives it"
    said = desk.dlq("purge", "--confirm", "purge 1")

    assert said.code == 1
    assert "1 dead letter removed" in said.out
    assert told in said.out
    assert told in said.err, "it is said before anybody confirms"
    assert desk.queues.numbers == [2]


def test_of_what_cannot_be_taken_nothing_is_archived_and_nothing_is_to_confirm(desk, place):
    desk.put(structs.replace(dead_letter(2), state=MessageState.DEFERRED))

    said = desk.dlq("purge", "--archive", place / "kept.jsonl", "--confirm", "purge 1")

    assert said.code == 1
    assert "since it is deferred (number 2)" in said.err
    assert "the queue gives out none of these dead letters: nothing was removed" in said.err
    assert not (place / "kept.jsonl").exists()


def test_the_same_command_a_minute_later_is_the_same_replay_though_it_names_a_time_by_its_age(desk):
    desk.now = datetime.now(UTC)
    desk.put(*(current(number) for number in (1, 2)))
    desk.queues.refusals = {Queue.OPT_INS}
    desk.dlq("replay", *QUICK, "--since", "24h")
    desk.queues.refusals = set()
    desk.pass_time(minutes=1)

    said = desk.dlq("replay", *QUICK, "--since", "24h", "--json")

    assert said.json["sent"] == 2
    assert len({line["run"] for line in desk.trail}) == 1


def test_a_replay_that_the_ramp_stops_says_that_nothing_is_lost(desk):
    desk.put(*dead_letters(20))

    said = desk.dlq("replay", "--yes", "--patience", "0")

    assert said.code == 3
    assert "Stopped: 1 of 1 recipients still wait for their first try. Is the function running?" in said.out
    assert "All others are still dead letters; nothing is lost." in said.out
    assert len(desk.queues.dead_letters) == 19


# --- plans ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def plan(desk, place):
    """A plan of ten dead letters, as lines."""
    desk.put(*dead_letters(10, "RetriesExhausted", PERSON))
    said = desk.dlq("plan", "-o", place / "plan.jsonl", "--json")
    assert said.json["chosen"] == 10
    return (place / "plan.jsonl").read_text().splitlines(keepends=True)


def test_a_plan_is_acted_on_exactly(desk, place, plan):
    (place / "plan.jsonl").write_text("".join([plan[0], plan[3], plan[5], plan[-1]]))

    said = desk.dlq("replay", place / "plan.jsonl", *QUICK, "--json")

    assert said.code == 0
    assert said.json["replay"] == json.loads(plan[0])["replayId"]
    assert desk.queues.numbers == [1, 2, 4, 6, 7, 8, 9, 10]
    assert sent(desk) == ["e3", "e5"]


def test_what_is_gone_or_another_message_now_is_not_touched_and_told(desk, place, plan):
    plan[10] = plan[10].replace(json.loads(plan[10])["hash"], "0" * 16)
    (place / "plan.jsonl").write_text("".join(plan))
    desk.queues.take_away(2)
    desk.queues.dead_letters.append(dead_letter(11))

    said = desk.dlq("replay", place / "plan.jsonl", *QUICK, "--json")

    assert said.code == 1
    assert said.json["drift"] == {"gone": 1, "changed": 1}
    assert "Drift since the plan: 1 are no longer in the queue, 1 are another message now" in said.err
    assert desk.queues.numbers == [10, 11]


def test_a_plan_that_was_carried_out_before_has_nothing_left_to_do(desk, place):
    desk.put(*dead_letters(3), function=lambda _: True)
    desk.dlq("plan", "-o", place / "plan.jsonl")
    first = desk.dlq("replay", place / "plan.jsonl", *QUICK)

    again = desk.dlq("replay", place / "plan.jsonl", *QUICK)

    assert (first.code, again.code) == (0, 0)
    assert "3 are no longer in the queue" in again.err


def test_nothing_to_send_ends_alike_by_a_plan_and_by_filters(desk, place, plan):
    assert plan
    desk.pass_time(days=9)

    by_plan, by_filters = desk.dlq("replay", place / "plan.jsonl", *QUICK), desk.dlq("replay", *QUICK)

    assert (by_plan.code, by_plan.out) == (by_filters.code, by_filters.out) == (0, "Nothing was sent.\n")
    assert "Left where they are, never: 10 RetriesExhausted" in by_plan.err


def test_a_plan_without_a_dead_letter_to_replay_names_no_next_step(desk, place):
    nothing = desk.dlq("plan", "-o", place / "nothing.jsonl")
    desk.put(dead_letter(1))
    something = desk.dlq("plan", "-o", place / "something.jsonl")

    assert nothing.out.endswith(f"Plan written to {place}/nothing.jsonl.\n")
    assert something.out.endswith(f"Next: optout dlq replay {place}/something.jsonl\n")


def test_the_progress_names_what_it_counts(desk):
    desk.put(*dead_letters(12), function=lambda _: True)

    said = desk.dlq("replay", "--yes", "--rate", "100000")

    assert "1 recipient sent: 1 gone, 0 not yet tried" in said.err
    assert "11 recipients sent: 11 gone, 0 not yet tried" in said.err


def test_a_plan_that_waited_too_long_is_judged_again(desk, place, plan):
    assert plan
    desk.pass_time(days=4)

    said = desk.dlq("replay", place / "plan.jsonl", *QUICK, "--json")

    assert said.json["verdicts"]["never"] == 10
    assert len(desk.queues.dead_letters) == 10


def test_a_plan_names_verdicts_and_no_number(desk, place):
    desk.put(dead_letter(1, "RetriesExhausted", PERSON, name="order-15555555551"), dead_letter(2, "StaleOptIn"))

    desk.dlq("plan", "-o", place / "plan.jsonl")

    text = (place / "plan.jsonl").read_text()
    assert [json.loads(line).get("verdict") for line in text.splitlines()] == [None, "safe", "never", None]
    assert "5555551" not in text


def test_a_plan_overwrites_no_file(desk, place):
    (place / "plan.jsonl").write_text("mine")

    said = desk.dlq("plan", "-o", place / "plan.jsonl")

    assert said.code == 2
    assert "File exists" in said.err
    assert (place / "plan.jsonl").read_text() == "mine"


HEADER = {
    "plan": 2,
    "replayId": "r1",
    "madeAt": "2026-01-23T10:00:00Z",
    "queue": "opt-ins-dead-letter",
    "filter": {},
}


def planned(number):
    ordinary = {"id": "m", "reason": "StaleOptIn", "hash": "0" * 16, "recipients": 1, "verdict": "never", "why": "old"}
    return ordinary | {"sequenceNumber": number}


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([{}], "this is no plan"),
        ([HEADER | {"plan": 3}], "the plan has version 3, this version of optout reads 2"),
        ([HEADER | {"queue": "other"}], "the plan is for the queue 'other'; set DEAD_LETTER_QUEUE"),
        ([HEADER, {}], "line 2 of the plan cannot be read: sequenceNumber"),
        ([HEADER, planned(5), planned(4)], "line 3 of the plan is out of order"),
        ([HEADER, planned(5)], "the plan is cut off: its last line is missing; nothing was sent"),
        ([HEADER, planned(5), planned(6), {"end": 1}], "the plan is cut off"),
        ([HEADER, {"end": 1}, planned(5)], "line 3 of the plan stands behind the last one"),
    ],
)
def test_a_broken_plan_is_refused_with_its_line(desk, place, lines, problem):
    (place / "plan.jsonl").write_text("\n".join(map(json.dumps, lines)))

    said = desk.dlq("replay", place / "plan.jsonl", *QUICK)

    assert said.code == 2
    assert problem in said.err
    assert len(said.err.splitlines()) == 1


def test_a_plan_and_filters_together_are_refused(desk):
    said = desk.dlq("replay", "plan.jsonl", "--reason", "StaleOptIn")

    assert said.code == 2
    assert "leave the filters out" in said.err


# --- on the broker -------------------------------------------------------------------------------------------------


async def test_on_the_broker_what_is_not_chosen_keeps_its_place_and_its_delivery_count(bus):
    reasons = ("RetriesExhausted", "RecipientRejected", "StaleOptIn", "NewerOptOut", "MaxDeliveryCountExceeded")
    bus.fill(*(current(number, reasons[number % 5]) for number in range(1, 201)))

    said = await bus("dlq", "replay", *QUICK, "--json")

    left = [(each.sequence_number, each.delivery_count) for each in bus.dead_letters.messages()]
    assert said.code == 0
    assert said.json["sent"] == len(bus.opt_ins) == 80
    assert left == [(number, 0) for number in range(1, 201) if number % 5 in {1, 2, 3}]
    assert await bus.locked() == 0


async def test_on_the_broker_a_message_without_properties_of_ours_is_replayed_too(bus):
    bus.fill(UNDATED)

    said = await bus("dlq", "replay", *QUICK, "--fixed", "--json")

    [stored] = bus.opt_ins.messages()
    assert said.json["sent"] == 1
    assert json.loads(stored.message.body)["type"] == "sms.opt-in.v1"
    assert wire(bare("+15555550000")) != stored.message.body
    assert not dead_letter_properties().keys() & {"DeadLetterReason"} & stored.message.application_properties.keys()
