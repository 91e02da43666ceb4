"""`optout report`."""

import asyncio
import functools
from pathlib import Path
from typing import Annotated

import typer

from optout_ops import files, machine
from optout_ops.cli.options import Limits, Reach
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import out, say, show_json
from optout_ops.cli.viewpoint import viewpoint_of
from optout_ops.exits import ExitCode
from optout_ops.health.look import look
from optout_ops.replay.status import read_statuses
from optout_ops.report.page import Report, render
from optout_ops.report.runbook import RUNBOOK


def report(
    outside: Outside,
    reach: Reach,
    limits: Limits,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The new file, such as report.html.")],
) -> int:
    """Write a page for the incident channel.

    Dead letters over time by reason and publisher, what waits, what was replayed and what came of it, and the next
    steps of the runbook. One file that needs no network; numbers are masked. Changes nothing in the queues.
    """
    settings = outside.settings(reach.namespace)
    viewpoint, trail = viewpoint_of(outside, reach, limits), outside.trail()
    runbook = RUNBOOK.read_text(encoding="utf-8") if RUNBOOK.exists() else ""
    if not runbook:
        say(f"The runbook is not at {RUNBOOK}: the page says what each reason means, and no commands.")

    async def work(_: asyncio.Event) -> str:
        async with outside.informed_queues(settings) as queues:
            seen = await look(queues, viewpoint, outside.now())
            replays = await read_statuses(queues, trail, functools.partial(outside.count_applied, settings))
            return render(Report(namespace=queues.namespace, seen=seen, replays=replays, runbook=runbook))

    page = machine.run(work)
    with files.new_file(str(output)) as file:
        file.write(page)
    if reach.as_json:
        show_json({"file": str(output), "bytes": len(page.encode())})
    else:
        out().print(f"Written to {output}, numbers masked.", markup=False, soft_wrap=True)
    return ExitCode.DONE
