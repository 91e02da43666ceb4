"""`optout dlq plan`, `replay` and `status`."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from optout_core.numbers import mask_text
from optout_core.reasons import Replay
from optout_ops import machine
from optout_ops.audit import Audit
from optout_ops.cli.options import Judging, Rate, Reach, Which, Yes, command
from optout_ops.cli.terminal import advance, confirm, out, plain, progress, say, show_json, table
from optout_ops.exits import Exit, Mistake, OpsError, OutOfReach
from optout_ops.letters.verdicts import Rule
from optout_ops.queues.client import Queues, namespace_of
from optout_ops.replay.history import count_sent, read_runs
from optout_ops.replay.orders import Done, Order, carry_out, matching
from optout_ops.replay.plans import Header, Item, Selection
from optout_ops.replay.ramp import STEPS, Ramp
from optout_ops.replay.tally import Tally
from optout_ops.replay.watcher import tally
from optout_ops.wording import count


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "plan")(plan)
    command(app, "replay")(replay)
    command(app, "status")(status)


def plan(
    reach: Reach,
    which: Which,
    judging: Judging,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the plan is written.")],
) -> int:
    """Write down exactly what a replay would act on, with a verdict for each dead letter; sends nothing.

    The plan is JSON Lines. Remove the lines of what is not to be replayed, keep the order and the first line.
    """
    settings = machine.read_settings(os.environ, reach.namespace)
    wanted, rule, now = which.filter(), judging.rule(settings.opt_in_max_age), datetime.now(UTC)
    header = Header(
        replay_id=machine.new_run_id(),
        made_at=now,
        queue=settings.dead_letter_queue,
        filter=wanted.as_document(),
    )

    async def work(_: asyncio.Event) -> Selection:
        selection = Selection()
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(header.line())
                async with Queues(settings) as queues:
                    async for dead in matching(queues, wanted, now):
                        file.write(Item.of(dead, selection.take(dead, rule, now)).line())
        except OSError as error:
            raise Mistake(f"{output}: {error.strerror}; nothing was touched; name another file") from None
        return selection

    try:
        selection = machine.run(work)
    except OutOfReach:
        # Half a plan looks like a whole one.
        output.unlink()
        raise
    if reach.as_json:
        show_json({"replay": header.replay_id, "plan": str(output)} | selection.as_document())
    else:
        for line in _selection_lines(selection, rule):
            out().print(line, markup=False, soft_wrap=True)
        fixed = " --fixed" if rule.fixed else ""
        out().print(f"Plan written to {output}. Next: optout dlq replay {output}{fixed}", markup=False, soft_wrap=True)
    return Exit.DONE


def replay(
    reach: Reach,
    which: Which,
    judging: Judging,
    plan: Annotated[Path | None, typer.Argument(metavar="[PLAN]", help="Act on exactly this plan.")] = None,
    rate: Rate = 100.0,
    max_failures: Annotated[
        float,
        typer.Option(
            "--max-failures", min=0, max=1, help="Stop when more than this share of the recipients fails again."
        ),
    ] = 0.1,
    ramp: Annotated[
        bool, typer.Option("--ramp/--no-ramp", help="Send 1, 10, 100, and look each time what became of them.")
    ] = True,
    patience: Annotated[
        float, typer.Option("--patience", min=0, help="Seconds to wait, at each step of the ramp, for first tries.")
    ] = 60.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and stop.")] = False,
    yes: Yes = False,
) -> int:
    """Send dead letters back to the queue, and remove each only when the broker has its replacement.

    Without a plan, the filters choose; what would be done is shown, and asked. Ctrl-C leaves nothing half done, and the
    same command goes on where it stopped: ids are made from the dead letter, so what was sent and not yet removed is
    not sent twice while the queue detects duplicates (24 hours). Without duplicate detection a process that is killed
    may leave up to 100 messages that come twice; opting in twice is harmless.

    The pass over the queue happens once, however deep it is. Service Bus gives out messages only in order, so what lies
    before the last chosen dead letter is locked until the pass is over. It keeps its place, and its delivery count too,
    except beyond 10,000 of them: those are locked for up to five minutes more and count a delivery for every five
    minutes of the pass, as do all when the process is killed.
    """
    if plan is not None and which != Which():
        raise Mistake("a plan says exactly what is meant: leave the filters out, or the plan; nothing was sent")
    settings = machine.read_settings(os.environ, reach.namespace)
    order = Order(
        settings,
        judging.rule(settings.opt_in_max_age),
        Ramp(max_failures, STEPS if ramp else ()),
        rate,
        patience,
        which.filter(),
        plan,
        dry_run,
    )

    async def work(stop: asyncio.Event) -> Done:
        async with Queues(settings) as queues:
            return await carry_out(order, queues, Audit(machine.audit_path()), _Desk(yes=yes), stop)

    done = machine.run(work, changes=True)
    if reach.as_json:
        show_json(_as_document(done))
    else:
        _show_done(done)
    return done.exit


def status(
    reach: Reach,
    replay_id: Annotated[str | None, typer.Argument(metavar="[REPLAY-ID]", help="The newest when left out.")] = None,
) -> int:
    """Say what became of a replay: how many were applied, wait, or are back and why.

    How many were sent is in the audit trail of the machine that replayed; the rest is read from the two queues.
    """
    settings = machine.read_settings(os.environ, reach.namespace)
    audit = Audit(machine.audit_path())
    runs = read_runs(audit.read(), namespace_of(settings))
    if replay_id is None and not runs:
        raise OpsError(
            f"the audit trail {audit.path} knows no replay in this namespace; give the replay's id, or OPTOUT_AUDIT"
        )
    name = replay_id or next(reversed(runs))
    run = runs.get(name)
    sent = count_sent(audit.read(), name)
    if run is None and replay_id is not None and not sent.confirmed:
        say(f"The audit trail {audit.path} knows no replay {replay_id} in this namespace; we look into the queues.")

    async def work(_: asyncio.Event) -> Tally:
        async with Queues(settings) as queues:
            return await tally(queues, name, sent.confirmed)

    counted = machine.run(work)
    counted.replayed_again = sent.left_again
    document = counted.as_document() | {
        "unconfirmed": sent.unconfirmed,
        "known": run is not None,
        "at": run.at if run else None,
        "who": run.who if run else None,
        "ended": run.ended if run else None,
    }
    if reach.as_json:
        show_json(document)
    else:
        _show_tally(counted, known=run is not None)
        if sent.unconfirmed:
            out().print(
                f"{count(sent.unconfirmed, 'recipient')} more were about to be sent, and may have been: run the same"
                " command again, which sends none of them twice.",
                soft_wrap=True,
            )
        elif run is not None and run.ended in {None, "failed"}:
            out().print("This replay is running, or was cut off: run the same command again to finish it.")
    return Exit.SOME_FAILED if counted.back_recipients else Exit.DONE


class _Desk:
    """The operator's terminal; what is not a result goes to standard error."""

    def __init__(self, *, yes: bool) -> None:
        self._yes = yes

    def show(self, selection: Selection, rule: Rule) -> None:
        for line in _selection_lines(selection, rule):
            say(line)

    def ask(self, question: str) -> None:
        confirm(question, yes=self._yes)

    def watch(self, tally: Tally) -> None:
        say(
            f"{tally.sent:,} sent: {tally.applied:,} applied, {tally.untried:,} not yet tried,"
            f" {tally.retrying:,} wait for another try, {tally.back_recipients:,} back"
        )

    @contextmanager
    def progress(self, total: int) -> Iterator[Callable[[int], None]]:
        with progress("replaying", total) as bar:
            yield lambda sent: advance(bar, sent)


def _selection_lines(selection: Selection, rule: Rule) -> list[str]:
    lines = [
        f"{count(len(selection.chosen), 'dead letter')} with {count(selection.recipients, 'recipient')} to replay."
    ]
    for verdict in (Replay.AFTER_A_FIX, Replay.NEVER):
        codes = ", ".join(
            f"{number:,} {code or '(none)'}"
            for (replay, code), number in selection.verdicts.most_common()
            if replay is verdict and not (rule.fixed and verdict is Replay.AFTER_A_FIX)
        )
        if codes:
            hint = "; --fixed replays them" if verdict is Replay.AFTER_A_FIX else "; `optout dlq show` says why"
            lines.append(f"Left where they are, {verdict}: {codes}{hint}.")
    if selection.gone or selection.changed:
        lines.append(
            f"Drift since the plan: {selection.gone:,} are no longer in the queue, {selection.changed:,} are another"
            " message now; neither is touched."
        )
    return lines


def _show_done(done: Done) -> None:
    result, console = done.result, out()
    if result is None:
        console.print("Nothing was sent.")
        return
    sent = f"{count(result.sent, 'dead letter')} with {count(result.recipients, 'recipient')}"
    lines = [f"Replay {done.replay_id}: {sent} sent."]
    if result.stopped:
        lines.append(f"Stopped: {result.stopped} What was not sent is still a dead letter; nothing is lost.")
    if result.turned:
        lines.append(f"{result.turned:,} were left: they may no longer be replayed, since time has passed.")
    if done.interrupted:
        lines.append("Interrupted with nothing half done. Run the same command again to go on.")
    elif done.left and not result.stopped:
        lines.append(
            f"{done.left:,} could not be taken: another session holds them, perhaps one that was cut off. They come"
            " free within five minutes: run the same command again then."
        )
    if done.let_go:
        lines.append(f"{done.let_go:,} that were not chosen stay locked for up to five minutes, and keep their place.")
    for line in lines:
        console.print(mask_text(line), markup=False, soft_wrap=True)
    if result.tally is not None:
        _show_tally(result.tally, known=True)
    console.print(f"What becomes of them: optout dlq status {done.replay_id}", markup=False)


def _show_tally(counted: Tally, *, known: bool) -> None:
    made = table("", ">recipients", "", show_header=False)
    made.add_row(
        "sent", f"{counted.sent:,}" if known else "?", "" if known else "this machine's audit trail does not know"
    )
    made.add_row("applied", f"{counted.applied:,}" if known else "?", "in neither queue any more")
    made.add_row("not yet tried", f"{counted.untried:,}", "")
    made.add_row("retrying", f"{counted.retrying:,}", "failed again, wait for another try")
    if counted.replayed_again:
        made.add_row("left again", f"{counted.replayed_again:,}", "were back, and were replayed again or purged")
    for code, number in counted.back.most_common():
        made.add_row("[red]back[/]", f"{number:,}", plain(mask_text(code)) or "(none)")
    out().print(made)


def _as_document(done: Done) -> dict[str, Any]:
    result = done.result
    document: dict[str, Any] = {"replay": done.replay_id} | done.selection.as_document()
    if result is None:
        return document | {"sent": 0}
    return document | {
        "sent": result.sent,
        "sentRecipients": result.recipients,
        "turned": result.turned,
        "left": done.left,
        "letGo": done.let_go,
        "stopped": result.stopped,
        "interrupted": done.interrupted,
        "outcome": result.tally.as_document() if result.tally else None,
    }
