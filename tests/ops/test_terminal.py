"""The command line in a process of its own: on a terminal, with Ctrl-C, and what it says of itself."""

import asyncio
import itertools
import os
import pty
import re
import signal
import sys

import pytest

from optout_core import __version__
from optout_ops.__main__ import app
from tests.build import dead_letters
from tests.ops.bus import ROOT, finish, read_all
from tests.ops.command_line import run

#: Every command, as one types it.
COMMANDS = [
    *([name] for name in ("send", "check", "doctor", "replays", "status", "find", "report")),
    *(
        ["dlq", name]
        for name in ("summary", "list", "show", "plan", "replay", "status", "export", "import", "edit", "purge")
    ),
]


def test_the_version_is_that_of_the_project():
    said = run("--version")

    assert said.code == 0
    assert said.out.strip() == __version__


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_each_command_fits_80_columns_without_ragged_lines(monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")

    said = run(*command, "--help")

    lines = said.out.splitlines()
    assert said.code == 0
    assert max(map(len, lines)) <= 80
    # Where a line of a paragraph ends early, the first word of the next one would not have fitted.
    ragged = [
        (line, after)
        for line, after in itertools.pairwise(lines)
        if re.match(r"  \S", line) and re.match(r"  \S", after) and len(line) + 1 + len(after.split()[0]) < 76
        if not line.lstrip().startswith(("-", "[")) and "  " not in line.strip() and "  " not in after.strip()
    ]
    assert not ragged


@pytest.mark.parametrize("group", [[], ["dlq"]], ids=str)
def test_the_list_of_commands_says_a_whole_sentence_of_each(monkeypatch, group):
    monkeypatch.setenv("COLUMNS", "80")

    said = run(*group, "--help")

    assert {command[-1] for command in COMMANDS if command[:-1] == group} <= set(said.out.split())
    assert "..." not in said.out.partition("Commands:")[2]


def test_each_command_has_a_file_of_its_own():
    files = {path.stem.strip("_") for path in (ROOT / "optout_ops" / "cli").glob("*.py")}

    assert {command[-1] for command in COMMANDS} <= files
    registered = {command.name for command in app.registered_commands}
    assert {command[-1] for command in COMMANDS if len(command) == 1} == registered


def test_without_arguments_it_says_what_it_can_do():
    said = run()

    assert "Usage: optout" in said.out + said.err


async def test_on_a_terminal_it_asks_and_shows_how_far_it_is(bus):
    bus.bury(*range(1, 301))
    ours, theirs = pty.openpty()
    process = bus.start(
        "dlq", "replay", "--no-ramp", "--rate", "200", terminal=theirs, TERM="xterm", NO_COLOR="1", COLUMNS="132"
    )
    os.close(theirs)
    os.write(ours, b"y\n")
    shown = await asyncio.to_thread(read_all, ours)

    assert await asyncio.to_thread(process.wait) == 0
    assert "Replay 300 dead letters (300 recipients) from opt-ins-dead-letter to opt-ins? [y/N]" in shown
    assert re.search(r"replaying .*\d+/300 .*/s", shown)
    assert "\x1b[31m" not in shown
    assert len(bus.opt_ins) == 300


@pytest.mark.parametrize("command", [["replay"], ["purge"]], ids=str)
async def test_ctrl_c_at_the_question_ends_the_command_and_changes_nothing(bus, command):
    bus.bury(1, 2)
    ours, theirs = pty.openpty()
    process = bus.start("dlq", *command, terminal=theirs, TERM="dumb")
    os.close(theirs)
    shown = b""
    while b"[" not in shown:
        shown += await asyncio.to_thread(os.read, ours, 4096)
    await asyncio.sleep(0.2)  # the question is on the screen a moment before it is waited for
    process.send_signal(signal.SIGINT)
    shown += (await asyncio.to_thread(read_all, ours)).encode()

    assert await asyncio.to_thread(process.wait) == 130
    assert b"Traceback" not in shown
    assert (len(bus.opt_ins), len(bus.dead_letters), await bus.locked()) == (0, 2, 0)


async def test_ctrl_c_ends_what_only_looks_at_once(bus):
    bus.fill(*dead_letters(20_000))
    process = bus.start("dlq", "list", "--json")
    await bus.broker.wait_until(lambda: bool(bus.broker.queue_links()), timeout=20)
    await asyncio.sleep(0.3)
    process.send_signal(signal.SIGINT)

    said = await finish(process)

    assert said.code == 130
    assert said.out == ""
    assert "Traceback" not in said.err


async def test_the_module_and_the_command_are_the_same():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "optout_ops", "--version", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()

    assert out.decode() == run("--version").out


def test_a_wrong_call_is_an_error_with_one_full_stop_at_most(desk):
    said = desk.dlq("plan")

    assert said.code == 2
    assert said.err == "Error: Missing option '--output' / '-o'; `--help` tells more\n"
