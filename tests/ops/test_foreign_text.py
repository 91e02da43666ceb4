"""Text of other programs is harmless in every output: it steers no terminal, forges no line, fills no screen."""

import asyncio
import json
import os
import pty
import re

import pytest

from tests.build import canonical, dead_letter, wire
from tests.ops.bus import current, read_all
from tests.ops.command_line import Desk

#: Colour, window title, an 8-bit escape, right-to-left override, a line that looks like one of ours.
EVIL = "Bad\x1b[31mRED\x1b]0;PWNED\x07\x9b2J\u202eabc\u2066\r\nError: all is lost\u2028\x00"
COMMANDS = {
    "summary": ("dlq", "summary"),
    "list": ("dlq", "list"),
    "show": ("dlq", "show", "1"),
    "reveal": ("dlq", "show", "1", "--reveal"),
    "plan": ("dlq", "plan", "-o", "plan.jsonl"),
    "replay": ("dlq", "replay", "--dry-run", "--fixed"),
    "export": ("dlq", "export"),
    "export revealed": ("dlq", "export", "--reveal"),
    "edit": ("dlq", "edit", "1", "--fixed"),
    "purge": ("dlq", "purge"),
}


@pytest.fixture
def evil_desk(desk: Desk, monkeypatch):
    monkeypatch.chdir(desk.place)
    body = wire(canonical("+15550000001", id=EVIL, note=EVIL))
    facts = {"DeadLetterErrorDescription": EVIL, EVIL: EVIL, "optout-error-code": EVIL}
    desk.put(dead_letter(1, EVIL, name=EVIL, body=body, **facts))
    desk.environ["EDITOR"] = "sed -i s/1555/1556/"
    return desk


def harmful(text):
    return [each for each in text if not each.isprintable() and each not in "\n\t"]


@pytest.mark.parametrize("form", [(), ("--json",)], ids=str)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_hands_a_control_character_on_or_lets_a_line_be_forged(evil_desk, command, form):
    if command.startswith("export") and form:
        return

    said = evil_desk(*COMMANDS[command], *form)

    assert not harmful(said.out + said.err)
    assert not re.search(r"^Error: all is lost", said.out + said.err, re.MULTILINE)


def test_the_plan_and_the_trail_hold_no_control_character_and_are_json(evil_desk):
    evil_desk("dlq", "plan", "-o", "plan.jsonl")
    evil_desk("dlq", "export", "--reveal", "-o", "all.jsonl")

    for name in ("plan.jsonl", "all.jsonl", "audit.jsonl"):
        text = (evil_desk.place / name).read_text()
        assert not harmful(text)
        assert all(json.loads(line) for line in text.splitlines())


def test_what_is_revealed_as_json_is_what_was_written(evil_desk):
    line = json.loads(evil_desk("dlq", "export", "--reveal").out)

    assert json.loads(line["body"])["id"] == EVIL


async def test_an_endless_text_fills_no_screen(bus):
    bus.fill(current(1, "R" * 10_000, name="e" * 200))
    shown = ""
    for command in ("list", "summary"):
        ours, theirs = pty.openpty()
        process = bus.start("dlq", command, terminal=theirs, TERM="dumb", COLUMNS="132", LINES="50")
        os.close(theirs)
        shown += await asyncio.to_thread(read_all, ours)
        assert await asyncio.to_thread(process.wait) == 0

    assert "RRRRR" in shown
    assert len(shown) < 4_000
