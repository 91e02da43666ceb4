"""`optout dlq import`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from optout_ops import machine
from optout_ops.changes.restore import RestoreResult, find_missing, put_back, read_archive
from optout_ops.cli.options import Note, Rate, Reach, Yes
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import confirm, out, say_stopping, show_json
from optout_ops.exits import ExitCode
from optout_ops.queues.pacing import Pace
from optout_ops.wording import count


def import_(
    outside: Outside,
    reach: Reach,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Written by `export --reveal` or by `purge`.")],
    rate: Rate = 100.0,
    yes: Yes = False,
    note: Note = None,
) -> int:
    """Put archived dead letters back into their queue.

    Each gets a new id. Replay them from there. Importing the same archive twice adds nothing: dead letters that are
    in the queue already are left out.
    """
    settings = outside.settings(reach.namespace)
    letters = read_archive(file)

    async def work(stop: asyncio.Event) -> tuple[int, RestoreResult]:
        async with outside.open_queues(settings) as queues:
            missing = await find_missing(queues, letters)
            if not missing:
                return 0, RestoreResult()
            confirm(f"Put {count(len(missing), 'dead letter')} back into {settings.dead_letter_queue}?", yes=yes)
            with outside.run(
                "import", machine.new_run_id(), note=note, doing="putting back", total=len(missing), stop=stop
            ) as run:
                result = await put_back(queues, missing, pace=Pace(rate), run=run)
            return len(missing), result

    missing, result = machine.run(work, stopping=say_stopping)
    known = len(letters) - missing
    if reach.as_json:
        show_json({"read": len(letters), "arrived": result.arrived, "known": known, "dropped": result.dropped})
    else:
        out().print(f"{count(result.arrived, 'dead letter')} put back.")
        if known:
            out().print(f"{known:,} are in the queue already and were left out.")
        if result.dropped:
            out().print(
                f"{result.dropped:,} were taken for duplicates by the broker and are not in the queue: they were put"
                " back minutes ago, and have left since. Keep the archive, and run the same command again in ten"
                " minutes."
            )
    if result.dropped:
        return ExitCode.SOME_FAILED
    return ExitCode.DONE if result.arrived == missing else ExitCode.INTERRUPTED
