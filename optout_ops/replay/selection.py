"""The dead letters that a replay acts on: chosen by a rule, or by a plan held against the queue. Pure."""

from array import array
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from optout_core.reasons import Replay
from optout_ops.letters.bursts import Bursts
from optout_ops.letters.letter import Letter
from optout_ops.letters.verdicts import ReplayRule
from optout_ops.queues.sequence_numbers import SequenceNumbers
from optout_ops.replay.plan import PlannedLetter


@dataclass(slots=True, kw_only=True)
class Selection:
    """The dead letters that a replay acts on, in 12 bytes each, and the verdicts on all that were looked at.

    Attributes:
        chosen: Their sequence numbers.
        recipients: Recipients in each of them.
        verdicts: All dead letters that the filter or the plan names, counted by advice and reason code.
        gone: Dead letters of the plan that are no longer in the queue.
        changed: Dead letters of the plan whose sequence number is another message's now.
        bursts: Those that died together.
    """

    chosen: SequenceNumbers = field(default_factory=SequenceNumbers)
    recipients: "array[int]" = field(default_factory=lambda: array("I"))
    verdicts: Counter[tuple[Replay, str]] = field(default_factory=Counter)
    gone: int = 0
    changed: int = 0
    bursts: Bursts = field(default_factory=Bursts)

    def add(self, letter: Letter, rule: ReplayRule, now: datetime) -> None:
        """Count the verdict on a dead letter, and choose it when the rule allows."""
        verdict = rule.judge(letter, now)
        self.bursts.add(letter, verdict.advice)
        self.verdicts[verdict.advice, letter.code] += 1
        if rule.chooses(verdict):
            self.chosen.append(letter.number)
            self.recipients.append(letter.recipient_count)

    def keep_newest(self, limit: int) -> None:
        """Leave out all chosen dead letters but the last ones."""
        self.chosen = self.chosen.newest(limit)
        self.recipients = self.recipients[-limit:]

    @property
    def recipient_count(self) -> int:
        """Count the recipients in the chosen dead letters."""
        return sum(self.recipients)

    def count(self, advice: Replay) -> int:
        """Count the dead letters with this advice."""
        return sum(number for (each, _), number in self.verdicts.items() if each is advice)

    def as_document(self) -> dict[str, object]:
        """Give the counts for programs."""
        return {
            "chosen": len(self.chosen),
            "recipients": self.recipient_count,
            "verdicts": {str(advice): self.count(advice) for advice in Replay},
            "culprits": {number: why for each in self.bursts.with_culprit() for number, why in each.culprits.items()},
            "drift": {"gone": self.gone, "changed": self.changed},
        }


async def select_planned(
    planned: Iterable[PlannedLetter], queue: AsyncIterator[Letter], *, rule: ReplayRule, now: datetime
) -> Selection:
    """Choose the dead letters of a plan that are still in the queue and still the same.

    Args:
        planned: The dead letters of the plan, in the order of the queue.
        queue: The dead letters of the queue, from the first of the plan on.
        rule: Judges them anew: time has passed since the plan was made.
        now: The current time; aware.
    """
    selection = Selection()
    letter: Letter | None = None
    rest = iter(planned)
    for each in rest:
        while letter is None or letter.number < each.sequence_number:
            letter = await anext(queue, None)
            if letter is None:
                break
        if letter is None or letter.number > each.sequence_number:
            selection.gone += 1
        elif letter.fingerprint != each.hash:
            selection.changed += 1
        else:
            selection.add(letter, rule, now)
        if letter is None:
            selection.gone += sum(1 for _ in rest)
    return selection
