"""`optout dlq replay`."""

import asyncio
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from optout_core.masking import show
from optout_ops import machine
from optout_ops.cli.options import Judging, Note, Rate, Reach, Which, Yes
from optout_ops.cli.outcome import leftover_lines, selection_lines, show_tally
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import confirm, out, say, say_stopping, show_json
from optout_ops.exits import Mistake
from optout_ops.replay.choose import Choice, choose_by_filter, choose_by_plan
from optout_ops.replay.drive import DriveOptions, ReplayResult, drive
from optout_ops.replay.history import REPLAY, Session, last_session
from optout_ops.replay.ramp import STEPS, Ramp
from optout_ops.replay.status import CountApplied, confirm_applied
from optout_ops.replay.tally import Tally
from optout_ops.wording import count


def replay(
    outside: Outside,
    reach: Reach,
    which: Which,
    judging: Judging,
    plan: Annotated[Path | None, typer.Argument(metavar="PLAN", help="Act on exactly this plan.")] = None,
    rate: Rate = 100.0,
    max_failures: Annotated[
        float,
        typer.Option(
            "--max-failures",
            metavar="SHARE",
            min=0,
            max=1,
            help="Stop when more than this share of the recipients fails again.",
        ),
    ] = 0.1,
    no_ramp: Annotated[
        bool, typer.Option("--no-ramp", help="Send all at once, not 1, 10, 100 and each time wait for the first tries.")
    ] = False,
    patience: Annotated[
        float,
        typer.Option(
            "--patience", metavar="SECONDS", min=0, help="Seconds to wait for first tries at each step of the ramp."
        ),
    ] = 60.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the dead letters to replay, and stop.")] = False,
    yes: Yes = False,
    note: Note = None,
) -> int:
    """Send dead letters back to the queue.

    Each is removed only when the broker has its replacement. Without a plan the filters choose. What would be replayed
    is shown, and you are asked.

    Ctrl-C leaves nothing half done, and the same command goes on where it stopped. Message ids are made from the dead
    letter, so the broker drops a message that is sent twice, as long as the queue detects duplicates (24 hours).
    Without duplicate detection a killed process may leave up to 100 messages that are delivered twice; opting in twice
    is harmless.

    The queue is passed over once, however deep it is. Service Bus gives out messages only in order, so all dead letters
    before the last chosen one are locked until the pass is over. They keep their place and their delivery count.
    Beyond 10,000 of them, or when the process is killed, the locks expire within five minutes instead, and the delivery
    count rises by one for every five minutes of the pass.
    """
    settings, now = outside.settings(reach.namespace), outside.now()
    if plan is not None and which != Which():
        raise Mistake("a plan names the dead letters itself: leave the filters out, or the plan; nothing was sent")
    wanted, rule = which.filter(now), judging.rule(settings)
    options = DriveOptions(rule=rule, ramp=Ramp(max_failures, () if no_ramp else STEPS), rate=rate, patience=patience)

    session: Session | None = None

    async def work(stop: asyncio.Event) -> tuple[Choice, ReplayResult | None]:
        nonlocal session
        async with outside.informed_queues(settings) as queues:
            if plan is None:
                choice = await choose_by_filter(queues, wanted, rule, trail=outside.trail(), now=now)
            else:
                choice = await choose_by_plan(queues, plan, rule, now=now)
            for line in selection_lines(choice.selection, rule):
                say(line)
            chosen = len(choice.selection.chosen)
            if dry_run or not chosen:
                return choice, None
            letters = f"{count(chosen, 'dead letter')} ({count(choice.selection.recipient_count, 'recipient')})"
            confirm(f"Replay {letters} from {settings.dead_letter_queue} to {settings.opt_in_queue}?", yes=yes)
            session = last_session(outside.trail().read(), queues.namespace, now)
            with outside.run(REPLAY, choice.replay_id, note=note, doing="replaying", total=chosen, stop=stop) as run:
                result = await drive(choice, options, queues=queues, run=run, show=lambda tally: run.note(_told(tally)))
                await _confirm(result, functools.partial(outside.count_applied, settings))
            return choice, result

    choice, result = machine.run(work, stopping=say_stopping)
    if reach.as_json:
        show_json(_as_document(choice, result))
    elif result is None:
        out().print("Nothing was sent.")
    else:
        for line in _result_lines(choice, result, session):
            out().print(show(line), markup=False, soft_wrap=True)
        if result.tally is not None:
            show_tally(result.tally, knows_sent=True)
        out().print(f"What becomes of them: optout dlq status {choice.replay_id}", markup=False)
    return choice.exit_code if result is None else result.exit_code(choice.selection)


async def _confirm(result: ReplayResult, count_applied: CountApplied) -> None:
    if result.tally is not None:
        await confirm_applied(result.tally, count_applied)


def _told(tally: Tally) -> str:
    return (
        f"{count(tally.sent, 'recipient')} sent: {tally.gone:,} gone, {tally.untried:,} not yet tried,"
        f" {tally.retrying:,} wait for another try, {tally.returned_recipients:,} back"
    )


def _result_lines(choice: Choice, result: ReplayResult, session: Session | None) -> Iterator[str]:
    sent = f"{count(result.sent, 'dead letter')} with {count(result.recipients, 'recipient')}"
    yield f"Replay {choice.replay_id}: {sent} sent."
    if result.objection:
        yield f"Stopped: {result.objection} All others are still dead letters; nothing is lost."
    if result.refusals:
        yield f"{result.refusals:,} were left: they may no longer be replayed, since time has passed."
    if result.interrupted:
        yield "Interrupted with nothing half done. Run the same command again to go on."
    yield from leftover_lines(result.leftover, session)
    if result.overflow:
        yield (f"{result.overflow:,} that were not chosen stay locked for up to five minutes, and keep their place.")


def _as_document(choice: Choice, result: ReplayResult | None) -> dict[str, Any]:
    document: dict[str, Any] = {"replay": choice.replay_id} | choice.selection.as_document()
    if result is None:
        return document | {"sent": 0}
    return document | {
        "sent": result.sent,
        "sentRecipients": result.recipients,
        "turned": result.refusals,
        "left": result.rest + result.leftover.still_there,
        "notTaken": result.leftover.as_document(),
        "letGo": result.overflow,
        "stopped": result.objection,
        "interrupted": result.interrupted,
        "outcome": result.tally.as_document() if result.tally else None,
    }
