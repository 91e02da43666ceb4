"""How a command ends when it is cut off: by `kill`, by an ssh session that drops, by a reader that has read enough."""

import asyncio
import os
import signal
import socket
import tempfile
from pathlib import Path

import pytest

from optout_ops.files import new_file, sweep
from tests.build import dead_letters
from tests.ops.bus import finish
from tests.ops.command_line import QUICK

ENDINGS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def age(file):
    """Let a file be a minute old."""
    os.utime(file, (file.stat().st_atime, file.stat().st_mtime - 60))


def part_files(place):
    return [path for path in place.rglob("*") if ".optout-part" in path.name]


async def until(condition):
    # On a machine that has other things to do, 20 seconds were not enough to start and to read 5,000 messages.
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - of files, which tell nobody
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda each: each.name)
async def test_no_ending_leaves_a_file_with_numbers_half_written(bus, place, ending):
    bus.fill(*dead_letters(20_000))
    process = bus.start("dlq", "purge", "--archive", str(place / "kept.jsonl"), "--confirm", "purge 20000")
    await until(lambda: part_files(place))
    process.send_signal(ending)

    said = await finish(process)

    assert said.code == 130
    assert "Traceback" not in said.err
    assert not part_files(place)
    assert not (place / "kept.jsonl").exists()


def works(number):
    """Say whether a process does anything any more; one that ended may wait for init to take note."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("ending", ENDINGS[1:], ids=lambda each: each.name)
async def test_an_ending_ends_the_editor_too_and_removes_what_it_worked_on(bus, place, ending):
    bus.bury(1)
    editor = place / "editor.sh"
    editor.write_text(f'#!/bin/sh\necho $$ "$1" > {place}/editing; exec sleep 60\n')
    editor.chmod(0o700)
    process = bus.start("dlq", "edit", "1", EDITOR=str(editor), TMPDIR=str(place))
    await until(lambda: (place / "editing").exists() and (place / "editing").read_text().endswith("\n"))
    number, name = (place / "editing").read_text().split()
    [file] = place.glob("optout-edit-*/*")
    assert str(file) == name
    assert "+1555" in file.read_text()
    process.send_signal(ending)

    said = await finish(process)

    assert said.code == 130
    assert not file.exists()
    await until(lambda: not works(int(number)))
    assert len(bus.dead_letters) == 1


async def test_ctrl_c_in_the_editor_is_a_key_of_the_editor(bus, place):
    bus.bury(1)
    editor = place / "editor.sh"
    editor.write_text('#!/bin/sh\nkill -INT $PPID; sleep 0.3; sed -i s/1555/1556/ "$1"\n')
    editor.chmod(0o700)

    said = await finish(bus.start("dlq", "edit", "1", "--yes", EDITOR=str(editor)))

    assert said.code == 0
    assert len(bus.opt_ins) == 1


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda each: each.name)
async def test_an_ending_stops_a_replay_where_nothing_is_half_done(bus, ending):
    bus.bury(*range(1, 101))
    process = bus.start("dlq", "replay", "--yes", "--no-ramp", "--rate", "20")
    await until(lambda: len(bus.opt_ins) >= 20)
    process.send_signal(ending)

    said = await finish(process)

    assert said.code == 130
    assert "Interrupted with nothing half done." in said.out
    assert len(bus.opt_ins) + len(bus.dead_letters) == 100
    assert await bus.locked() == 0


async def test_what_is_started_with_nohup_outlives_its_terminal(bus):
    bus.bury(*range(1, 41))
    process = bus.start("dlq", "replay", "--yes", "--no-ramp", "--rate", "20", under=["nohup"])
    await until(lambda: len(bus.opt_ins) >= 20)
    process.send_signal(signal.SIGHUP)

    said = await finish(process)

    assert said.code == 0
    assert len(bus.opt_ins) == 40


async def test_the_part_file_of_a_killed_command_is_removed_by_the_next_and_that_of_a_living_one_is_not(bus, place):
    bus.fill(*dead_letters(20_000))
    process = bus.start("dlq", "export", "--reveal", "-o", str(place / "all.jsonl"))
    await until(lambda: part_files(place))
    # It is stopped, so that it does not make the file young again.
    process.send_signal(signal.SIGSTOP)
    age(part_files(place)[0])
    sweep(place)
    assert len(part_files(place)) == 1
    process.kill()
    await finish(process)

    with new_file(str(place / "other.jsonl")):
        pass

    assert not part_files(place)


async def test_what_a_killed_edit_left_is_removed_by_the_next(place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    left = place / "optout-edit-x" / "dead-letter.optout-part.json"
    left.parent.mkdir()
    left.touch()
    age(left)

    sweep(place)

    assert not left.parent.exists()


@pytest.mark.parametrize("form", [[], ["--json"]], ids=str)
async def test_a_reader_that_goes_away_does_not_end_a_replay_and_is_told_to_the_caller(bus, form):
    bus.bury(*range(1, 61))
    process = bus.start("dlq", "replay", "--yes", "--no-ramp", "--rate", "20", *form)
    process.stdout.close()
    process.stderr.close()

    code = await asyncio.to_thread(process.wait)

    assert len(bus.opt_ins) == 60
    assert code == 1


@pytest.mark.parametrize("command", [["status"], ["report", "-o", "page.html"], ["dlq", "list"]], ids=" ".join)
async def test_what_only_looks_says_that_it_was_interrupted(bus, command):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = bus.environ["ServiceBusConnection"].replace(f":{bus.broker.port}", f":{silent.getsockname()[1]}")
        process = bus.start(*command, ServiceBusConnection=host)
        # It waits for an answer that does not come.
        connection, _ = await asyncio.to_thread(silent.accept)
        with connection:
            process.send_signal(signal.SIGINT)
            said = await finish(process)

    assert said.code == 130
    assert said.out == ""
    assert said.err == "Interrupted. Nothing is lost; run the same command again to go on.\n"


async def test_what_only_looks_ends_when_nobody_reads_it(bus):
    bus.fill(*dead_letters(3_000))
    process = bus.start("dlq", "export")
    await asyncio.to_thread(process.stdout.readline)
    process.stdout.close()

    with process.stderr:
        err = await asyncio.to_thread(process.stderr.read)

    assert await asyncio.to_thread(process.wait) == 0
    assert err == ""


def redirected(bus, to, *arguments):
    """Start the command line from a shell that sends its standard output somewhere."""
    return bus.start(*arguments, under=["sh", "-c", f'exec "$@" {to}', "sh"])


LOOKING = [
    ("--help",),
    ("dlq", "list"),
    ("dlq", "list", "--json"),
    ("dlq", "show", "1"),
    ("dlq", "export"),
    ("status",),
]


@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
async def test_results_that_a_full_disk_did_not_take_are_an_error_of_one_line(bus, command):
    bus.fill(*dead_letters(100))

    said = await finish(redirected(bus, ">/dev/full", *command))

    assert said.code == 2
    [error] = [line for line in said.err.splitlines() if line.startswith("Error: ")]
    assert "standard output cannot be written (No space left on device)" in error
    assert "Traceback" not in said.err


@pytest.mark.parametrize("form", [[], ["--json"]], ids=str)
async def test_a_full_disk_does_not_end_a_replay_and_is_told_to_the_caller(bus, form):
    bus.bury(*range(1, 61))

    said = await finish(redirected(bus, ">/dev/full", "dlq", "replay", *QUICK, *form))

    assert len(bus.opt_ins) == 60
    assert said.code == 1
    assert "standard output cannot be written (No space left on device)" in said.err


async def test_a_change_of_the_ledger_that_nobody_could_be_told_of_ends_as_one_of_the_queues_does(bus, place):
    bus.environ["CONSENT_LEDGER"] = f"sqlite:///{place}/ledger.db"

    said = await finish(redirected(bus, ">/dev/full", "consent", "migrate"))

    assert (place / "ledger.db").exists()
    assert said.code == 1
    assert "standard output cannot be written (No space left on device)" in said.err


@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
async def test_without_a_standard_output_what_only_looks_ends_in_silence(bus, command):
    bus.bury(1)

    said = await finish(redirected(bus, ">&-", *command))

    assert said.code == 0
    assert "Traceback" not in said.err
    assert "Error" not in said.err


@pytest.mark.parametrize("to", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
async def test_without_a_standard_output_a_replay_is_finished_and_told_to_the_caller(bus, to):
    bus.bury(*range(1, 61))

    said = await finish(redirected(bus, to, "dlq", "replay", *QUICK))

    assert len(bus.opt_ins) == 60
    assert said.code == 1
    assert "Traceback" not in said.err


async def test_a_terminal_that_knows_no_dots_is_shown_numbers_masked_without_them(bus):
    bus.bury(1)

    said = await finish(bus.start("dlq", "show", "1", PYTHONIOENCODING="ascii"))

    assert said.code == 0
    assert "+1555???" in said.out


async def test_a_purge_that_was_interrupted_says_so_in_the_trail(bus, place):
    bus.fill(*dead_letters(5_000))
    process = bus.start("dlq", "purge", "--archive", str(place / "a.jsonl"), "--confirm", "purge 5000")
    await until(lambda: len(bus.dead_letters) < 5_000)
    process.send_signal(signal.SIGTERM)
    said = await finish(process)

    assert '"outcome":"interrupted"' in (place / "audit.jsonl").read_text().splitlines()[-1]
    assert said.code == 130
