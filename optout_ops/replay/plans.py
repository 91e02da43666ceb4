"""A plan: the exact set of dead letters that a replay acts on, as JSON Lines that people may read and shorten. Pure.

The first line says what the plan is; every other line is one dead letter, in the order of the queue, numbers masked.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from optout_core.reasons import Replay
from optout_ops.exits import Mistake
from optout_ops.letters.dead_letters import DeadLetter
from optout_ops.letters.verdicts import Rule, Verdict


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="forbid")

    def line(self) -> str:
        """Write it as one line of JSON."""
        return self.model_dump_json(by_alias=True) + "\n"


class Header(_Line):
    """Say what a plan is; `plan` is the version of the format."""

    plan: int = 1
    replay_id: str
    made_at: datetime
    queue: str
    filter: dict[str, object]


class Item(_Line):
    """Name one dead letter, by number and content, and the verdict when the plan was made."""

    sequence_number: int = Field(gt=0)
    id: str
    reason: str
    hash: str
    recipients: int
    verdict: Replay
    why: str

    @classmethod
    def of(cls, dead: DeadLetter, verdict: Verdict) -> "Item":
        """Make the line of a dead letter."""
        return cls(
            sequence_number=dead.number,
            id=dead.message.message_id or "",
            reason=dead.code,
            hash=dead.fingerprint,
            recipients=dead.weight,
            verdict=verdict.replay,
            why=verdict.why,
        )


def read_header(lines: Iterator[str]) -> Header:
    """Read the first line of a plan.

    Raises:
        Mistake: It is none.
    """
    try:
        header = Header.model_validate_json(next(lines, ""))
    except ValidationError:
        raise Mistake("this is no plan: its first line must be the one that `optout dlq plan` wrote") from None
    if header.plan != 1:
        raise Mistake(f"the plan has version {header.plan}, this version of optout reads 1; make a new plan")
    return header


def read_items(lines: Iterable[str]) -> Iterator[Item]:
    """Read the other lines of a plan, one after the other.

    Raises:
        Mistake: A line is none, or is not behind the one before.
    """
    last = 0
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        try:
            item = Item.model_validate_json(line)
        except ValidationError as error:
            problem = error.errors(include_input=False)[0]
            where = ".".join(str(step) for step in problem["loc"])
            raise Mistake(
                f"line {number} of the plan does not do: {where}: {problem['msg']}; nothing was sent"
            ) from None
        if item.sequence_number <= last:
            raise Mistake(
                f"line {number} of the plan is out of order; lines may be removed, not moved; nothing was sent"
            )
        last = item.sequence_number
        yield item


class Chosen:
    """Know the sequence numbers that are chosen, in 8 bytes each.

    Args:
        numbers: In rising order.
    """

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._numbers = array("q", numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, number: int) -> bool:
        position = bisect_left(self._numbers, number)
        return position < len(self._numbers) and self._numbers[position] == number

    @property
    def last(self) -> int:
        """Give the highest number, or 0 when nothing is chosen."""
        return self._numbers[-1] if self._numbers else 0

    def add(self, number: int) -> None:
        """Choose one more, behind all others."""
        self._numbers.append(number)


@dataclass(slots=True)
class Selection:
    """Hold what a replay will act on, in 8 bytes for each dead letter.

    Attributes:
        chosen: The sequence numbers.
        recipients: Recipients in them.
        verdicts: All that the filter or plan names, by verdict and reason code.
        gone: Named by the plan, and no longer in the queue.
        changed: Named by the plan, and another message now.
    """

    chosen: Chosen = field(default_factory=Chosen)
    recipients: int = 0
    verdicts: Counter[tuple[Replay, str]] = field(default_factory=Counter)
    gone: int = 0
    changed: int = 0

    def take(self, dead: DeadLetter, rule: Rule, now: datetime) -> Verdict:
        """Judge a dead letter, and choose it when its verdict allows."""
        verdict = rule.judge(dead, now)
        self.verdicts[verdict.replay, dead.code] += 1
        if rule.chooses(verdict):
            self.chosen.add(dead.number)
            self.recipients += dead.weight
        return verdict

    def count(self, replay: Replay) -> int:
        """Count what has a verdict."""
        return sum(number for (verdict, _), number in self.verdicts.items() if verdict is replay)

    def as_document(self) -> dict[str, object]:
        """Give the counts for programs."""
        return {
            "chosen": len(self.chosen),
            "recipients": self.recipients,
            "verdicts": {str(replay): self.count(replay) for replay in Replay},
            "drift": {"gone": self.gone, "changed": self.changed},
        }


async def compare(items: Iterable[Item], queue: AsyncIterator[DeadLetter], rule: Rule, now: datetime) -> Selection:
    """Hold a plan against the queue, both in order: choose what is still there and still the same.

    Args:
        items: The plan.
        queue: The dead letters from the first of the plan on.
        rule: Judges them anew; time has passed since the plan was made.
        now: The current time; aware.
    """
    selection = Selection()
    dead: DeadLetter | None = None
    planned = iter(items)
    for item in planned:
        while dead is None or dead.number < item.sequence_number:
            dead = await anext(queue, None)
            if dead is None:
                break
        if dead is None or dead.number > item.sequence_number:
            selection.gone += 1
        elif dead.fingerprint != item.hash:
            selection.changed += 1
        else:
            selection.take(dead, rule, now)
        if dead is None:
            selection.gone += sum(1 for _ in planned)
    return selection
