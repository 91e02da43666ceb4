"""Dead letters counted by reason. Pure; memory is one row for each reason, however many there are."""

from dataclasses import dataclass, field
from datetime import datetime

from optout_core.reasons import Replay
from optout_ops.letters.dead_letters import DeadLetter
from optout_ops.letters.verdicts import Rule


@dataclass(slots=True)
class Row:
    """Hold what is waiting for one reason.

    Attributes:
        code: The reason code, "" for none.
        oldest: When the oldest was dead-lettered; aware.
        newest: When the newest was; aware.
        count: Dead letters.
        recipients: Recipients in them; what cannot be read counts as one.
        verdicts: How many may be replayed now, after a fix, never.
    """

    code: str
    oldest: datetime
    newest: datetime
    count: int = 0
    recipients: int = 0
    verdicts: dict[Replay, int] = field(default_factory=lambda: dict.fromkeys(Replay, 0))


class Summary:
    """Count dead letters, judged by one rule at one time."""

    def __init__(self, rule: Rule, now: datetime) -> None:
        self._rule = rule
        self._now = now
        self._rows: dict[str, Row] = {}

    def add(self, dead: DeadLetter) -> None:
        """Count one dead letter."""
        at = dead.message.enqueued_at
        row = self._rows.setdefault(dead.code, Row(dead.code, at, at))
        row.oldest, row.newest = min(row.oldest, at), max(row.newest, at)
        row.count += 1
        row.recipients += dead.weight
        row.verdicts[self._rule.judge(dead, self._now).replay] += 1

    def rows(self) -> list[Row]:
        """Give the rows, the most frequent reason first."""
        return sorted(self._rows.values(), key=lambda row: (-row.count, row.code))
