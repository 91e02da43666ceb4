"""The tally of one replay: what became of its recipients, read from the two queues, and from the ledger. Pure.

A replayed message carries the id of its replay, and so do its retries and the dead letters that come of it. A recipient
that is in neither queue was applied where the ledger says so, else it is gone: applied, or taken away by somebody, or
dropped by the broker as a duplicate.
Read `opt-ins` before the dead letters: the function sends a dead letter before it
completes the message, so a recipient that fails between the two reads is seen in one of them.
"""

from collections import Counter
from dataclasses import dataclass, field

from optout_core import properties
from optout_ops.letters.letter import REPLAY_OF, Letter
from optout_ops.queues.messages import QueueMessage


@dataclass(slots=True, kw_only=True)
class Tally:
    """The recipients of one replay, counted by where they are now.

    Attributes:
        replay_id: The replay.
        sent: Recipients sent.
        untried: Recipients in messages that the function has not tried yet.
        retrying: Recipients that failed again at least once and wait for their next try.
        returned: Recipients in the dead-letter queue again, by reason code.
        applied: Recipients of whom the ledger says that they were applied; None where it cannot be asked.
        replayed_again: Recipients that had returned, and left with a later replay or a purge.
    """

    replay_id: str
    sent: int = 0
    untried: int = 0
    retrying: int = 0
    returned: Counter[str] = field(default_factory=Counter)
    applied: int | None = None
    replayed_again: int = 0
    _seen: set[str] = field(default_factory=set, repr=False)

    @property
    def returned_recipients(self) -> int:
        """Count the recipients that are in the dead-letter queue again."""
        return self.returned.total()

    @property
    def gone(self) -> int:
        """Count the recipients that are in neither queue, and of whom nobody has recorded what became of them."""
        seen = self.untried + self.retrying + self.returned_recipients + self.replayed_again + (self.applied or 0)
        return max(0, self.sent - seen)

    def confirm(self, applied: int) -> None:
        """Take over how many the ledger says were applied; one that was seen in a queue a moment ago is not."""
        elsewhere = self.untried + self.retrying + self.returned_recipients + self.replayed_again
        self.applied = min(applied, max(0, self.sent - elsewhere)) if self.sent else applied

    def add_waiting(self, message: QueueMessage) -> None:
        """Count a message of the queue `opt-ins`, when it is of this replay."""
        if not self._is_new(message):
            return
        if REPLAY_OF in message.properties:
            self.untried += recipients_of(message)
        else:
            self.retrying += recipients_of(message)

    def add_dead_letter(self, letter: Letter) -> None:
        """Count a dead letter, when it is of this replay."""
        if self._is_new(letter.message):
            self.returned[letter.code] += letter.recipient_count

    def failures(self) -> str:
        """Say how recipients failed, such as `9 RecipientRejected, 1 wait for another try`; most frequent first."""
        codes = [f"{number:,} {code or 'without a reason'}" for code, number in self.returned.most_common()]
        return ", ".join([*codes, *([f"{self.retrying:,} wait for another try"] if self.retrying else [])])

    def as_document(self) -> dict[str, object]:
        """Give the counts for programs."""
        return {
            "replay": self.replay_id,
            "sent": self.sent,
            "applied": self.applied,
            "gone": self.gone,
            "untried": self.untried,
            "retrying": self.retrying,
            "back": dict(self.returned.most_common()),
            "replayedAgain": self.replayed_again,
        }

    def _is_new(self, message: QueueMessage) -> bool:
        if message.properties.get(properties.REPLAY_ID) != self.replay_id:
            return False
        # A scheduled message gets a new sequence number when it falls due, so one peek can return it twice.
        if message.message_id in self._seen:
            return False
        self._seen.add(message.message_id or "")
        return True


def recipients_of(message: QueueMessage) -> int:
    """Count the recipients of a message of the queue `opt-ins` by its property `optout-recipients`; 1 without it."""
    recipients = message.properties.get(properties.RECIPIENTS)
    return recipients if isinstance(recipients, int) else 1
