"""`optout dlq edit`."""

import asyncio
import sys
from datetime import datetime
from typing import Annotated

import typer

from optout_ops import files, machine
from optout_ops.changes.edit import Body, Part, Properties, difference, edited, send_in_place
from optout_ops.cli.options import Judging, Note, Reach, Yes
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import agrees, confirm, out, say, say_stopping, show_json
from optout_ops.exits import ExitCode, Guarded, Mistake
from optout_ops.letters.letter import Letter
from optout_ops.letters.search import find
from optout_ops.letters.verdicts import ReplayRule


def edit(
    outside: Outside,
    reach: Reach,
    judging: Judging,
    name: Annotated[str, typer.Argument(metavar="ID", help="Sequence number, MessageId or event id.")],
    properties: Annotated[
        bool, typer.Option("--properties", help="Edit the application properties, as JSON, and not the body.")
    ] = False,
    yes: Yes = False,
    note: Note = None,
) -> int:
    """Correct one dead letter in $EDITOR, and send it.

    The difference is shown, and you are asked, before anything is sent. It is sent to the queue under a new id, and the
    dead letter is removed when the broker has it. What may not be sent as you wrote it can be opened again.
    """
    settings, run_id = outside.settings(reach.namespace), machine.new_run_id()
    rule = judging.rule(settings)
    part: Part = Properties() if properties else Body()

    async def work(stop: asyncio.Event) -> str | None:
        async with outside.open_queues(settings) as queues:
            letter = await find(queues, name)
            text, made = _edit(outside, letter, part, rule, outside.now())
            if made is None:
                return None
            for line in difference(part.read(letter), text):
                say(line)
            confirm(f"Send this in place of dead letter {letter.number}?", yes=yes)
            if stop.is_set():
                raise KeyboardInterrupt
            return await send_in_place(queues, letter, made, recorder=outside.recorder("edit", run_id, note))

    sent = machine.run(work, stopping=say_stopping)
    if reach.as_json:
        show_json({"sent": sent is not None, "messageId": sent, "replay": run_id if sent else None})
    elif sent:
        out().print(f"Sent as {sent}.\nWhat becomes of it: optout dlq status {run_id}", markup=False)
    else:
        out().print("Nothing was changed, and nothing sent.")
    return ExitCode.DONE


def _edit(outside: Outside, letter: Letter, part: Part, rule: ReplayRule, now: datetime) -> tuple[bytes, Letter | None]:
    text = part.read(letter)
    while True:
        text = files.edit(text, outside.environ)
        try:
            return text, edited(letter, text, part, rule=rule, now=now)
        except (Guarded, Mistake) as error:
            if not sys.stdin.isatty():
                raise
            say(f"Error: {error}")
            # What was written would be lost otherwise.
            if not agrees("Open it again as you wrote it?"):
                raise
