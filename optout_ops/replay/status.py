"""What became of a replay, told later: from the audit trail and the two queues."""

from dataclasses import dataclass

from optout_ops.audit import AuditTrail
from optout_ops.exits import OpsError
from optout_ops.queues.protocols import QueuePair
from optout_ops.replay.history import PastReplay, count_sent, read_replays
from optout_ops.replay.tally import Tally
from optout_ops.replay.watcher import count_recipients


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


async def read_status(queues: QueuePair, trail: AuditTrail, replay_id: str | None) -> ReplayStatus:
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
    return ReplayStatus(past=replays.get(name), tally=tally, unconfirmed=sent.unconfirmed)
