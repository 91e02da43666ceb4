"""`optout find`."""

import asyncio
from typing import Annotated

import typer

from optout_core.numbers import Number, read_sender
from optout_ops import machine
from optout_ops.cli.options import Limits, Reach
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import asked, out, say, show_json
from optout_ops.exits import ExitCode, Mistake, OpsError
from optout_ops.health.acs import open_post
from optout_ops.health.check import check
from optout_ops.health.whereabouts import Place, Wanted, acs_sentence, find_places
from optout_ops.queues.waiting import Waiter


def find(
    outside: Outside,
    reach: Reach,
    limits: Limits,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NUMBER|EVENT|-",
            help="A recipient or an event. - reads it from standard input; left out, it is asked for and not shown.",
        ),
    ] = None,
    sender: Annotated[
        str | None,
        typer.Option("--from", metavar="SENDER", help="The word to this sender only; else to every sender found."),
    ] = None,
) -> int:
    """Say where a person's word is.

    Ready, scheduled until when, dead and why, and whether ACS has the person on its opt-out list now. Changes nothing.
    A number that is typed as an argument stays in the history of your shell.
    """
    settings, now = outside.settings(reach.namespace), outside.now()
    wanted = Wanted.read(asked(name, "Number or event"))
    if not wanted.written:
        raise Mistake("there is no number and no event to look for; nothing was asked")
    of_sender = read_sender(sender) if sender else None
    if of_sender is not None and not of_sender.is_clear:
        raise Mistake("--from must be a number with + and country, a short code, or a sender name; nothing was asked")

    async def work(_: asyncio.Event) -> tuple[list[Place], list[str]]:
        async with outside.informed_queues(settings) as queues:
            rule = limits.rule(settings)
            places = [place async for place in find_places(queues, wanted, rule, now)]
        places += await outside.ask_ledger(settings, wanted, {of_sender} if of_sender else None)
        senders = {of_sender} if of_sender else {each for place in places for each in place.senders}
        return places, await _ask_acs(outside, wanted, senders)

    places, words = machine.run(work)
    if reach.as_json:
        show_json({"wanted": str(wanted), "places": [place.as_document() for place in places], "acs": words})
    else:
        for line in (*(place.sentence for place in places), *words):
            out().print(line, markup=False, soft_wrap=True)
        if not places:
            gone = f"{wanted} is in neither queue: what there was is applied, was removed, or never came."
            by_number = wanted.person is None and settings.consent_ledger is not None
            hint = " The ledger is searched by the person's number." if by_number else ""
            out().print(gone + hint, markup=False, soft_wrap=True)
    return ExitCode.DONE if places else ExitCode.SOME_FAILED


async def _ask_acs(outside: Outside, wanted: Wanted, senders: set[Number]) -> list[str]:
    if wanted.person is None:
        return []
    if not senders:
        return ["ACS was not asked: say --from SENDER, since nothing here names one."]
    try:
        settings = outside.settings(None, needs_acs=True)
        async with open_post(settings, Waiter(say)) as post:
            return [
                acs_sentence(each, (await check(post, each, [wanted.person]))[wanted.person])
                for each in sorted(senders, key=str)
            ]
    except OpsError as error:
        return [f"ACS says nothing: {error}."]
