"""One replay as it was ordered: choose, show, ask, do, and write all of it into the audit trail."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from optout_core.messages import Queue
from optout_core.settings import Settings
from optout_ops.audit import Audit, Run
from optout_ops.exits import Exit, Mistake
from optout_ops.letters.dead_letters import DeadLetter, read_dead_letter
from optout_ops.letters.filters import Filter
from optout_ops.letters.verdicts import Rule
from optout_ops.machine import new_run_id
from optout_ops.queues.client import Queues, namespace_of
from optout_ops.queues.pacing import pace
from optout_ops.queues.taking import Take
from optout_ops.replay.history import REPLAY, cut_off, read_runs
from optout_ops.replay.loop import Replayer, Result
from optout_ops.replay.plans import Selection, compare, read_header, read_items
from optout_ops.replay.ramp import Ramp
from optout_ops.replay.tally import Tally
from optout_ops.replay.watcher import ReplayWatcher
from optout_ops.wording import count


class Desk(Protocol):
    """Shows things to the operator, and asks."""

    def show(self, selection: Selection, rule: Rule) -> None:
        """Show what would be replayed and what would not."""

    def ask(self, question: str) -> None:
        """Return when the operator agrees; raise Guarded when not."""

    def watch(self, tally: Tally) -> None:
        """Show what became of those sent so far."""

    def progress(self, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Show a bar, and give what moves it."""


@dataclass(frozen=True, slots=True)
class Order:
    """Hold what a replay is asked to do.

    Attributes:
        settings: Where the queues are.
        rule: What may be replayed.
        ramp: When to look, and when to stop.
        rate: Messages a second; above 0.
        patience: Seconds to wait, at each step of the ramp, for first tries; at least 0.
        wanted: Which dead letters, unless there is a plan.
        plan: The plan to act on, or None.
        dry_run: Show, and stop.
    """

    settings: Settings
    rule: Rule
    ramp: Ramp
    rate: float
    patience: float
    wanted: Filter
    plan: Path | None
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Done:
    """Hold what became of an order.

    Attributes:
        replay_id: Under which it ran, or would have.
        selection: What was chosen.
        result: What was done, or None when nothing was to be.
        left: Chosen, and neither completed nor refused.
        let_go: Not chosen, and locked for a while longer.
        interrupted: Whether Ctrl-C ended it.
        planned_in_vain: Whether there was a plan of which nothing may be sent.
    """

    replay_id: str
    selection: Selection
    result: Result | None = None
    left: int = 0
    let_go: int = 0
    interrupted: bool = False
    planned_in_vain: bool = False

    @property
    def exit(self) -> Exit:
        """Give the exit code."""
        if self.interrupted:
            return Exit.INTERRUPTED
        if self.result is None:
            return Exit.SOME_FAILED if self.selection.changed or self.planned_in_vain else Exit.DONE
        if self.result.stopped:
            return Exit.GUARD
        return (
            Exit.SOME_FAILED
            if self.result.back or self.result.retrying or self.result.turned or self.left or self.selection.changed
            else Exit.DONE
        )


async def carry_out(order: Order, queues: Queues, audit: Audit, desk: Desk, stop: asyncio.Event) -> Done:
    """Replay what was ordered.

    Raises:
        Guarded: The operator did not agree; nothing was changed.
        Mistake: The plan does not do, or the audit trail cannot be written.
        OutOfReach: A queue cannot be reached; nothing is lost.
    """
    namespace, now = namespace_of(order.settings), datetime.now(UTC)
    asked: dict[str, object] = {"filter": order.wanted.as_document(), "plan": None, "fixed": order.rule.fixed}
    if order.plan is None:
        selection = await _choose(order, queues)
        # What was cut off goes on under its id, so that its status stays one.
        replay_id = cut_off(read_runs(audit.read(), namespace), asked, now) or new_run_id()
    else:
        replay_id, selection = await _read_plan(order, order.plan, queues)
        asked["plan"] = replay_id
    desk.show(selection, order.rule)
    chosen = len(selection.chosen)
    if order.dry_run or not chosen:
        return Done(replay_id, selection, planned_in_vain=order.plan is not None and not chosen and not order.dry_run)
    what = f"{count(chosen, 'dead letter')} ({count(selection.recipients, 'recipient')})"
    desk.ask(f"Replay {what} from {order.settings.dead_letter_queue} to {order.settings.opt_in_queue}?")
    run = Run(audit, REPLAY, replay_id)
    run.write(
        "begin",
        namespace=namespace,
        queue=order.settings.dead_letter_queue,
        selection=asked,
        chosen=chosen,
        rate=order.rate,
        maxFailures=order.ramp.share,
    )
    outcome = "failed"
    try:
        done = await _replay(order, queues, selection, (run, desk), stop)
        outcome = done.exit.name.lower()
    finally:
        run.write("end", outcome=outcome)
    return done


async def matching(queues: Queues, wanted: Filter, now: datetime) -> AsyncIterator[DeadLetter]:
    """Yield the dead letters that a filter means, in order and without locking them."""
    left = wanted.limit
    async for message in queues.peek(Queue.DEAD_LETTERS):
        dead = read_dead_letter(message)
        if wanted.matches(dead, now):
            yield dead
            left = None if left is None else left - 1
            if left == 0:
                return


async def _choose(order: Order, queues: Queues) -> Selection:
    selection, now = Selection(), datetime.now(UTC)
    # The limit is one of what is replayed: whatever may never be must not use it up.
    async for dead in matching(queues, replace(order.wanted, limit=None), now):
        selection.take(dead, order.rule, now)
        if len(selection.chosen) == order.wanted.limit:
            break
    return selection


async def _read_plan(order: Order, plan: Path, queues: Queues) -> tuple[str, Selection]:
    try:
        with plan.open(encoding="utf-8") as lines:
            header = read_header(lines)
            if header.queue != order.settings.dead_letter_queue:
                raise Mistake(f"the plan is for the queue {header.queue!r}; set DEAD_LETTER_QUEUE; nothing was sent")
            items = read_items(lines)
            first = next(items, None)
            if first is None:
                return header.replay_id, Selection()
            dead_letters = (
                read_dead_letter(message) async for message in queues.peek(Queue.DEAD_LETTERS, first.sequence_number)
            )
            return header.replay_id, await compare(
                itertools.chain([first], items), dead_letters, order.rule, datetime.now(UTC)
            )
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"{plan} cannot be read ({error}); nothing was sent") from None


async def _replay(
    order: Order, queues: Queues, selection: Selection, heard_by: tuple[Run, Desk], stop: asyncio.Event
) -> Done:
    run, desk = heard_by
    burst, wait = pace(order.rate)
    with desk.progress(len(selection.chosen)) as advance:
        async with Take(await queues.receiver(Queue.DEAD_LETTERS), selection.chosen) as take:
            result = await Replayer(
                replay_id=run.id,
                taker=take,
                send=queues.send,
                watcher=ReplayWatcher(queues, run.id, patience=order.patience, stop=stop, say=desk.watch),
                recorder=run,
                rule=order.rule,
                ramp=order.ramp,
                pace=wait,
                burst=burst,
                stop=stop,
                now=lambda: datetime.now(UTC),
                progress=advance,
            ).run()
    left = len(selection.chosen) - take.completed - result.turned
    return Done(run.id, selection, result, left, take.let_go, stop.is_set() and left > 0)
