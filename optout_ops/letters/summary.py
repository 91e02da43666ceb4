"""Dead letters counted by reason, or by something else. Pure; memory is some 60 bytes for each recipient."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum, auto

from optout_core.masking import show
from optout_core.reasons import Replay
from optout_ops.letters.description import meaning
from optout_ops.letters.letter import Letter
from optout_ops.letters.verdicts import ReplayRule


class By(StrEnum):
    """What dead letters are counted by."""

    REASON = auto()
    HOUR = auto()
    SENDER = auto()
    SOURCE = auto()
    STATUS = auto()
    CODE = auto()
    REPLAY = auto()


_KEYS: Mapping[By, Callable[[Letter], Iterable[str]]] = {
    By.REASON: lambda letter: [letter.code],
    By.HOUR: lambda letter: [f"{letter.message.enqueued_at.astimezone(UTC):%Y-%m-%d %H:00}"],
    By.SENDER: lambda letter: map(str, letter.senders),
    By.SOURCE: lambda letter: letter.sources,
    By.STATUS: lambda letter: [str(letter.status or "")],
    By.CODE: lambda letter: [letter.error_code or ""],
    By.REPLAY: lambda letter: [letter.lineage.replay_id or ""],
}


@dataclass(slots=True, kw_only=True)
class SummaryRow:
    """The dead letters of one reason, or of one of whatever they are counted by.

    Attributes:
        code: The reason code, hour, sender ..., "" for none. It comes from outside.
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
    """Counts of dead letters by reason and verdict, judged by one rule at one time.

    Attributes:
        total: All of them, in one row; None when there are none. One of several senders is in several rows.
    """

    def __init__(self, rule: ReplayRule, now: datetime, by: By = By.REASON) -> None:
        self.total: SummaryRow | None = None
        self._by = by
        self._rule = rule
        self._now = now
        self._rows: dict[str, SummaryRow] = {}

    def add(self, letter: Letter) -> None:
        """Count one dead letter."""
        at, people = letter.message.enqueued_at, set(map(hash, letter.cases()))
        advice = self._rule.judge(letter, self._now).advice
        self.total = self.total or SummaryRow(code="total", oldest=at, newest=at)
        keys = list(_KEYS[self._by](letter)) or [""]
        new = [self._rows.setdefault(key, SummaryRow(code=key, oldest=at, newest=at)) for key in keys]
        for row in (self.total, *new):
            row.oldest, row.newest = min(row.oldest, at), max(row.newest, at)
            row.count += 1
            row.people |= people
            row.verdicts[advice] += 1

    def rows(self) -> list[SummaryRow]:
        """Give the rows, the most frequent first; hours from the newest on."""
        if self._by is By.HOUR:
            return sorted(self._rows.values(), key=lambda row: row.code, reverse=True)
        return sorted(self._rows.values(), key=lambda row: (-row.count, row.code))

    def as_document(self) -> list[dict[str, object]]:
        """Give the rows for programs."""
        return [
            {
                str(self._by): show(row.code),
                "count": row.count,
                "recipients": row.recipients,
                "oldest": row.oldest.isoformat(),
                "newest": row.newest.isoformat(),
                "verdicts": {str(advice): number for advice, number in row.verdicts.items()},
            }
            | ({"meaning": meaning(row.code)} if self._by is By.REASON else {})
            for row in self.rows()
        ]
