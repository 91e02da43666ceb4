"""`optout dlq summary`, `list` and `show`, as a person and as a program reads them."""

import asyncio
import io
import os
import pty
from datetime import timedelta

import pytest
from msgspec.structs import replace

from optout_core.reasons import Reason
from optout_ops.queues.messages import MessageState
from tests.build import NOW, OTHER, PERSON, SENDER, dead_letter, dead_letters
from tests.ops.bus import current, read_all
from tests.ops.command_line import QUICK, Desk

GARBLED = dead_letter(3, body=b"{not JSON +15555555553", name="garbled")
REJECTED = dead_letter(2, "RecipientRejected", PERSON, OTHER)


def test_the_summary_counts_by_reason_and_says_what_may_be_replayed(desk):
    desk.put(dead_letter(1), REJECTED, GARBLED, dead_letter(4, "MalformedEvent", body=b"[]"))

    head, first, *_ = desk.dlq("summary").out.splitlines()

    assert head.split() == [
        "reason",
        "count",
        "recipients",
        "oldest",
        "newest",
        "safe",
        "done",
        "after",
        "a",
        "fix",
        "never",
    ]
    assert first.split()[:3] == ["RetriesExhausted", "2", "2"]
    assert first.split()[-4:] == ["1", "0", "0", "1"]


def test_the_summary_is_a_document_for_programs_too(desk):
    desk.put(dead_letter(1), REJECTED, dead_letter(3))

    exhausted, rejected = desk.dlq("summary", "--json").json

    assert (exhausted["reason"], exhausted["count"]) == ("RetriesExhausted", 2)
    assert (rejected["reason"], rejected["recipients"]) == ("RecipientRejected", 2)
    assert rejected["verdicts"] == {"safe": 0, "done": 0, "after a fix": 1, "never": 0}
    assert rejected["meaning"].startswith("the number was refused")


def test_a_verdict_knows_which_senders_the_shell_allows(desk):
    desk.put(dead_letter(1))
    desk.environ["ALLOWED_SENDERS"] = "+18005550100"
    refused = desk.dlq("list", "--json").json
    desk.environ["ALLOWED_SENDERS"] += f",{SENDER}"

    assert [each["verdict"] for each in refused] == ["after a fix"]
    assert [each["verdict"] for each in desk.dlq("list", "--json").json] == ["safe"]


def test_a_summary_of_nothing_says_whether_that_is_the_filters(desk):
    assert desk.dlq("summary").out == "There are no dead letters.\n"
    assert desk.dlq("summary", "--event", "none").out == "There are no dead letters that meet these conditions.\n"


def test_the_list_has_one_line_for_each_the_newest_first(desk):
    desk.put(dead_letter(1), REJECTED, GARBLED)

    lines = desk.dlq("list").out.splitlines()

    assert [line.split()[0] for line in lines] == ["number", "3", "2", "1"]


def test_the_list_is_filtered_whatever_the_case_of_the_reason(desk):
    desk.put(dead_letter(1), REJECTED, GARBLED)

    lines = desk.dlq("list", "--reason", "retriesexhausted", "--json").json

    assert [line["sequenceNumber"] for line in lines] == [3, 1]
    assert lines[0]["attempts"] == 5


@pytest.mark.parametrize(("hop", "told"), [(1, "re-sent 1 time"), (2, "re-sent 2 times")])
def test_what_was_sent_once_again_is_told_in_the_singular(desk, hop, told):
    desk.put(dead_letter(1, **{"optout-hop": hop}))

    said = desk.dlq("show", "1").out

    assert f"5 attempts used up, {told}" in [line.partition("UTC; ")[2] for line in said.splitlines()]


def test_a_dead_letter_is_told_as_a_person_reads_it(desk):
    desk.put(REJECTED)

    said = desk.dlq("show", "2").out

    assert "RecipientRejected: RecipientRejected, says the test" in said
    assert "e2, first seen 2026-01-23 11:59:00 UTC" in said
    assert "5 attempts used up, re-sent 6 times" in said
    assert "2 of 3: +1555•••5551, +1555•••5552" in said
    assert "HTTP 500" in said
    assert "mend the cause, then: optout dlq replay --fixed --number 2 (see docs/runbook.md#recipientrejected)" in said


@pytest.mark.parametrize("name", ["2", "e2", f"urn:test/e2:d6:{2:016x}"])
def test_a_dead_letter_is_found_by_number_event_or_message_id(desk, name):
    desk.put(dead_letter(1), REJECTED)

    assert desk.dlq("show", name, "--json").json["sequenceNumber"] == 2


def test_what_cannot_be_read_is_shown_all_the_same(desk):
    desk.put(GARBLED)

    document = desk.dlq("show", "garbled", "--json").json

    assert document["verdict"] == "never"
    assert document["unreadable"].startswith("not JSON")
    assert document["body"] == "{not JSON +1555•••5553"


@pytest.mark.parametrize("command", [["summary"], ["list"], ["show", "2"], ["show", "garbled", "--json"]], ids=str)
def test_numbers_are_not_shown(desk, command):
    desk.put(dead_letter(1), REJECTED, GARBLED)

    said = desk.dlq(*command)

    assert said.code == 0
    assert "555555" not in said.out + said.err


def test_numbers_are_shown_when_asked_for_and_that_is_written_down(desk):
    desk.put(REJECTED)

    said = desk.dlq("show", "2", "--reveal")

    assert PERSON in said.out
    assert [(line["command"], line["step"], line["number"]) for line in desk.trail] == [("show", "reveal", 2)]


def test_what_is_not_there_is_said_in_one_line(desk):
    said = desk.dlq("show", "99")

    assert said.code == 1
    assert said.err.startswith("Error: there is no dead letter '99'")
    assert len(said.err.splitlines()) == 1


def test_what_others_wrote_steers_neither_the_terminal_nor_its_markup(desk):
    desk.put(dead_letter(1, name="[/red] \x1b[2J boom"))

    said = desk.dlq("list")

    assert said.code == 0
    assert "\x1b" not in said.out
    assert "[/red] \ufffd[2J boom" in said.out


@pytest.mark.parametrize("option", [["--status", "6xx"], ["--since", "soon"], ["--until", "x"]])
def test_a_filter_that_cannot_be_read_is_a_wrong_call(desk: Desk, option):
    said = desk.dlq("list", *option)

    assert said.code == 2
    assert option[0] in said.err
    assert len(said.err.splitlines()) == 1


# --- on the broker -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["summary", "list"])
async def test_on_a_narrow_terminal_no_word_and_no_code_is_cut(bus, command):
    bus.fill(*(current(number, reason.value, name=f"order-{number}") for number, reason in enumerate(Reason, 1)))
    ours, theirs = pty.openpty()
    process = bus.start("dlq", command, terminal=theirs, TERM="dumb", COLUMNS="80")
    os.close(theirs)
    shown = await asyncio.to_thread(read_all, ours)
    process.wait()

    words = {word.rstrip(":") for word in shown.split()}
    assert {reason.value for reason in Reason} <= words
    assert "recipients" in words
    assert command == "summary" or {f"order-{number}" for number in range(1, len(Reason) + 1)} <= words


async def test_who_reads_only_the_beginning_gets_no_complaint(bus):
    bus.fill(*dead_letters(2000))
    process = bus.start("dlq", "list", "--json")
    await asyncio.to_thread(process.stdout.read, 10)
    process.stdout.close()

    assert await asyncio.to_thread(process.wait) == 0
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


async def test_nothing_is_locked_by_looking(bus):
    bus.bury(1, 2)

    said = [await bus("dlq", *command) for command in (["summary"], ["list"], ["show", "1"])]

    assert [each.code for each in said] == [0, 0, 0]
    assert bus.dead_letters.locked == 0


def test_a_recipient_that_two_dead_letters_of_one_event_hold_is_counted_once(desk):
    """A message that was delivered again, and answered otherwise, leaves two."""
    desk.put(
        dead_letter(1, "RecipientRejected", "+15555555551", "+15555555552", name="e"),
        dead_letter(2, "RecipientRejected", "+15555555552", name="e"),
        dead_letter(3, "RecipientRejected", "+15555555552", name="another"),
        dead_letter(4, "RecipientRejected", body=b"\xff"),
    )

    [row] = desk.dlq("summary", "--json").json

    assert (row["count"], row["recipients"]) == (4, 4)


# --- tables and filters ---------------------------------------------------------------------------------------------


def test_a_table_in_a_pipe_is_whole_and_separated_by_tabs(desk):
    desk.put(dead_letter(1, name="x" * 300))

    head, line = desk.dlq("list").out.splitlines()

    assert head.split("\t") == [
        "number",
        "reason",
        "dead-lettered",
        "event",
        "recipients",
        "tries",
        "status",
        "replays",
        "replay",
    ]
    assert line.split("\t")[3] == "x" * 300


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("reason", ["RetriesExhausted", "RecipientRejected"]),
        ("hour", ["2026-01-23 12:00", "2026-01-23 11:00"]),
        ("source", ["urn:test"]),
        ("status", ["500"]),
        ("sender", ["+1800•••4567"]),
        ("replay", [""]),
    ],
)
def test_a_summary_counts_by_what_one_asks_for(desk, by, keys):
    desk.put(
        dead_letter(1),
        replace(dead_letter(2), enqueued_at=NOW - timedelta(minutes=1)),
        dead_letter(3, "RecipientRejected"),
    )

    rows = desk.dlq("summary", "--by", by, "--json").json

    assert [row[by] for row in rows] == keys
    assert sum(row["count"] for row in rows) == 3


@pytest.mark.parametrize("columns", ["80", "132"])
async def test_a_long_table_on_a_terminal_goes_through_the_pager_and_says_what_it_leaves_out(bus, columns):
    bus.bury(*range(1, 61))
    ours, theirs = pty.openpty()
    process = bus.start("dlq", "list", terminal=theirs, TERM="xterm", COLUMNS=columns, LINES="24", PAGER="cat -A")
    os.close(theirs)
    shown = await asyncio.to_thread(read_all, ours)

    assert await asyncio.to_thread(process.wait) == 0
    assert shown.count("RetriesExhausted") == 60
    assert "^[[32msafe^[[0m" in shown
    assert ("Left out on 80 columns: dead-lettered, tries, status, replays." in shown) is (columns == "80")


def test_a_summary_of_several_reasons_ends_with_the_total(desk):
    desk.put(dead_letter(1), dead_letter(2), dead_letter(3, "StaleOptIn"))

    lines = [line.split("\t") for line in desk.dlq("summary").out.splitlines()]

    assert ["total", "3", "3"] in [line[:3] for line in lines]


def test_the_limit_is_the_newest(desk):
    desk.put(*dead_letters(9))

    assert [each["sequenceNumber"] for each in desk.dlq("list", "--limit", "2", "--json").json] == [9, 8]


def test_a_dead_letter_is_named_by_its_number(desk):
    desk.put(*dead_letters(9))

    listed = desk.dlq("list", "--number", "3", "--number", "7", "--number", "70", "--json").json

    assert [each["sequenceNumber"] for each in listed] == [7, 3]


def test_with_json_an_error_is_json_too(desk):
    said = desk.dlq("show", "77", "--json")

    assert said.code == 1
    assert said.json["error"]["code"] == "SOME_FAILED"
    assert "there is no dead letter '77'" in said.json["error"]["message"]
    assert "there is no dead letter '77'" in said.err


def test_a_note_stands_in_the_trail_and_in_the_list_of_replays_and_no_number_in_it(desk):
    desk.put(*dead_letters(2))
    desk.dlq("replay", *QUICK, "--note", "after incident 7, asked by +15555555551")

    [listed] = desk("replays", "--json").json

    assert listed["note"] == "after incident 7, asked by +1555•••5551"
    assert (listed["sent"], listed["ended"]) == (2, "done")
    assert [line.get("note") for line in desk.trail][1:] == [None] * (len(desk.trail) - 1)


def test_without_replays_the_list_says_so(desk):
    assert "knows no replay in this namespace" in desk("replays").out


@pytest.mark.parametrize("state", [MessageState.DEFERRED, MessageState.SCHEDULED])
def test_what_the_queue_does_not_give_out_is_listed_and_found_as_that(desk, state):
    desk.put(dead_letter(1), replace(dead_letter(2), state=state))

    listed = desk.dlq("list").out.splitlines()

    assert listed[1].endswith(f"never, {state}")
    assert listed[2].endswith("safe")
    assert f"replay: never; {state}: the queue does not give it out." in desk("find", "e2").out


def test_a_number_for_a_filter_may_come_from_standard_input(desk, monkeypatch):
    desk.put(dead_letter(1, "RecipientRejected", PERSON), dead_letter(2, "RecipientRejected", OTHER))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{OTHER}\n"))

    assert [line["sequenceNumber"] for line in desk.dlq("list", "--to", "-", "--json").json] == [2]
