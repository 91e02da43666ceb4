"""What became of chosen dead letters that a pass did not get."""

from collections.abc import Container
from dataclasses import dataclass, field
from datetime import datetime

from optout_core.outgoing import Queue
from optout_ops.queues.messages import MessageState, QueueMessage
from optout_ops.queues.protocols import Peeks
from optout_ops.queues.sequence_numbers import SequenceNumbers


@dataclass(slots=True, kw_only=True)
class Leftover:
    """Chosen dead letters that a pass did not get, by why.

    Attributes:
        gone: They are no longer in the queue: somebody else took them.
        held: They are in the queue, and it did not give them out: another session has them locked.
        held_until: When the last of those locks ends, as far as the queue tells; aware.
        deferred: Sequence numbers of those that were set aside; the queue gives them only to who asks for the number.
        scheduled: Sequence numbers of those whose time has not come.
    """

    gone: int = 0
    held: int = 0
    held_until: datetime | None = None
    deferred: list[int] = field(default_factory=list)
    scheduled: list[int] = field(default_factory=list)

    @property
    def still_there(self) -> int:
        """Count those that are still in the queue."""
        return self.held + len(self.deferred) + len(self.scheduled)

    def takes(self, message: QueueMessage) -> bool:
        """Note a message that the queue does not give out; False for one that it does."""
        if message.state is MessageState.DEFERRED:
            self.deferred.append(message.sequence_number)
        elif message.state is MessageState.SCHEDULED:
            self.scheduled.append(message.sequence_number)
        else:
            return False
        return True

    def as_document(self) -> dict[str, object]:
        """Give the counts for programs."""
        return {
            "gone": self.gone,
            "held": self.held,
            "heldUntil": self.held_until.isoformat() if self.held_until else None,
            "deferred": self.deferred,
            "scheduled": self.scheduled,
        }


async def look_for(queues: Peeks, chosen: SequenceNumbers, missing: int, but: Container[int] = ()) -> Leftover:
    """Look for chosen dead letters that a pass did not get.

    Args:
        queues: Where they are.
        chosen: What the pass was to get.
        missing: How many of them it did not get.
        but: Sequence numbers that it got and left in the queue.

    Raises:
        OutOfReach: The queue cannot be read.
    """
    found = Leftover()
    if not missing:
        return found
    async for message in queues.peek(Queue.DEAD_LETTERS, chosen.first):
        number = message.sequence_number
        if number > chosen.last:
            break
        if number not in chosen or number in but:
            continue
        if not found.takes(message):
            found.held += 1
            if message.locked_until is not None:
                found.held_until = max(message.locked_until, found.held_until or message.locked_until)
    found.gone = max(0, missing - found.still_there)
    return found
