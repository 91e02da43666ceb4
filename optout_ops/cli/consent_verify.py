"""`optout consent verify`."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from optout_core.consent import microseconds
from optout_core.numbers import Number
from optout_ops import machine
from optout_ops.cli.live import live
from optout_ops.cli.options import Note, Reach
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import out, say, say_stopping, show_json
from optout_ops.consent.ledger import open_records
from optout_ops.consent.verify import Finding, Tally, compare
from optout_ops.exits import ExitCode, Mistake
from optout_ops.health.acs import open_post
from optout_ops.health.check import ListEntry, check
from optout_ops.queues.waiting import Waiter
from optout_ops.wording import read_past


def verify(
    outside: Outside,
    reach: Reach,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="People for whom ACS was to be called since.")
    ] = "3d",
    note: Note = None,
) -> int:
    """Compare ACS's list with the ledger, and send the word of a STOP again that the list does not show.

    It asks ACS, 100 people a request. A number that ACS has opted out although the newest word is an opt-in is counted
    and left alone: it may be a STOP whose event was lost.
    """
    settings, now = outside.settings(reach.namespace, needs_acs=True), outside.now()
    try:
        first = microseconds(read_past(since, now))
    except ValueError as error:
        raise Mistake(f"--since {error}; nothing was asked") from None
    recorder = outside.recorder("consent verify", machine.new_run_id(), note)

    async def work(stop: asyncio.Event) -> Tally:
        async with (
            open_records(settings) as records,
            open_post(settings, Waiter(say)) as post,
            outside.open_queues(settings) as queues,
        ):

            async def ask(sender: Number, people: Sequence[Number]) -> dict[Number, ListEntry]:
                return await check(post, sender, people)

            with live("comparing", None) as shown:
                return await compare(records, ask, queues, since=first, now=now, advance=shown.advance, stop=stop)

    with recorder.ended() as end:
        tally = machine.run(work, stopping=say_stopping)
        end |= {found.name.lower(): count for found, count in tally.findings.items()}
    if reach.as_json:
        show_json({found.name.lower(): tally.findings[found] for found in Finding})
    else:
        for found in Finding:
            if tally.findings[found]:
                out().print(f"{tally.findings[found]:>8,}  {found}", soft_wrap=True)
        total = tally.findings.total()
        out().print(f"{total:,} compared." if total else "Nobody was called for since then: nothing to compare.")
    if tally.is_interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.DONE if tally.is_fine else ExitCode.SOME_FAILED
