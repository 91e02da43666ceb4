"""Dead letters counted by reason. Pure; memory is some 60 bytes for each recipient."""

from dataclasses import dataclass, field
from datetime import datetime

from optout_core.masking import show
from optout_core.reasons import Replay
from optout_ops.letters.description import meaning
from optout_ops.letters.letter import Letter
from optout_ops.letters.verdicts import ReplayRule


@dataclass(slots=True, kw_only=True)
class SummaryRow:
    """The dead letters of one reason.

    Attributes:
        code: The reason code, "" for none.
        oldest: When the oldest was dead-lettered; aware.
        newest: When the newest was; aware.
        count: Dead letters.
        people: A hash of each event and recipient in them; a dead letter that cannot be decoded counts as one. A
            message that was delivered again may have left two dead letters with the same recipient.
        verdicts: How many dead letters may be replayed now, after a fix, never.
    """

    code: str
    oldest: datetime
    newest: datetime
    count: int = 0
    people: set[int] = field(default_factory=set, repr=False)
    verdicts: dict[Replay, int] = field(default_factory=lambda: dict.fromkeys(Replay, 0))

    @property
    def recipients(self) -> int:
        """Count the recipients, each once for each event."""
        return len(self.people)


class Summary:
    """Counts of dead letters by reason and verdict, judged by one rule at one time."""

    def __init__(self, rule: ReplayRule, now: datetime) -> None:
        self._rule = rule
        self._now = now
        self._rows: dict[str, SummaryRow] = {}

    def add(self, letter: Letter) -> None:
        """Count one dead letter."""
        at = letter.message.enqueued_at
        row = self._rows.setdefault(letter.code, SummaryRow(code=letter.code, oldest=at, newest=at))
        row.oldest, row.newest = min(row.oldest, at), max(row.newest, at)
        row.count += 1
        row.people |= set(map(hash, letter.cases()))
        row.verdicts[self._rule.judge(letter, self._now).advice] += 1

    def rows(self) -> list[SummaryRow]:
        """Give the rows, the most frequent reason first."""
        return sorted(self._rows.values(), key=lambda row: (-row.count, row.code))

    def as_document(self) -> list[dict[str, object]]:
        """Give the rows for programs."""
        return [
            {
                "reason": show(row.code),
                "count": row.count,
                "recipients": row.recipients,
                "oldest": row.oldest.isoformat(),
                "newest": row.newest.isoformat(),
                "verdicts": {str(advice): number for advice, number in row.verdicts.items()},
                "meaning": meaning(row.code),
            }
            for row in self.rows()
        ]
