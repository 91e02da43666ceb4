"""The search for dead letters in the queue, without locking them."""

from collections.abc import AsyncIterator
from datetime import datetime

from optout_core.masking import show
from optout_core.outgoing import Queue
from optout_ops.exits import OpsError
from optout_ops.letters.filters import Filter
from optout_ops.letters.letter import Letter, read_letter
from optout_ops.queues.protocols import Peeks

#: A sequence number has 63 bits; a longer name made of digits is a MessageId or an event id.
_MAX_DIGITS = 18


async def matching(queues: Peeks, wanted: Filter, now: datetime) -> AsyncIterator[Letter]:
    """Yield the dead letters that match a filter, at most `wanted.limit`, in the order of the queue.

    Raises:
        OutOfReach: The queue cannot be read.
    """
    found = 0
    async for message in queues.peek(Queue.DEAD_LETTERS):
        letter = read_letter(message)
        if wanted.matches(letter, now):
            yield letter
            found += 1
            if found == wanted.limit:
                return


async def find(queues: Peeks, name: str) -> Letter:
    """Find a dead letter by sequence number, MessageId or event id; the first in the queue wins.

    Raises:
        OpsError: There is none.
        OutOfReach: The queue cannot be read.
    """
    if name.isascii() and name.isdigit() and len(name) <= _MAX_DIGITS:
        async for message in queues.peek(Queue.DEAD_LETTERS, int(name)):
            if message.sequence_number == int(name):
                return read_letter(message)
            break
    async for message in queues.peek(Queue.DEAD_LETTERS):
        letter = read_letter(message)
        if name in {message.message_id, letter.event_id.raw, str(letter.event_id)}:
            return letter
    raise OpsError(
        f"there is no dead letter {show(name)!r}: it was replayed, purged, or never here; `optout dlq list` shows"
        " all of them"
    )
