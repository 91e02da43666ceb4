"""`optout send`."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from optout_ops import machine
from optout_ops.changes.send import EventMessage, EventProblem, EventText, examine, publish, split
from optout_ops.cli.options import Note, Rate, Reach
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import out, say, say_stopping, show_json
from optout_ops.exits import ExitCode, Mistake
from optout_ops.queues.pacing import Pace
from optout_ops.wording import count, read_time

_LINES = {".jsonl", ".ndjson"}


def send(
    outside: Outside,
    reach: Reach,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE…|-", help="One event; .jsonl and - (standard input) hold one event a line."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Validate and send nothing.")] = False,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="When they are delivered, such as 2026-01-23T10:00Z.")
    ] = None,
    rate: Rate = 100.0,
    note: Note = None,
) -> int:
    """Publish opt-in and opt-out events, all or none.

    One event that breaks the contract stops all of them. The MessageId is made from source and id of the event, so
    sending the same file again is harmless as long as the queue detects duplicates (24 hours).
    """
    try:
        scheduled_at = read_time(at) if at else None
    except ValueError as error:
        raise Mistake(f"--at {error}; nothing was sent") from None
    examined = list(examine(_read(files), now=outside.now(), scheduled_at=scheduled_at))
    problems = [each for each in examined if isinstance(each, EventProblem)]
    messages = [each for each in examined if isinstance(each, EventMessage)]
    sends = messages and not problems and not dry_run
    sent = _send(outside, reach, messages, rate, note) if sends else 0
    events, recipients = sum(len(each.events) for each in messages), sum(each.recipients for each in messages)
    if reach.as_json:
        named = [{"where": problem.where, "why": problem.why} for problem in problems]
        show_json({"sent": sent, "events": events, "recipients": recipients, "problems": named})
    else:
        for problem in problems:
            say(f"{problem.where}: {problem.why}")
        done = f"{count(sent, 'message')} sent" if sent else "Nothing was sent"
        out().print(f"{done}; {count(events, 'valid event')} with {count(recipients, 'recipient')}")
    if problems or not messages:
        return ExitCode.USAGE
    return ExitCode.DONE if dry_run or sent == len(messages) else ExitCode.INTERRUPTED


def _send(outside: Outside, reach: Reach, messages: list[EventMessage], rate: float, note: str | None) -> int:
    settings = outside.settings(reach.namespace)

    async def work(stop: asyncio.Event) -> int:
        async with outside.open_queues(settings) as queues:
            with outside.run(
                "send", machine.new_run_id(), note=note, doing="sending", total=len(messages), stop=stop
            ) as run:
                return await publish(queues, messages, pace=Pace(rate), run=run)

    return machine.run(work, stopping=say_stopping)


def _read(files: list[str]) -> list[EventText]:
    texts: list[EventText] = []
    for name in files:
        try:
            content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as error:
            raise Mistake(f"{name}: {error.strerror}; nothing was sent") from None
        lines = name == "-" or Path(name).suffix in _LINES
        texts += split("standard input" if name == "-" else name, content, lines=lines)
    if not texts:
        raise Mistake("there are no events in it; nothing was sent")
    return texts
