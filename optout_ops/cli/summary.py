"""`optout dlq summary`."""

import asyncio
from typing import Annotated

import typer

from optout_core.masking import show
from optout_core.reasons import Replay
from optout_ops import machine
from optout_ops.cli.options import Ending, Limits, Reach, Which
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import out, plain, show_json, show_table
from optout_ops.exits import ExitCode
from optout_ops.letters.description import meaning
from optout_ops.letters.search import matching
from optout_ops.letters.summary import By, Summary
from optout_ops.wording import brief, utc


def summary(
    outside: Outside,
    reach: Reach,
    which: Which,
    judging: Limits,
    by: Annotated[By, typer.Option("--by", help="Count them by this.")] = By.REASON,
    ending: Ending = False,
) -> int:
    """Count the dead letters by reason, and say which may be replayed."""
    settings, now = outside.settings(reach.namespace, ending=ending), outside.now()
    wanted, rule = which.filter(now), judging.rule(settings)

    async def work(_: asyncio.Event) -> Summary:
        counts = Summary(rule, now, by)
        async with outside.informed_queues(settings) as queues:
            async for letter in matching(queues, wanted):
                counts.add(letter)
        return counts

    counts = machine.run(work)
    if reach.as_json:
        show_json(counts.as_document())
        return ExitCode.DONE
    rows = counts.rows()
    if not rows:
        out().print("There are no dead letters" + (" that meet these conditions." if which != Which() else "."))
        return ExitCode.DONE
    totals = [counts.total] if counts.total and len(rows) > 1 else []
    show_table(
        (str(by), ">count", ">recipients", "oldest", "newest", *(f">{advice}" for advice in Replay)),
        [
            (
                plain(show(row.code)) or "(none)",
                f"{row.count:,}",
                f"{row.recipients:,}",
                utc(row.oldest),
                utc(row.newest),
                *(str(row.verdicts[advice]) for advice in Replay),
            )
            for row in (*rows, *totals)
        ],
        spare=("oldest", "newest"),
    )
    for row in rows if by is By.REASON else ():
        out().print(f"[bold]{plain(brief(show(row.code))) or '(none)'}[/]: {plain(meaning(row.code))}.")
    return ExitCode.DONE
