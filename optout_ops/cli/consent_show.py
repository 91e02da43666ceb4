"""`optout consent show`."""

import asyncio

from optout_core.adapters.ledger.records import Statement
from optout_core.consent import Row
from optout_ops import machine
from optout_ops.cli.options import Note, Number, OfSender, Reach, Reveal
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import asked, out, plain, show_json
from optout_ops.consent.history import as_document, sentences
from optout_ops.consent.ledger import open_records
from optout_ops.consent.person import read_key
from optout_ops.exits import ExitCode


def show(
    outside: Outside,
    reach: Reach,
    sender: OfSender,
    number: Number = None,
    reveal: Reveal = False,
    note: Note = None,
) -> int:
    """Show what a person said to a sender, what proves it, and what ACS answered. Changes nothing."""
    settings = outside.settings(reach.namespace, needs_queues=False)
    key = read_key(asked(number, "Number"), sender)

    async def work(_: asyncio.Event) -> tuple[Row | None, list[Statement]]:
        async with open_records(settings) as records:
            return await records.history(key)

    if reveal:
        outside.recorder("consent show", machine.new_run_id(), note).write("reveal")
    row, words = machine.run(work)
    if reach.as_json:
        newest = None if row is None else {"word": "STOP" if row.stop else "opt-in", "settled": row.settled}
        show_json({"newest": newest, "words": [as_document(word, reveal=reveal) for word in words]})
    else:
        for line in sentences(row, words):
            out().print(plain(line), soft_wrap=True)
    return ExitCode.DONE
