"""`optout consent migrate`."""

import asyncio

from optout_ops import machine
from optout_ops.cli.options import Reach
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import out, show_json
from optout_ops.consent.ledger import open_records
from optout_ops.exits import ExitCode


def migrate(outside: Outside, reach: Reach) -> int:
    """Make the tables of the consent ledger, or bring them up to date; run twice it does nothing more."""
    settings = outside.settings(reach.namespace, needs_queues=False)

    async def work(_: asyncio.Event) -> None:
        async with open_records(settings):
            pass

    machine.run(work)
    if reach.as_json:
        show_json({"done": True})
    else:
        out().print("The tables of the consent ledger are up to date.")
    return ExitCode.DONE
