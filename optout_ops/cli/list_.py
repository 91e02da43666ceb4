"""`optout dlq list`."""

import asyncio
import sys
from datetime import datetime
from typing import Any

from optout_core.reasons import Replay
from optout_ops import machine
from optout_ops.cli.options import Ending, Limits, Reach, Which
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import coloured, out, plain, say, show_json, show_table
from optout_ops.exits import ExitCode
from optout_ops.letters.bursts import Bursts
from optout_ops.letters.description import short_document
from optout_ops.letters.search import matching
from optout_ops.queues.messages import MessageState
from optout_ops.wording import count, utc

#: Dead letters that a terminal shows unless it is told how many; formatting each takes a millisecond.
_SCREENS = 1_000
#: Behind the verdict of what the queue does not give out.
_NOT_GIVEN_OUT = {str(state): f", {state}" for state in MessageState if state is not MessageState.ACTIVE}


def list_(outside: Outside, reach: Reach, which: Which, judging: Limits, ending: Ending = False) -> int:
    """List the dead letters, one line each, the newest first."""
    settings, now = outside.settings(reach.namespace, ending=ending), outside.now()
    wanted, rule = which.filter(now), judging.rule(settings)

    bursts = Bursts()

    async def work(_: asyncio.Event) -> list[dict[str, Any]]:
        lines = []
        async with outside.informed_queues(settings) as queues:
            async for letter in matching(queues, wanted):
                verdict = rule.judge(letter, now)
                bursts.add(letter, verdict.advice)
                lines.append(short_document(letter, verdict))
        return lines

    lines = machine.run(work)[::-1]
    if reach.as_json:
        show_json(lines)
        return ExitCode.DONE
    if not lines:
        out().print("There are no such dead letters.")
        return ExitCode.DONE
    total = len(lines)
    if which.limit is None and sys.stdout.isatty():
        lines = lines[:_SCREENS]
    show_table(
        (">number", "reason", "dead-lettered", "event", ">recipients", ">tries", ">status", ">replays", "replay"),
        [
            (
                str(line["sequenceNumber"]),
                plain(line["reason"]) or "(none)",
                utc(datetime.fromisoformat(line["deadLetteredAt"])),
                plain(line["event"]),
                f"{line['recipients']} of {line['of']}",
                str(line["attempts"]),
                str(line["status"] or ""),
                str(line["replays"]),
                coloured(Replay(line["verdict"])) + _NOT_GIVEN_OUT.get(line["state"], ""),
            )
            for line in lines
        ],
        spare=("dead-lettered", "tries", "status", "replays"),
    )
    recipients = sum(line["recipients"] for line in lines)
    say(f"{count(len(lines), 'dead letter')} with {count(recipients, 'recipient')}, the newest first.")
    for text in bursts.lines():
        say(text)
    if total > len(lines):
        say(f"{total - len(lines):,} older ones are not shown; `--limit {total}` shows them.")
    return ExitCode.DONE
