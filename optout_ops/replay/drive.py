"""The second half of a replay: lock, judge again, send, complete, look at the outcome, go on or stop.

Rules:

1. A dead letter leaves its queue only when the broker has confirmed its replacement in the other one.
2. The audit trail says what is about to be sent before it is sent. A process that is killed in between leaves both
   messages; the next run sends the replacement again under the same id, and duplicate detection drops it.
3. A verdict can change while a dead letter waits for its turn, so each is judged again when it is locked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from optout_core.outgoing import Queue
from optout_ops.exits import ExitCode
from optout_ops.letters.letter import Letter, read_letter, recipients_by_replay
from optout_ops.letters.replacement import replacement
from optout_ops.letters.verdicts import ReplayRule
from optout_ops.queues.leftover import Leftover, look_for
from optout_ops.queues.messages import QueueMessage
from optout_ops.queues.pacing import Pace
from optout_ops.queues.protocols import LockingPass, QueuePair
from optout_ops.replay.choose import Choice
from optout_ops.replay.ramp import Ramp
from optout_ops.replay.selection import Selection
from optout_ops.replay.tally import Tally
from optout_ops.replay.watcher import Watcher
from optout_ops.run import Run

#: Dead letters in one transfer. All of them may be sent twice when the process is killed between sending and completing
#: and the queue does not detect duplicates.
BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveOptions:
    """How a replay is driven.

    Attributes:
        rule: What may be replayed.
        ramp: When to look, and when to stop.
        rate: Messages a second; above 0.
        patience: Seconds to wait, at each step of the ramp, for first tries; at least 0.
    """

    rule: ReplayRule
    ramp: Ramp
    rate: float
    patience: float


@dataclass(slots=True, kw_only=True)
class ReplayResult:
    """What a replay did.

    Attributes:
        sent: Dead letters whose replacement the broker has.
        recipients: Recipients in them.
        refusals: Chosen dead letters that could not be replayed any more when they were locked: time had passed.
        rest: Chosen dead letters that were not locked before it was interrupted or stopped.
        leftover: Chosen dead letters that could not be locked, by why.
        overflow: Dead letters that were not chosen and stay locked for up to five minutes.
        returned: Recipients that were in the dead-letter queue again at the last look.
        retrying: Recipients that had failed again and waited for another try at the last look.
        objection: Why the ramp stopped the replay, or None.
        tally: What became of the recipients, or None when the last look did not wait for first tries.
        interrupted: Whether Ctrl-C ended it before its end.
    """

    sent: int = 0
    recipients: int = 0
    refusals: int = 0
    rest: int = 0
    leftover: Leftover = field(default_factory=Leftover)
    overflow: int = 0
    returned: int = 0
    retrying: int = 0
    objection: str | None = None
    tally: Tally | None = None
    interrupted: bool = False

    def exit_code(self, selection: Selection) -> ExitCode:
        """Give the exit code of a replay of this selection."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if self.objection:
            return ExitCode.GUARD
        failures = self.returned or self.retrying or self.refusals or self.leftover.still_there or selection.changed
        return ExitCode.SOME_FAILED if failures else ExitCode.DONE


async def drive(
    choice: Choice, options: DriveOptions, *, queues: QueuePair, run: Run, show: Callable[[Tally], None]
) -> ReplayResult:
    """Replay the chosen dead letters until all are sent, the ramp objects, or the run is stopped.

    Dead letters that are locked when it ends are given back.

    Args:
        choice: What to replay.
        options: How to drive it.
        queues: The queues.
        run: The run, under the id of the replay.
        show: Called with each tally while the replay waits for first tries.

    Raises:
        Mistake: The audit trail cannot be written; dead letters that are not in it were not sent.
        OutOfReach: A queue cannot be reached; nothing is lost.
    """
    recorder, chosen = run.recorder, choice.selection.chosen
    recorder.write(
        "begin",
        namespace=queues.namespace,
        queue=queues.names[Queue.DEAD_LETTERS],
        selection=choice.request,
        chosen=len(chosen),
        rate=options.rate,
        maxFailures=options.ramp.max_failures,
    )
    with recorder.ended() as end:
        watcher = Watcher(queues, recorder.id, patience=options.patience, stop=run.stop, show=show)
        async with queues.locking(chosen) as locking:
            driven = _Drive(
                queues=queues,
                locking=locking,
                watcher=watcher,
                options=options,
                pace=Pace(options.rate),
                run=run,
                chosen=len(chosen),
            )
            result = await driven.to_the_end()
        missing = len(chosen) - locking.completed - result.refusals
        result.overflow = locking.overflow
        result.interrupted = run.stop.is_set() and missing > 0
        if result.interrupted or result.objection:
            result.rest = missing
        else:
            result.leftover = await look_for(queues, chosen, missing, driven.left)
        end["outcome"] = result.exit_code(choice.selection).name.lower()
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drive:
    queues: QueuePair
    locking: LockingPass
    watcher: Watcher
    options: DriveOptions
    pace: Pace
    run: Run
    #: Dead letters to replay.
    chosen: int
    result: ReplayResult = field(default_factory=ReplayResult)
    #: Sequence numbers that were locked and may no longer be replayed.
    left: set[int] = field(default_factory=set)
    #: Sequence numbers whose replacement was sent and that are not completed: their lock was lost.
    uncompleted: set[int] = field(default_factory=set)

    async def to_the_end(self) -> ReplayResult:
        result, ramp, stop = self.result, self.options.ramp, self.run.stop
        until_look = ramp.until_look(0)
        await self.watcher.begin()
        while not stop.is_set() and not result.objection:
            messages = await self.locking.lock(min(BATCH, self.pace.burst, until_look))
            if not messages:
                break
            letters = self._judge(messages)
            await self.pace.wait(len(letters), stop)
            if stop.is_set():
                break
            until_look -= await self._move(letters)
            self.run.advance(result.sent)
            if until_look == 0:
                waits = ramp.waits(result.sent)
                last = result.sent + result.refusals == self.chosen
                result.objection = ramp.objection(await self._look(waits=waits), waited=waits, last=last)
                until_look = ramp.until_look(result.sent)
        if ramp.steps and result.sent and not result.objection and not stop.is_set():
            await self._look(waits=ramp.waits(result.sent))
        return result

    def _judge(self, messages: Sequence[QueueMessage]) -> list[Letter]:
        letters = []
        for letter in map(read_letter, messages):
            if self.options.rule.chooses(self.options.rule.judge(letter, self.run.now())):
                letters.append(letter)
            else:
                self.locking.leave(letter.number)
                self.left.add(letter.number)
                self.result.refusals = len(self.left)
        return letters

    async def _move(self, letters: Sequence[Letter]) -> int:
        # A dead letter whose lock was lost after it was sent comes again: then it is only completed.
        new = [letter for letter in letters if letter.number not in self.uncompleted]
        numbers = [letter.number for letter in new]
        if new:
            recipients = [letter.recipient_count for letter in new]
            self.run.recorder.write("sending", numbers=numbers, recipients=recipients)
            await self.queues.send([replacement(letter, self.run.recorder.id) for letter in new])
            self.uncompleted.update(numbers)
            self.result.sent += len(new)
            self.result.recipients += sum(recipients)
        for letter in letters:
            if await self.locking.complete(letter.number):
                self.uncompleted.discard(letter.number)
        if new:
            self.run.recorder.write("sent", numbers=numbers, earlier=recipients_by_replay(new))
        return len(new)

    async def _look(self, *, waits: bool) -> Tally:
        look = self.watcher.wait_for_first_tries if waits else self.watcher.count_failures
        tally = await look(self.result.recipients)
        self.result.returned, self.result.retrying = tally.returned_recipients, tally.retrying
        self.result.tally = tally if waits else None
        return tally
