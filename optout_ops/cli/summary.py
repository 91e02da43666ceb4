"""`optout dlq summary`."""

import asyncio

from optout_core.masking import show
from optout_core.reasons import Replay
from optout_ops import machine
from optout_ops.cli.options import Judging, Reach, Which
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import out, plain, show_json, show_table
from optout_ops.exits import ExitCode
from optout_ops.letters.description import meaning, utc
from optout_ops.letters.search import matching
from optout_ops.letters.summary import Summary


def summary(outside: Outside, reach: Reach, which: Which, judging: Judging) -> int:
    """Count the dead letters by reason, and say which may be replayed."""
    settings, now = outside.settings(reach.namespace), outside.now()
    wanted, rule = which.filter(now), judging.rule(settings.opt_in_max_age)

    async def work(_: asyncio.Event) -> Summary:
        counts = Summary(rule, now)
        async with outside.open_queues(settings) as queues:
            async for letter in matching(queues, wanted, now):
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
    show_table(
        ("reason", ">count", ">recipients", "oldest", "newest", ">safe", ">after a fix", ">never"),
        (
            (
                plain(show(row.code)) or "(none)",
                f"{row.count:,}",
                f"{row.recipients:,}",
                utc(row.oldest),
                utc(row.newest),
                *(str(row.verdicts[advice]) for advice in Replay),
            )
            for row in rows
        ),
        spare=("oldest", "newest"),
    )
    for row in rows:
        out().print(f"[bold]{plain(show(row.code)) or '(none)'}[/]: {plain(meaning(row.code))}.")
    return ExitCode.DONE
