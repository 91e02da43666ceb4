"""What became of the dead letters of one replay, told from the two queues alone. Pure.

A replayed message carries its replay's id, and so do its retries and the dead letters it becomes. Whatever is in
neither queue any more was applied. Read `opt-ins` before the dead letters: the function sends a dead letter before it
completes the message, so nothing can slip through between the two looks.
"""

from collections import Counter
from dataclasses import dataclass, field

from optout_core import arrivals
from optout_ops.letters.dead_letters import REPLAY_OF, DeadLetter, QueueMessage


@dataclass(slots=True)
class Tally:
    """Count the recipients of one replay by where they are now.

    Attributes:
        replay_id: Which replay.
        sent: Recipients sent.
        untried: Still in the queue as they were sent.
        retrying: Failed at least once more and wait for their next try.
        back: In the dead-letter queue again, by reason code.
        replayed_again: Were back, and left with a later replay or a purge.
    """

    replay_id: str
    sent: int = 0
    untried: int = 0
    retrying: int = 0
    back: Counter[str] = field(default_factory=Counter)
    replayed_again: int = 0
    _seen: set[str] = field(default_factory=set, repr=False)

    @property
    def back_recipients(self) -> int:
        """Count those that are back."""
        return self.back.total()

    @property
    def applied(self) -> int:
        """Count those that are nowhere any more: applied."""
        return max(0, self.sent - self.untried - self.retrying - self.back_recipients - self.replayed_again)

    def see_waiting(self, message: QueueMessage) -> None:
        """Take in a message of the queue `opt-ins`."""
        if not self._is_mine(message):
            return
        if REPLAY_OF in message.properties:
            self.untried += weight_of(message)
        else:
            self.retrying += weight_of(message)

    def see_dead(self, dead: DeadLetter) -> None:
        """Take in a message of the dead-letter queue."""
        if self._is_mine(dead.message):
            self.back[dead.code] += dead.weight

    def failures(self) -> str:
        """Say what failed, most frequent first, such as `9 RecipientRejected, 1 wait for another try`."""
        said = [f"{number:,} {code or 'without a reason'}" for code, number in self.back.most_common()]
        return ", ".join([*said, *([f"{self.retrying:,} wait for another try"] if self.retrying else [])])

    def as_document(self) -> dict[str, object]:
        """Give the counts for programs."""
        return {
            "replay": self.replay_id,
            "sent": self.sent,
            "applied": self.applied,
            "untried": self.untried,
            "retrying": self.retrying,
            "back": dict(self.back.most_common()),
            "replayedAgain": self.replayed_again,
        }

    def _is_mine(self, message: QueueMessage) -> bool:
        if message.properties.get(arrivals.REPLAY_ID) != self.replay_id:
            return False
        # A scheduled message that falls due while one looks is met twice, under two numbers.
        if message.message_id in self._seen:
            return False
        self._seen.add(message.message_id or "")
        return True


def weight_of(message: QueueMessage) -> int:
    """Count the recipients of a message of the queue `opt-ins`, by its properties; one where they do not say."""
    recipients = message.properties.get(arrivals.RECIPIENTS)
    return recipients if isinstance(recipients, int) else 1
