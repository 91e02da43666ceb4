"""`optout send`."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from optout_core.messages import Queue
from optout_core.numbers import mask_text
from optout_ops import machine
from optout_ops.audit import Audit, Run
from optout_ops.changes.publications import Problem, Publication, Text, examine, split
from optout_ops.cli.options import Rate, Reach, command
from optout_ops.cli.terminal import advance, out, progress, say, show_json
from optout_ops.exits import Exit, Mistake
from optout_ops.queues.client import Queues
from optout_ops.queues.pacing import pace
from optout_ops.wording import count, read_time

_LINES = {".jsonl", ".ndjson"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "send")(send)


def send(
    reach: Reach,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE…|-", help="One event; .jsonl and - (standard input) hold one event a line."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Validate and send nothing.")] = False,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="When the function gets them, such as 2026-01-23T10:00Z.")
    ] = None,
    rate: Rate = 100.0,
) -> int:
    """Publish opt-in and opt-out events, all or none: one that breaks the contract stops all of them.

    The MessageId is made from source and id of the event, so sending the same file again is harmless while the queue's
    duplicate detection remembers it (24 hours).
    """
    try:
        scheduled_at = read_time(at) if at else None
    except ValueError as error:
        raise Mistake(f"--at {error}; nothing was sent") from None
    examined = list(examine(_read(files), datetime.now(UTC), scheduled_at))
    problems = [each for each in examined if isinstance(each, Problem)]
    publications = [each for each in examined if isinstance(each, Publication)]
    document: dict[str, Any] = {
        "sent": 0,
        "events": sum(len(each.events) for each in publications),
        "recipients": sum(each.recipients for each in publications),
        "problems": [{"where": problem.where, "why": problem.why} for problem in problems],
    }
    if not problems and not dry_run and publications:
        settings = machine.read_settings(os.environ, reach.namespace)

        async def work(stop: asyncio.Event) -> int:
            async with Queues(settings) as queues:
                return await _send(queues, publications, rate, stop)

        document["sent"] = machine.run(work, changes=True)
    if reach.as_json:
        show_json(document)
    else:
        for problem in problems:
            say(f"{problem.where}: {problem.why}")
        done = count(document["sent"], "message") + " sent" if document["sent"] else "Nothing was sent"
        out().print(
            f"{done}; {count(document['events'], 'valid event')} with {count(document['recipients'], 'recipient')}"
        )
    if problems or not publications:
        return Exit.USAGE
    return Exit.DONE if dry_run or document["sent"] == len(publications) else Exit.INTERRUPTED


async def _send(queues: Queues, publications: list[Publication], rate: float, stop: asyncio.Event) -> int:
    run = Run(Audit(machine.audit_path()), "send", machine.new_run_id())
    burst, wait = pace(rate)
    sent = 0
    run.write("begin", **queues.where(Queue.OPT_INS), messages=len(publications))
    with run.ended() as end, progress("sending", len(publications)) as bar:
        while sent < len(publications) and not stop.is_set():
            batch = publications[sent : sent + burst]
            await wait(len(batch))
            await queues.send([each.outgoing for each in batch])
            sent += len(batch)
            end |= {"sent": sent, "ids": [mask_text(each.outgoing.message_id) for each in publications[:sent]]}
            advance(bar, sent)
    return sent


def _read(files: list[str]) -> list[Text]:
    texts: list[Text] = []
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
