"""`optout dlq list`."""

import asyncio
from datetime import datetime
from typing import Any

from optout_core.reasons import Replay
from optout_ops import machine
from optout_ops.cli.options import Judging, Reach, Which
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import coloured, out, plain, show_json, show_table
from optout_ops.exits import ExitCode
from optout_ops.letters.description import short_document, utc
from optout_ops.letters.search import matching


def list_(outside: Outside, reach: Reach, which: Which, judging: Judging) -> int:
    """List the dead letters, one line each, in the order of the queue."""
    settings, now = outside.settings(reach.namespace), outside.now()
    wanted, rule = which.filter(now), judging.rule(settings.opt_in_max_age)

    async def work(_: asyncio.Event) -> list[dict[str, Any]]:
        async with outside.open_queues(settings) as queues:
            return [short_document(letter, rule.judge(letter, now)) async for letter in matching(queues, wanted, now)]

    lines = machine.run(work)
    if reach.as_json:
        show_json(lines)
        return ExitCode.DONE
    if not lines:
        out().print("There are no such dead letters.")
        return ExitCode.DONE
    show_table(
        (">number", "reason", "dead-lettered", "event", ">recipients", ">tries", ">status", ">replays", "replay"),
        (
            (
                str(line["sequenceNumber"]),
                plain(line["reason"]) or "(none)",
                utc(datetime.fromisoformat(line["deadLetteredAt"])),
                plain(line["event"]),
                f"{line['recipients']} of {line['of']}",
                str(line["attempts"]),
                str(line["status"] or ""),
                str(line["replays"]),
                coloured(Replay(line["verdict"])),
            )
            for line in lines
        ),
        spare=("dead-lettered", "tries", "status", "replays"),
    )
    return ExitCode.DONE
