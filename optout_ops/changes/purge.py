"""A purge: archive the dead letters that match a filter, then remove exactly those."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from optout_core.masking import show
from optout_core.numbers import read_number
from optout_core.outgoing import Queue
from optout_ops.exits import Guarded, Mistake, OpsError
from optout_ops.letters import archive
from optout_ops.letters.filters import Filter
from optout_ops.letters.letter import read_letter, recipients_by_replay
from optout_ops.letters.search import matching
from optout_ops.queues.leftover import Leftover
from optout_ops.queues.protocols import Peeks, QueuePair
from optout_ops.queues.sequence_numbers import SequenceNumbers
from optout_ops.run import Run
from optout_ops.wording import count

#: Dead letters locked at once, and named in one line of the audit trail.
_BATCH = 100
#: Digits that a number must have to name a person.
_DIGITS = 7


@dataclass(frozen=True, slots=True)
class Doomed:
    """The dead letters to remove.

    Attributes:
        numbers: Their sequence numbers.
        reasons: How many have which reason code.
        left: Those that match and that the queue does not give out.
    """

    numbers: SequenceNumbers
    reasons: Counter[str]
    left: Leftover

    def described(self) -> str:
        """Say which they are, such as `8 RecipientRejected, 2 (none)`."""
        return ", ".join(f"{number:,} {show(code) or '(none)'}" for code, number in self.reasons.most_common())


async def choose(queues: Peeks, wanted: Filter, *, file: TextIO, stop: asyncio.Event) -> Doomed:
    """Choose the dead letters to remove, and archive each in full; nothing is locked.

    What is deferred or scheduled cannot be taken: it is neither chosen nor archived.

    Args:
        queues: Where the dead letters are.
        wanted: Which of them.
        file: The archive.
        stop: Ends the choosing when it is set.

    Raises:
        Mistake: A recipient is named by so few digits that they may stand in any text.
        OpsError: No dead letter matches.
        KeyboardInterrupt: `stop` was set.
        OutOfReach: The dead letters cannot be read.
    """
    if wanted.to is not None and len(read_number(wanted.to).digits) < _DIGITS:
        raise Mistake(f"--to needs at least {_DIGITS} digits here: fewer stand in many texts; nothing was removed")
    chosen = Doomed(SequenceNumbers(), Counter(), Leftover())
    async for letter in matching(queues, wanted):
        if stop.is_set():
            raise KeyboardInterrupt
        if chosen.left.takes(letter.message):
            continue
        chosen.numbers.append(letter.number)
        chosen.reasons[letter.code] += 1
        file.write(archive.write(letter.message, reveal=True))
    if not len(chosen.numbers) and not chosen.left.still_there:
        raise OpsError("there are no such dead letters: nothing was removed")
    return chosen


def check_confirmation(chosen: int, confirmation: str) -> None:
    """Check the words of `--confirm` against the number of chosen dead letters.

    Raises:
        Guarded: They are not `purge` and this number.
    """
    if confirmation != words(chosen):
        raise Guarded(f"--confirm says {confirmation!r}, and {count(chosen, 'dead letter')} match: nothing was removed")


def words(chosen: int) -> str:
    """Give the words that confirm a purge of so many dead letters."""
    return f"purge {chosen}"


async def remove(
    queues: QueuePair,
    chosen: SequenceNumbers,
    *,
    facts: Mapping[str, object],
    run: Run,
) -> int:
    """Remove the chosen dead letters, until all are removed or the run is stopped.

    Args:
        queues: Where the dead letters are.
        chosen: Their sequence numbers; a dead letter that came later is not touched.
        facts: What the audit trail should say of the purge: filter and archive.
        run: The run; each batch is recorded before it is removed.

    Returns:
        How many were removed.

    Raises:
        Mistake: The audit trail cannot be written; dead letters that are not in it were not removed.
        OutOfReach: The queue cannot be reached.
    """
    run.recorder.write(
        "begin",
        namespace=queues.namespace,
        queue=queues.names[Queue.DEAD_LETTERS],
        chosen=len(chosen),
        **facts,
    )
    with run.recorder.ended() as end:
        async with queues.locking(chosen) as locking:
            while not run.stop.is_set() and (messages := await locking.lock(_BATCH)):
                letters = [read_letter(message) for message in messages]
                numbers = [letter.number for letter in letters]
                run.recorder.write("removing", numbers=numbers, earlier=recipients_by_replay(letters))
                for number in numbers:
                    await locking.complete(number)
                end["removed"] = locking.completed
                run.advance(locking.completed)
            run.note_interruption(end)
    return locking.completed
