"""What became of a replay, told later: from the audit trail and the two queues."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from optout_core.outgoing import Queue
from optout_ops.audit import AuditTrail
from optout_ops.exits import OpsError
from optout_ops.letters.letter import read_letter
from optout_ops.queues.protocols import QueuePair
from optout_ops.replay.history import PastReplay, count_sent, read_replays
from optout_ops.replay.tally import Tally
from optout_ops.replay.watcher import count_recipients

#: Replays that are told of at once.
_LAST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayStatus:
    """What is known of one replay.

    Attributes:
        past: What the audit trail tells of it, or None when it does not name it.
        tally: Where its recipients are now.
        unconfirmed: Recipients that were about to be sent, and may have been.
    """

    past: PastReplay | None
    tally: Tally
    unconfirmed: int

    def as_document(self) -> dict[str, object]:
        """Give the status for programs."""
        return self.tally.as_document() | {
            "unconfirmed": self.unconfirmed,
            "known": self.past is not None,
            "at": self.past.at if self.past else None,
            "who": self.past.who if self.past else None,
            "ended": self.past.outcome if self.past else None,
        }


#: Gives how many recipients of a replay the ledger says were applied; None where it cannot be asked.
CountApplied = Callable[[str], Awaitable[int | None]]


async def read_statuses(queues: QueuePair, trail: AuditTrail, count_applied: CountApplied) -> list[ReplayStatus]:
    """Read the statuses of the last replays in this namespace, the newest first, in one pass over the queues.

    Raises:
        Mistake: The audit trail cannot be read.
        OutOfReach: The queues cannot be read.
    """
    lines = list(trail.read())
    newest = list(reversed(read_replays(lines, queues.namespace).values()))[:_LAST]
    sent = {past.id: count_sent(lines, past.id) for past in newest}
    tallies = {name: Tally(replay_id=name, sent=each.confirmed) for name, each in sent.items()}
    if tallies:
        async for message in queues.peek(Queue.OPT_INS):
            for tally in tallies.values():
                tally.add_waiting(message)
        async for message in queues.peek(Queue.DEAD_LETTERS):
            letter = read_letter(message)
            for tally in tallies.values():
                tally.add_dead_letter(letter)
    for name, tally in tallies.items():
        tally.replayed_again = sent[name].left_again
        await confirm_applied(tally, count_applied)
    return [ReplayStatus(past=past, tally=tallies[past.id], unconfirmed=sent[past.id].unconfirmed) for past in newest]


async def confirm_applied(tally: Tally, count_applied: CountApplied) -> None:
    """Ask the ledger which of those that are in neither queue were applied."""
    applied = await count_applied(tally.replay_id)
    if applied is not None:
        tally.confirm(applied)


async def read_status(
    queues: QueuePair, trail: AuditTrail, replay_id: str | None, count_applied: CountApplied
) -> ReplayStatus:
    """Read the status of a replay; None stands for the newest one in this namespace.

    Raises:
        OpsError: The audit trail knows no replay in this namespace, and no id is given.
        Mistake: The audit trail cannot be read.
        OutOfReach: The queues cannot be read.
    """
    replays = read_replays(trail.read(), queues.namespace)
    if replay_id is None and not replays:
        raise OpsError(
            f"the audit trail {trail.path} knows no replay in this namespace; give the replay's id, or OPTOUT_AUDIT"
        )
    name = replay_id or next(reversed(replays))
    sent = count_sent(trail.read(), name)
    tally = await count_recipients(queues, name, sent.confirmed)
    tally.replayed_again = sent.left_again
    await confirm_applied(tally, count_applied)
    return ReplayStatus(past=replays.get(name), tally=tally, unconfirmed=sent.unconfirmed)
