"""`optout dlq plan`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from optout_ops import files, machine
from optout_ops.cli.options import Judging, Reach, Which
from optout_ops.cli.outcome import selection_lines
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import out, show_json
from optout_ops.exits import ExitCode
from optout_ops.replay.choose import Choice, write_plan


def plan(
    outside: Outside,
    reach: Reach,
    which: Which,
    judging: Judging,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The new file for the plan.")],
) -> int:
    """Write down which dead letters a replay would act on.

    Each has a verdict: may it be replayed? Nothing is sent. The plan is JSON Lines. Remove the lines of dead
    letters that are not to be replayed; keep the first line, the last one, and the order.
    """
    settings, now = outside.settings(reach.namespace), outside.now()
    wanted, rule = which.filter(now), judging.rule(settings)

    async def work(_: asyncio.Event) -> Choice:
        async with outside.informed_queues(settings) as queues:
            # Half a plan would look like a whole one: the file appears when all of it is written.
            with files.new_file(str(output)) as file:
                return await write_plan(queues, wanted, rule, file=file, now=now)

    choice = machine.run(work)
    if reach.as_json:
        show_json({"replay": choice.replay_id, "plan": str(output)} | choice.selection.as_document())
    else:
        for line in selection_lines(choice.selection, rule):
            out().print(line, markup=False, soft_wrap=True)
        fixed = " --fixed" if rule.fixed else ""
        following = f" Next: optout dlq replay {output}{fixed}" if len(choice.selection.chosen) else ""
        out().print(f"Plan written to {output}.{following}", markup=False, soft_wrap=True)
    return ExitCode.DONE
