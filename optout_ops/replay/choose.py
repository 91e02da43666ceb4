"""The first half of a replay: choose the dead letters, by a filter or by a plan. Nothing is locked or sent."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TextIO

from optout_core.outgoing import Queue
from optout_ops.audit import AuditTrail, still_runs
from optout_ops.exits import ExitCode, Mistake
from optout_ops.letters.filters import Filter
from optout_ops.letters.letter import read_letter
from optout_ops.letters.search import matching
from optout_ops.letters.verdicts import ReplayRule
from optout_ops.machine import new_run_id
from optout_ops.queues.protocols import QueuePair
from optout_ops.replay.history import read_replays, unfinished
from optout_ops.replay.plan import PlanEnd, PlanHeader, PlannedLetter, read_header, read_letters
from optout_ops.replay.selection import Selection, select_planned


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a replay will act on.

    Attributes:
        replay_id: The id under which it runs; that of an earlier run when it continues one.
        selection: The dead letters.
        request: What was asked for, as the audit trail keeps it.
    """

    replay_id: str
    selection: Selection
    request: Mapping[str, object]

    @property
    def exit_code(self) -> ExitCode:
        """Give the exit code when nothing is sent: nothing failed, unless a plan names what is another message now."""
        return ExitCode.SOME_FAILED if self.selection.changed else ExitCode.DONE


async def choose_by_filter(
    queues: QueuePair, wanted: Filter, rule: ReplayRule, *, trail: AuditTrail, now: datetime
) -> Choice:
    """Choose the dead letters that match a filter and may be replayed.

    Raises:
        Mistake: The audit trail cannot be read.
        OutOfReach: The dead letters cannot be read.
    """
    selection = Selection()
    # The limit counts dead letters to replay: those that are found and not chosen must not use it up.
    async for letter in matching(queues, replace(wanted, limit=None)):
        selection.add(letter, rule, now)
    if wanted.limit is not None:
        selection.keep_newest(wanted.limit)
    request = {"filter": wanted.as_document(), "plan": None, "fixed": rule.fixed}
    # The same request continues a replay that was interrupted, under its id: `optout dlq status` then tells of one.
    earlier = unfinished(read_replays(trail.read(), queues.namespace), request, now, still_runs=still_runs)
    return Choice(replay_id=earlier or new_run_id(), selection=selection, request=request)


async def choose_by_plan(queues: QueuePair, plan: Path, rule: ReplayRule, *, now: datetime) -> Choice:
    """Choose the dead letters of a plan that are still in the queue, still the same, and may be replayed.

    Raises:
        Mistake: The plan cannot be read, or is for another queue.
        OutOfReach: The dead letters cannot be read.
    """
    try:
        with plan.open(encoding="utf-8") as lines:
            header = read_header(lines)
            if header.queue != queues.names[Queue.DEAD_LETTERS]:
                raise Mistake(f"the plan is for the queue {header.queue!r}; set DEAD_LETTER_QUEUE; nothing was sent")
            planned = read_letters(lines)
            first = next(planned, None)
            selection = Selection()
            if first is not None:
                messages = queues.peek(Queue.DEAD_LETTERS, first.sequence_number)
                letters = (read_letter(message) async for message in messages)
                selection = await select_planned(itertools.chain([first], planned), letters, rule=rule, now=now)
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"{plan} cannot be read ({error}); nothing was sent") from None
    return Choice(replay_id=header.replay_id, selection=selection, request=_planned(header, rule))


async def write_plan(queues: QueuePair, wanted: Filter, rule: ReplayRule, *, file: TextIO, now: datetime) -> Choice:
    """Write a plan with the verdict on each dead letter that matches a filter.

    Raises:
        OutOfReach: The dead letters cannot be read; the file holds a part of the plan.
    """
    header = PlanHeader(
        replay_id=new_run_id(),
        made_at=now,
        queue=queues.names[Queue.DEAD_LETTERS],
        filter=wanted.as_document(),
    )
    file.write(header.line())
    selection, count = Selection(), 0
    async for letter in matching(queues, wanted):
        selection.add(letter, rule, now)
        file.write(PlannedLetter.of(letter, rule.judge(letter, now)).line())
        count += 1
    file.write(PlanEnd(end=count).line())
    return Choice(replay_id=header.replay_id, selection=selection, request=_planned(header, rule))


def _planned(header: PlanHeader, rule: ReplayRule) -> dict[str, object]:
    return {"filter": {}, "plan": header.replay_id, "fixed": rule.fixed}
