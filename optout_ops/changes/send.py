"""The sending of events, at a pace, and a look at what the queue then has.

The broker takes a message whose MessageId it knows from the last 24 hours, drops it, and says nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from optout_core.masking import show
from optout_core.outgoing import Queue
from optout_ops.changes.examine import EventMessage
from optout_ops.exits import OutOfReach
from optout_ops.queues.pacing import Pace, send_at_pace
from optout_ops.queues.protocols import Peeks, QueuePair
from optout_ops.run import Run

#: Messages looked at for one that was in the queue before: on Azure a second or two.
_MOST_LOOKED_AT = 2_000


@dataclass(frozen=True, slots=True)
class Seen:
    """What the queue shows of messages that were sent.

    Attributes:
        waiting: The broker took them, and they are in the queue.
        repeats: They were in the queue before, and the broker dropped what was sent.
        gone: They are not in the queue: the function has taken them, or they are repeats of what it took earlier.
    """

    waiting: int
    repeats: int
    gone: int


@dataclass(frozen=True, slots=True)
class Published:
    """What became of the sending.

    Attributes:
        sent: How many messages the broker accepted, from the first on.
        seen: What the queue shows of them; None where it may not be read.
    """

    sent: int
    seen: Seen | None


async def publish(
    queues: QueuePair,
    messages: Sequence[EventMessage],
    *,
    pace: Pace,
    run: Run,
) -> Published:
    """Send messages until all are sent or the run is stopped, and look what the queue has of them.

    Raises:
        OutOfReach: The broker did not take a burst; sending all of them again adds none twice.
    """
    run.recorder.write("begin", namespace=queues.namespace, queue=queues.names[Queue.OPT_INS], messages=len(messages))
    outgoing = [each.outgoing for each in messages]
    sent = 0
    last = await _last(queues)
    with run.recorder.ended() as end:
        async for sent in send_at_pace(queues, outgoing, pace=pace, stop=run.stop):
            end |= {"sent": sent, "ids": [show(each.message_id) for each in outgoing[:sent]]}
            run.advance(sent)
    return Published(sent, await _look(queues, {each.message_id for each in outgoing[:sent]}, last))


async def _last(queues: Peeks) -> int | None:
    try:
        return await queues.tail(Queue.OPT_INS)
    except OutOfReach:
        # A publisher may send and not read. Whatever else is wrong, the sending says.
        return None


async def _look(queues: Peeks, ids: Collection[str], last: int | None) -> Seen | None:
    """Look for messages in the queue, of which `last` was the last sequence number before they were sent."""
    if last is None:
        return None
    missing = set(ids)
    try:
        async for message in queues.peek(Queue.OPT_INS, last + 1):
            missing.discard(message.message_id)
        waiting = len(ids) - len(missing)
        before = await _looked_for(queues, missing, last)
    except OutOfReach:
        return None
    return Seen(waiting=waiting, repeats=before, gone=len(missing) - before)


async def _looked_for(queues: Peeks, ids: Collection[str], last: int) -> int:
    found, looked_at = 0, 0
    async for message in queues.peek(Queue.OPT_INS):
        if message.sequence_number > last or looked_at == _MOST_LOOKED_AT or found == len(ids):
            break
        found += message.message_id in ids
        looked_at += 1
    return found
