"""`optout consent prune`."""

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from optout_core.consent import microseconds
from optout_ops import machine
from optout_ops.cli.live import live
from optout_ops.cli.options import Note, Reach, Yes
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import confirm, out, say_stopping, show_json
from optout_ops.consent.ledger import open_records
from optout_ops.exits import ExitCode, Guarded, Mistake
from optout_ops.wording import duration, read_duration

#: Four years, the longest time in which a claim under the TCPA can be brought (28 U.S.C. 1658(a)), with a leap day.
_KEEP = "1461d"


def prune(
    outside: Outside,
    reach: Reach,
    keep: Annotated[
        str, typer.Option("--keep", metavar="DURATION", help="People whose newest word is older are deleted.")
    ] = _KEEP,
    yes: Yes = False,
    note: Note = None,
) -> int:
    """Delete people whose newest word is older than the retention, with all their words and answers.

    Made for a job that runs once a day; what it did not reach it deletes the next time.
    """
    settings, now = outside.settings(reach.namespace, needs_queues=False), outside.now()
    try:
        kept = read_duration(keep)
        before = microseconds(now - kept)
    except (ValueError, OverflowError) as error:
        raise Mistake(f"--keep {error}; nothing was deleted") from None
    least = settings.opt_in_max_age + timedelta(days=1)
    if kept < least:
        raise Guarded(
            f"--keep {keep} is less than {duration(least)}: an opt-in that still counts could undo a forgotten STOP;"
            " nothing was deleted"
        )
    confirm(f"People whose newest word is older than {duration(kept)} will be deleted for good. Delete?", yes=yes)
    recorder = outside.recorder("consent prune", machine.new_run_id(), note)

    async def work(stop: asyncio.Event) -> tuple[int, bool]:
        done = 0
        async with open_records(settings) as records:
            with live("deleting", None) as shown:
                async for done in records.prune(before):
                    shown.advance(done)
                    if stop.is_set():
                        return done, True
        return done, False

    with recorder.ended() as end:
        done, interrupted = machine.run(work, stopping=say_stopping)
        end |= {"people": done}
    if reach.as_json:
        show_json({"people": done})
    else:
        out().print(f"{done:,} deleted.")
    return ExitCode.INTERRUPTED if interrupted else ExitCode.DONE
