"""The search for dead letters in the queue, without locking them."""

from collections import deque
from collections.abc import AsyncIterator

from optout_core.masking import show
from optout_core.outgoing import Queue
from optout_ops.exits import OpsError
from optout_ops.letters.filters import Filter
from optout_ops.letters.letter import Letter, read_letter
from optout_ops.queues.protocols import Peeks

#: A sequence number has 63 bits; a longer name made of digits is a MessageId or an event id.
_MAX_DIGITS = 18


async def matching(queues: Peeks, wanted: Filter) -> AsyncIterator[Letter]:
    """Yield the dead letters that match a filter, in the order of the queue; with a limit only the newest of them.

    Raises:
        OutOfReach: The queue cannot be read.
    """
    newest: deque[Letter] = deque(maxlen=wanted.limit or 0)
    first = min(wanted.numbers, default=1)
    async for message in queues.peek(Queue.DEAD_LETTERS, first):
        if wanted.numbers and message.sequence_number > max(wanted.numbers):
            break
        letter = read_letter(message)
        if not wanted.matches(letter):
            continue
        if wanted.limit is None:
            yield letter
        else:
            newest.append(letter)
    for letter in newest:
        yield letter


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
