"""Dead letters by reason and hour: is it still happening? Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from optout_core.masking import show
from optout_ops.letters.letter import Letter

HOURS = 24
_RECENT = timedelta(minutes=15)
#: From nothing to the most of any hour.
_SHADES = " ▁▂▃▄▅▆▇█"


@dataclass(slots=True)
class HeatRow:
    """The dead letters of one reason, or of one publisher.

    Attributes:
        per_hour: How many in each of the last hours, the present one last.
        older: How many before that.
        recent: How many in the last 15 minutes.
    """

    per_hour: list[int] = field(default_factory=lambda: [0] * HOURS)
    older: int = 0
    recent: int = 0

    @property
    def total(self) -> int:
        """Count them all."""
        return sum(self.per_hour) + self.older

    def add(self, at: datetime, now: datetime) -> None:
        """Count one that was dead-lettered at a time."""
        # A clock that is ahead would put it into an hour to come.
        ago = int((_hour(now) - _hour(min(at, now))) / timedelta(hours=1))
        if ago < HOURS:
            self.per_hour[HOURS - 1 - ago] += 1
        else:
            self.older += 1
        if now - at <= _RECENT:
            self.recent += 1

    def picture(self, most: int) -> str:
        """Draw the hours, one character each; `most` is drawn as a full block."""
        top = len(_SHADES) - 1
        return "".join(_SHADES[-(-each * top // most) if each else 0] for each in self.per_hour)


class HeatMap:
    """Dead letters counted by hour, for each reason and for each publisher.

    Attributes:
        reasons: The rows by reason code, "" for none.
        sources: The rows by publisher, "" for dead letters that cannot be read.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.reasons: dict[str, HeatRow] = {}
        self.sources: dict[str, HeatRow] = {}

    def add(self, letter: Letter) -> None:
        """Count one dead letter."""
        at = letter.message.enqueued_at
        self.reasons.setdefault(show(letter.code), HeatRow()).add(at, self.now)
        for source in letter.sources or {""}:
            self.sources.setdefault(source, HeatRow()).add(at, self.now)

    @property
    def total(self) -> int:
        """Count all dead letters."""
        return sum(row.total for row in self.reasons.values())

    @property
    def recent(self) -> int:
        """Count those of the last 15 minutes."""
        return sum(row.recent for row in self.reasons.values())

    @property
    def most(self) -> int:
        """Give the most of one reason in one hour, at least 1."""
        return max((max(row.per_hour) for row in self.reasons.values()), default=0) or 1

    def sorted(self, rows: dict[str, HeatRow]) -> Iterator[tuple[str, HeatRow]]:
        """Yield rows, the most frequent first."""
        yield from sorted(rows.items(), key=lambda named: (-named[1].total, named[0]))

    def hours(self) -> list[datetime]:
        """Give the begin of each hour, the present one last."""
        return [_hour(self.now) - timedelta(hours=HOURS - 1 - number) for number in range(HOURS)]

    def as_document(self) -> dict[str, object]:
        """Give the counts for programs."""
        return {
            "total": self.total,
            "last15Minutes": self.recent,
            "hours": [hour.isoformat() for hour in self.hours()],
            "reasons": {code or "(none)": _document(row) for code, row in self.sorted(self.reasons)},
            "sources": {source or "(unreadable)": _document(row) for source, row in self.sorted(self.sources)},
        }


def _document(row: HeatRow) -> dict[str, object]:
    return {"total": row.total, "last15Minutes": row.recent, "older": row.older, "perHour": row.per_hour}


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
