"""`optout check`."""

import asyncio
from typing import Annotated

import typer

from optout_core.numbers import Number, read_number, read_sender
from optout_ops import machine
from optout_ops.cli.options import AsJson
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import out, plain, say, show_json, table
from optout_ops.exits import ExitCode, Mistake
from optout_ops.health import check as health
from optout_ops.health.acs import open_post
from optout_ops.health.check import ListEntry, Standing
from optout_ops.queues.waiting import Waiter

_COLOURS = {Standing.NOT_OPTED_OUT: "green", Standing.OPTED_OUT: "red", Standing.UNKNOWN: "yellow"}


def check(
    outside: Outside,
    numbers: Annotated[list[str], typer.Argument(metavar="NUMBER…", help="Recipients.")],
    sender: Annotated[str, typer.Option("--from", metavar="SENDER", help="The sender of the opt-out list.")],
    as_json: AsJson = False,
) -> int:
    """Ask ACS whether numbers are opted out. Changes nothing. An error is never read as "not opted out"."""
    settings = outside.settings(None, needs_acs=True)
    recipients = tuple(dict.fromkeys(read_number(number) for number in numbers if number.strip()))
    of_sender = read_sender(sender)
    if not all(each.is_clear for each in (*recipients, of_sender)):
        raise Mistake("a number has 3 to 15 digits, with + and country; nothing was asked")

    async def work(_: asyncio.Event) -> dict[Number, ListEntry]:
        async with open_post(settings, Waiter(say)) as post:
            return await health.check(post, of_sender, recipients)

    entries = machine.run(work)
    if as_json:
        show_json([{"to": str(to), "standing": str(each.standing), "why": each.why} for to, each in entries.items()])
    else:
        made = table("recipient", "standing", "")
        for to, each in entries.items():
            made.add_row(plain(str(to)), f"[{_COLOURS[each.standing]}]{each.standing}[/]", plain(each.why))
        out().print(made)
    unknown = any(each.standing is Standing.UNKNOWN for each in entries.values())
    return ExitCode.SOME_FAILED if unknown else ExitCode.DONE
