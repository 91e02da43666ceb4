"""`optout dlq export`."""

import asyncio
import contextlib
import sys
from typing import Annotated

import typer

from optout_ops import files, machine
from optout_ops.cli.options import Ending, Reach, Reveal, Which
from optout_ops.cli.outside import Outside
from optout_ops.cli.streams import EndingOutput
from optout_ops.cli.terminal import say, show_json
from optout_ops.exits import ExitCode, Mistake
from optout_ops.letters import archive
from optout_ops.letters.search import matching
from optout_ops.wording import count


def export(
    outside: Outside,
    reach: Reach,
    which: Which,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE|-", help="A new file, or - for standard output.")
    ] = "-",
    reveal: Reveal = False,
    ending: Ending = False,
) -> int:
    """Write dead letters as JSON Lines. Nothing is removed.

    Only with --reveal the file holds the numbers, and only then it can be imported again.
    """
    settings, now = outside.settings(reach.namespace, ending=ending), outside.now()
    wanted = which.filter(now)
    if output == "-" and reach.as_json:
        raise Mistake(
            "--json and the lines cannot both go to standard output: name a file with -o; nothing was touched"
        )

    async def work(_: asyncio.Event) -> int:
        written = 0
        async with outside.open_queues(settings) as queues:
            with contextlib.nullcontext(EndingOutput(sys.stdout)) if output == "-" else files.new_file(output) as file:
                async for letter in matching(queues, wanted):
                    file.write(archive.write(letter.message, reveal=reveal))
                    written += 1
        return written

    if reveal:
        outside.trail().write("export", "reveal", filter=wanted.as_document(), file=output)
    written = machine.run(work)
    if reach.as_json:
        show_json({"written": written, "file": output, "masked": not reveal})
    else:
        say(f"{count(written, 'dead letter')} written" + ("." if reveal else ", numbers masked."))
    return ExitCode.DONE
