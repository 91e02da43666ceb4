"""The sending of events, at a pace, and a look at what the queue then has.

The broker takes a message whose MessageId it knows from the last 24 hours, drops it, and says nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from optout_core.arrivals import moment
from optout_core.masking import show
from optout_core.outgoing import Queue
from optout_ops.changes.examine import EventMessage
from optout_ops.exits import OutOfReach
from optout_ops.queues.pacing import Pace, send_at_pace
from optout_ops.queues.protocols import Peeks, QueuePair
from optout_ops.run import Run

#: Messages looked at for one that was in the queue before: on Azure a second or two.
_MOST_LOOKED_AT = 2_000
#: How long `opt-ins` remembers a MessageId (infra/queues.json).
_REMEMBERED = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the queue shows of messages that were sent.

    Attributes:
        waiting: The broker took them, and they are in the queue.
        repeats: They were in the queue before, or were sent from this machine within a day: the broker dropped them.
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
    trail: Iterable[Mapping[str, object]],
) -> Published:
    """Send messages until all are sent or the run is stopped, and look what the queue has of them.

    Args:
        queues: The queues.
        messages: What to send.
        pace: How fast.
        run: This run.
        trail: The audit trail before it: what was sent from this machine within a day is a repeat.

    Raises:
        OutOfReach: The broker did not take a burst; sending all of them again adds none twice.
    """
    earlier = sent_since(run.now() - _REMEMBERED, trail, queues.namespace)
    run.recorder.write("begin", namespace=queues.namespace, queue=queues.names[Queue.OPT_INS], messages=len(messages))
    outgoing = [each.outgoing for each in messages]
    sent = 0
    last = await _last(queues)
    with run.recorder.ended() as end:
        async for sent in send_at_pace(queues.send, outgoing, pace=pace, stop=run.stop):
            end |= {"sent": sent, "ids": [show(each.message_id) for each in outgoing[:sent]]}
            run.advance(sent)
        run.note_interruption(end)
    return Published(sent, await _look(queues, {each.message_id for each in outgoing[:sent]}, last, earlier))


def sent_since(since: datetime, trail: Iterable[Mapping[str, object]], namespace: str) -> frozenset[str]:
    """Give the MessageIds that were sent to a namespace from this machine, as its audit trail tells.

    Args:
        since: The earliest time; aware.
        trail: The lines of the audit trail.
        namespace: The namespace.
    """
    runs: set[object] = set()
    ids: set[str] = set()
    for line in trail:
        at = moment(line.get("at"))
        if line.get("command") != "send" or at is None or at < since:
            continue
        if line.get("step") == "begin" and line.get("namespace") == namespace:
            runs.add(line.get("run"))
        sent = line.get("ids")
        if line.get("step") == "end" and line.get("run") in runs and isinstance(sent, list):
            ids.update(each for each in sent if isinstance(each, str))
    return frozenset(ids)


async def _last(queues: Peeks) -> int | None:
    try:
        return await queues.tail(Queue.OPT_INS)
    except OutOfReach:
        # A publisher may send and not read. Whatever else is wrong, the sending says.
        return None


async def _look(queues: Peeks, ids: Collection[str], last: int | None, earlier: Collection[str]) -> Seen | None:
    """Look for messages in the queue, of which `last` was the last sequence number before they were sent."""
    if last is None:
        return None
    missing = set(ids)
    try:
        async for message in queues.peek(Queue.OPT_INS, last + 1):
            missing.discard(message.message_id)
        waiting = len(ids) - len(missing)
        missing.difference_update(earlier)
        missing -= await _there_before(queues, missing, last)
    except OutOfReach:
        return None
    return Seen(waiting=waiting, repeats=len(ids) - waiting - len(missing), gone=len(missing))


async def _there_before(queues: Peeks, ids: Collection[str], last: int) -> set[str]:
    found: set[str] = set()
    looked_at = 0
    async for message in queues.peek(Queue.OPT_INS):
        if message.sequence_number > last or looked_at == _MOST_LOOKED_AT or len(found) == len(ids):
            break
        if message.message_id is not None and message.message_id in ids:
            found.add(message.message_id)
        looked_at += 1
    return found
