"""An edit: the body of one dead letter is corrected by hand, and sent in place of the dead letter."""

import difflib
import shlex
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from optout_core.masking import mask_body, show
from optout_core.outgoing import Queue
from optout_core.reasons import Replay
from optout_ops.audit import Recorder
from optout_ops.exits import Guarded, OpsError
from optout_ops.letters.letter import Letter, read_letter, recipients_by_replay
from optout_ops.letters.replacement import edited_replacement
from optout_ops.letters.verdicts import ReplayRule
from optout_ops.queues.protocols import QueuePair
from optout_ops.queues.sequence_numbers import SequenceNumbers


def with_body(letter: Letter, body: bytes, *, rule: ReplayRule, now: datetime) -> Letter | None:
    """Give the dead letter with an edited body; None when only blanks at the end differ, which editors add.

    Raises:
        Guarded: The edited dead letter may never be replayed.
    """
    if body.rstrip() == letter.message.body.rstrip():
        return None
    edited = read_letter(replace(letter.message, body=body))
    verdict = rule.judge(edited, now)
    if verdict.advice is Replay.NEVER:
        raise Guarded(f"the edited dead letter may not be sent: {show(verdict.why)}; nothing was changed")
    return edited


def difference(before: bytes, after: bytes) -> Iterator[str]:
    """Yield the lines of a unified diff of two bodies, numbers masked."""
    old, new = (mask_body(body).splitlines() for body in (before, after))
    yield from difflib.unified_diff(old, new, "dead letter", "edited", lineterm="")
    if old == new:
        yield "The difference is in the numbers, which are masked here."


async def send_in_place(queues: QueuePair, letter: Letter, edited: Letter, *, recorder: Recorder) -> str:
    """Send an edited dead letter, and remove the original when the broker has it.

    Returns:
        The MessageId of what was sent, numbers masked.

    Raises:
        OpsError: The original cannot be locked, and nothing was sent; or it could not be removed after sending.
        OutOfReach: A queue cannot be reached.
    """
    outgoing = edited_replacement(edited, recorder.id)
    sent = show(outgoing.message_id)
    async with queues.locking(SequenceNumbers([letter.number])) as locking:
        if not await locking.lock(1):
            raise OpsError(
                f"dead letter {letter.number} is gone, or held by another session; nothing was sent; look with"
                " `optout dlq list`, or try again in five minutes"
            )
        recorder.write(
            "begin", namespace=queues.namespace, queue=queues.names[Queue.DEAD_LETTERS], number=letter.number
        )
        with recorder.ended():
            recorder.write("sending", number=letter.number, message=sent)
            await queues.send([outgoing])
            if not await locking.complete(letter.number):
                raise OpsError(
                    f"sent as {sent}, but dead letter {letter.number} is still there: its lock was lost; remove it with"
                    f" `optout dlq purge --event {shlex.quote(str(letter.event_id))}`"
                )
            recorder.write("sent", number=letter.number, earlier=recipients_by_replay([letter]))
    return sent
