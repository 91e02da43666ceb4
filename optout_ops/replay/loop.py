"""A replay from top to bottom: lock, judge once more, send, wait for the broker, complete, look, go on or stop.

Whatever happens between two lines, nothing is lost: a dead letter leaves its queue only when the broker has confirmed
that its replacement is in the other one. What happens in between leaves both, and the next run sends the same id again,
which duplicate detection drops.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from optout_core.messages import Outgoing
from optout_ops.letters.dead_letters import DeadLetter, QueueMessage, read_dead_letter
from optout_ops.letters.verdicts import Rule
from optout_ops.replay.messages import replay
from optout_ops.replay.ramp import Ramp
from optout_ops.replay.tally import Tally

#: Dead letters sent in one transfer; all of them may be sent twice when the process is killed at the wrong moment and
#: duplicate detection is off.
BATCH = 100


class Taker(Protocol):
    """Locks what is chosen, in order, and completes it."""

    async def lock(self, at_most: int) -> list[QueueMessage]:
        """Lock the next ones; none at the end."""

    async def complete(self, number: int) -> bool:
        """Remove one; False when it comes again."""

    def leave(self, number: int) -> None:
        """Leave one where it is."""


class Watcher(Protocol):
    """Looks into the queues."""

    async def begin(self) -> None:
        """Mark where the queues end, before anything is sent."""

    async def look(self, sent: int, *, wait: bool) -> Tally:
        """Count what became of the recipients sent so far: with `wait` when each was tried, else who failed again."""


class Recorder(Protocol):
    """Writes the audit trail."""

    def write(self, step: str, **facts: object) -> None:
        """Write one line, and return when it is on disk."""


@dataclass(slots=True)
class Result:
    """Hold what a replay did.

    Attributes:
        sent: Dead letters that were sent and completed, or sent and still to be completed.
        recipients: Recipients in them.
        turned: Chosen, and refused when it was their turn: time had passed.
        back: Recipients that were back at the last look.
        retrying: Recipients that had failed and waited for another try at the last look.
        stopped: Why a guard stopped it, or None.
        tally: What became of them, or None when nobody waited to see it.
    """

    sent: int = 0
    recipients: int = 0
    turned: int = 0
    back: int = 0
    retrying: int = 0
    stopped: str | None = None
    tally: Tally | None = None


@dataclass(frozen=True, slots=True)
class Replayer:
    """Replay what a pass over the dead letters brings.

    Attributes:
        replay_id: Stamped on everything that is sent.
        rule: Judges each dead letter when it is its turn.
        ramp: Says when to look, and when to stop.
        pace: Waits until so many may be sent; at most `burst` are asked for at once.
        burst: At least 1.
        stop: Set by Ctrl-C; what is locked by then is finished or given back.
        now: Gives the current time; aware.
        progress: Called with the number sent so far.
    """

    replay_id: str
    taker: Taker
    send: Callable[[Sequence[Outgoing]], Awaitable[None]]
    watcher: Watcher
    recorder: Recorder
    rule: Rule
    ramp: Ramp
    pace: Callable[[int], Awaitable[None]]
    burst: int
    stop: asyncio.Event
    now: Callable[[], datetime]
    progress: Callable[[int], None]

    async def run(self) -> Result:
        """Replay until the pass is over, a guard objects, or `stop` is set."""
        result = Result()
        unconfirmed: set[int] = set()
        due = self.ramp.until_look(0)
        await self.watcher.begin()
        while not self.stop.is_set() and not result.stopped:
            messages = await self.taker.lock(min(BATCH, self.burst, due))
            if not messages:
                break
            dead_letters = self._judge(messages, result)
            await self.pace(len(dead_letters))
            if self.stop.is_set():
                break
            due -= await self._move(dead_letters, result, unconfirmed)
            self.progress(result.sent)
            if due == 0:
                tally = await self._look(result)
                result.stopped = self.ramp.objection(tally, waited=self.ramp.waits(result.sent))
                due = self.ramp.until_look(result.sent)
        if self.ramp.steps and result.sent and not result.stopped and not self.stop.is_set():
            await self._look(result)
        return result

    def _judge(self, messages: Sequence[QueueMessage], result: Result) -> list[DeadLetter]:
        wanted = []
        for dead in map(read_dead_letter, messages):
            if self.rule.chooses(self.rule.judge(dead, self.now())):
                wanted.append(dead)
            else:
                self.taker.leave(dead.number)
                result.turned += 1
        return wanted

    async def _move(self, dead_letters: Sequence[DeadLetter], result: Result, unconfirmed: set[int]) -> int:
        new = [dead for dead in dead_letters if dead.number not in unconfirmed]
        if new:
            numbers = [dead.number for dead in new]
            weights = [dead.weight for dead in new]
            self.recorder.write("sending", numbers=numbers, recipients=weights)
            await self.send([replay(dead, self.replay_id) for dead in new])
            unconfirmed.update(numbers)
            result.sent += len(new)
            result.recipients += sum(weights)
        for dead in dead_letters:
            if await self.taker.complete(dead.number):
                unconfirmed.discard(dead.number)
        if new:
            self.recorder.write("sent", numbers=numbers, earlier=earlier_replays(new))
        return len(new)

    async def _look(self, result: Result) -> Tally:
        waits = self.ramp.waits(result.sent)
        tally = await self.watcher.look(result.recipients, wait=waits)
        result.back, result.retrying = tally.back_recipients, tally.retrying
        result.tally = tally if waits else None
        return tally


def earlier_replays(dead_letters: Iterable[DeadLetter]) -> dict[str, int]:
    """Count the recipients that leave the queue now by the replay from which they had come back."""
    earlier: Counter[str] = Counter()
    for dead in dead_letters:
        if dead.lineage.replay_id is not None:
            earlier[dead.lineage.replay_id] += dead.weight
    return earlier
