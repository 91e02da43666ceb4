"""`optout dlq show`."""

import asyncio
from typing import Annotated

import typer

from optout_core import masking
from optout_ops import machine
from optout_ops.cli.options import Ending, Limits, Reach, Reveal
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import coloured, out, plain, show_json
from optout_ops.exits import ExitCode
from optout_ops.letters.description import advice, full_document, story
from optout_ops.letters.letter import Letter
from optout_ops.letters.search import find


def show(
    outside: Outside,
    reach: Reach,
    judging: Limits,
    name: Annotated[str, typer.Argument(metavar="ID", help="Sequence number, MessageId or event id.")],
    reveal: Reveal = False,
    ending: Ending = False,
) -> int:
    """Show one dead letter, and what to do about it.

    Its event and recipients, how often it was tried, what ACS said last, whether it may be replayed, and its body.
    """
    settings, now = outside.settings(reach.namespace, ending=ending), outside.now()
    rule = judging.rule(settings)

    async def work(_: asyncio.Event) -> Letter:
        async with outside.informed_queues(settings) as queues:
            return await find(queues, name)

    letter = machine.run(work)
    if reveal:
        outside.trail().write("show", "reveal", number=letter.number, event=str(letter.event_id))
    verdict = rule.judge(letter, now)
    document = full_document(letter, verdict, reveal=reveal)
    if reach.as_json:
        show_json(document)
        return ExitCode.DONE
    console = out()
    lines = [(label, plain(text)) for label, text in story(letter, document, now)]
    lines.append(("Replay", f"{coloured(verdict.advice)}: {plain(masking.show(verdict.why))}"))
    lines.append(("What to do", plain(advice(letter, verdict))))
    for label, text in lines:
        console.print(f"[bold]{label:<12}[/] {text}", soft_wrap=True)
    console.print("[bold]Body[/]")
    for line in document["body"].splitlines():
        console.print(plain(line), soft_wrap=True)
    return ExitCode.DONE
