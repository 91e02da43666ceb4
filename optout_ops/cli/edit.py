"""`optout dlq edit`."""

import asyncio
from typing import Annotated

import typer

from optout_ops import files, machine
from optout_ops.changes.edit import difference, send_in_place, with_body
from optout_ops.cli.options import Judging, Reach, Yes
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import confirm, out, say, say_stopping, show_json
from optout_ops.exits import ExitCode
from optout_ops.letters.search import find


def edit(
    outside: Outside,
    reach: Reach,
    judging: Judging,
    name: Annotated[str, typer.Argument(metavar="ID", help="Sequence number, MessageId or event id.")],
    yes: Yes = False,
) -> int:
    """Correct the body of one dead letter in $EDITOR, and send it.

    The difference is shown, and you are asked, before anything is sent. It is sent to the queue under a new id, and the
    dead letter is removed when the broker has it.
    """
    settings = outside.settings(reach.namespace)
    rule = judging.rule(settings.opt_in_max_age)

    async def work(stop: asyncio.Event) -> str | None:
        async with outside.open_queues(settings) as queues:
            letter = await find(queues, name)
            body = files.edit(letter.message.body, outside.environ)
            edited = with_body(letter, body, rule=rule, now=outside.now())
            if edited is None:
                return None
            for line in difference(letter.message.body, body):
                say(line)
            confirm(f"Send this in place of dead letter {letter.number}?", yes=yes)
            if stop.is_set():
                raise KeyboardInterrupt
            return await send_in_place(queues, letter, edited, recorder=outside.recorder("edit", machine.new_run_id()))

    sent = machine.run(work, stopping=say_stopping)
    if reach.as_json:
        show_json({"sent": sent is not None, "messageId": sent})
    else:
        out().print(f"Sent as {sent}." if sent else "Nothing was changed, and nothing sent.", markup=False)
    return ExitCode.DONE
