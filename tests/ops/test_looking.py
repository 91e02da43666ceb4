"""`optout dlq summary`, `list` and `show`, as a person and as a program reads them."""

import asyncio
import os
import pty
from types import SimpleNamespace

import pytest
import pytest_asyncio

from optout_core.reasons import Reason
from tests.ops.making import dead, open_bus, queues, read_all


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def looks(tmp_path_factory):
    """All looks at one queue of four dead letters."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPTOUT_AUDIT", str(tmp_path_factory.mktemp("looks") / "audit.jsonl"))
        async with open_bus(queues(), environment.setenv) as bus:
            bus.fill(
                [
                    dead(1),
                    dead(2, "RecipientRejected", numbers=("+15555555551", "+15555555552")),
                    dead(3, body="{not JSON +15555555553", name="garbled"),
                    dead(4, "MalformedEvent", body="[]"),
                ]
            )
            calls = {
                "summary": ["summary"],
                "summary_json": ["summary", "--json"],
                "list": ["list"],
                "list_json": ["list", "--reason", "retriesexhausted", "--json"],
                "show": ["show", "2"],
                "show_json": ["show", "garbled", "--json"],
                "reveal": ["show", "urn:test/e2:d6:2", "--reveal"],
                "missing": ["show", "99"],
                "none": ["summary", "--event", "none"],
            }
            said = await bus.together(*(["dlq", *arguments] for arguments in calls.values()))
            yield SimpleNamespace(locked=bus.dead_letters.locked, **dict(zip(calls, said, strict=True)))


def test_the_summary_counts_by_reason_and_says_what_may_be_replayed(looks):
    lines = looks.summary.out.splitlines()

    assert lines[0].split() == [
        "reason",
        "count",
        "recipients",
        "oldest",
        "newest",
        "safe",
        "after",
        "a",
        "fix",
        "never",
    ]
    assert lines[1].split()[:3] == ["RetriesExhausted", "2", "2"]
    assert lines[1].split()[-3:] == ["1", "0", "1"]
    assert [row["reason"] for row in looks.summary_json.json] == [
        "RetriesExhausted",
        "MalformedEvent",
        "RecipientRejected",
    ]
    assert looks.summary_json.json[2]["recipients"] == 2
    assert looks.summary_json.json[2]["verdicts"] == {"safe": 0, "after a fix": 1, "never": 0}


def test_the_list_has_one_line_for_each_in_the_order_of_the_queue(looks):
    assert [line.split()[0] for line in looks.list.out.splitlines()] == ["number", "1", "2", "3", "4"]
    assert [line["sequenceNumber"] for line in looks.list_json.json] == [1, 3]
    assert looks.list_json.json[0]["attempts"] == 5


def test_a_dead_letter_is_told_as_a_person_reads_it(looks):
    said = looks.show.out

    assert "RecipientRejected: RecipientRejected, says the test" in said
    assert "e2, first seen" in said
    assert "5 attempts used up, re-sent 6 times" in said
    assert "2 of 3: +1555•••5551, +1555•••5552" in said
    assert "HTTP 500" in said
    assert "mend the cause, then: optout dlq replay --fixed --event e2 (see docs/runbook.md#recipientrejected)" in said


def test_what_cannot_be_read_is_shown_all_the_same(looks):
    assert looks.show_json.json["verdict"] == "never"
    assert looks.show_json.json["unreadable"].startswith("not JSON")
    assert looks.show_json.json["body"] == "{not JSON +1555•••5553"


def test_numbers_are_shown_only_when_asked_for(looks):
    for said in (looks.summary, looks.list, looks.show, looks.show_json):
        assert "555555" not in said.out

    assert "+15555555551" in looks.reveal.out


def test_nothing_is_locked_by_looking(looks):
    assert looks.locked == 0


def test_what_is_not_there_is_said_in_one_line(looks):
    assert looks.missing.code == 1
    assert looks.missing.err.startswith("Error: there is no dead letter '99'")
    assert looks.none.out == "There are no dead letters that meet these conditions.\n"


async def test_on_a_narrow_terminal_no_word_and_no_code_is_cut(bus):
    bus.fill([dead(number, reason.value, name=f"order-{number}") for number, reason in enumerate(Reason, 1)])
    shown = []
    for command in ("summary", "list"):
        ours, theirs = pty.openpty()
        process = bus.start({"TERM": "dumb", "COLUMNS": "80"}, "dlq", command, terminal=theirs)
        os.close(theirs)
        shown.append(await asyncio.to_thread(read_all, ours))
        process.wait()

    for text in shown:
        words = set(text.split())
        assert {reason.value for reason in Reason} <= {word.rstrip(":") for word in words}
        assert "recipients" in words
    assert {f"order-{number}" for number in range(1, 13)} <= set(shown[1].split())


async def test_who_reads_only_the_beginning_gets_no_complaint(bus):
    bus.bury(2000)
    process = bus.start({}, "dlq", "list", "--json")
    await asyncio.to_thread(process.stdout.read, 10)
    process.stdout.close()

    assert await asyncio.to_thread(process.wait) == 0
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


async def test_what_others_wrote_steers_neither_the_terminal_nor_its_markup(bus):
    bus.fill([dead(1, name="[/red] \x1b[2J boom")])

    said = await bus("dlq", "list")

    assert said.code == 0
    assert "\x1b" not in said.out
    assert "[/red] ?[2J boom" in said.out
