"""`optout dlq status`."""

import asyncio
import functools
from typing import Annotated

import typer

from optout_ops import machine
from optout_ops.cli.options import Reach
from optout_ops.cli.outcome import show_tally
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import out, say, show_json
from optout_ops.exits import ExitCode
from optout_ops.replay.status import ReplayStatus, read_status
from optout_ops.wording import count


def status(
    outside: Outside,
    reach: Reach,
    replay_id: Annotated[str | None, typer.Argument(metavar="REPLAY-ID", help="The newest when left out.")] = None,
) -> int:
    """Tell what became of a replay.

    How many recipients were applied, still wait, or are back, and why. The number of recipients that were sent is
    in the audit trail of the machine that replayed; everything else is read from the two queues and the ledger.
    """
    settings, trail = outside.settings(reach.namespace), outside.trail()

    async def work(_: asyncio.Event) -> ReplayStatus:
        async with outside.open_queues(settings) as queues:
            return await read_status(queues, trail, replay_id, functools.partial(outside.count_applied, settings))

    found = machine.run(work)
    if found.past is None and not found.tally.sent:
        say(f"The audit trail {trail.path} knows no replay {replay_id} in this namespace; this is from the queues.")
    if reach.as_json:
        show_json(found.as_document())
    else:
        show_tally(found.tally, knows_sent=found.past is not None)
        if found.unconfirmed:
            out().print(
                f"{count(found.unconfirmed, 'recipient')} more were about to be sent, and may have been: run the same"
                " command again, which sends none of them twice.",
                soft_wrap=True,
            )
        elif found.past is not None and found.past.may_be_unfinished:
            ended = f"ended as `{found.past.outcome}`" if found.past.outcome else "still runs, or was cut off"
            out().print(f"This replay {ended}: run the same command again to finish it.", markup=False, soft_wrap=True)
    return ExitCode.SOME_FAILED if found.tally.returned_recipients else ExitCode.DONE
