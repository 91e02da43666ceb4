"""`optout consent erase`."""

import asyncio

from optout_ops import machine
from optout_ops.cli.options import Note, Number, OfSender, Reach, Yes
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import asked, confirm, out, show_json
from optout_ops.consent.ledger import open_records
from optout_ops.consent.person import read_key
from optout_ops.exits import ExitCode


def erase(
    outside: Outside, reach: Reach, sender: OfSender, number: Number = None, yes: Yes = False, note: Note = None
) -> int:
    """Erase what is kept of a person: words, evidence, answers.

    Where the newest word is a STOP, the number and that word stay as the suppression entry, so that no older opt-in
    undoes it.
    """
    settings = outside.settings(reach.namespace, needs_queues=False)
    key = read_key(asked(number, "Number"), sender)
    confirm("Evidence that is erased is gone for good. Erase?", yes=yes)
    recorder = outside.recorder("consent erase", machine.new_run_id(), note)

    async def work(_: asyncio.Event) -> tuple[int, bool]:
        async with open_records(settings) as records:
            words = (await records.history(key))[1]
            return len(words), await records.erase(key)

    with recorder.ended() as end:
        words, stays = machine.run(work)
        end |= {"words": words, "suppression": stays}
    if reach.as_json:
        show_json({"words": words, "suppression": stays})
    else:
        kept = "the STOP stays as the suppression entry" if stays else "nothing stays"
        out().print(f"{words} words were erased; {kept}.", markup=False, soft_wrap=True)
    return ExitCode.DONE
