"""A plan: the exact set of dead letters that a replay acts on, as JSON Lines that people may read and shorten. Pure.

The first line says what the plan is, the last one that it is whole; every other line is one dead letter, in the order
of the queue, numbers masked.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from optout_core.masking import show
from optout_core.reasons import Replay
from optout_ops.exits import Mistake
from optout_ops.json_lines import read_line
from optout_ops.letters.letter import Letter
from optout_ops.letters.verdicts import ReplayVerdict

#: Since version 2 a plan has a last line.
_VERSION = 2


class _PlanLine(BaseModel):
    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="forbid", hide_input_in_errors=True
    )

    def line(self) -> str:
        """Write it as one line of JSON."""
        return self.model_dump_json(by_alias=True) + "\n"


class PlanHeader(_PlanLine):
    """The first line of a plan; `plan` is the version of the format."""

    plan: int = _VERSION
    replay_id: str
    made_at: datetime
    queue: str
    filter: dict[str, object]


class PlannedLetter(_PlanLine):
    """One dead letter of a plan: its number, a hash of its content, and the verdict when the plan was made."""

    sequence_number: int = Field(gt=0)
    id: str
    reason: str
    hash: str
    recipients: int
    verdict: Replay
    why: str

    @classmethod
    def of(cls, letter: Letter, verdict: ReplayVerdict) -> Self:
        """Make the line of a dead letter."""
        return cls(
            sequence_number=letter.number,
            id=show(letter.message.message_id or ""),
            reason=show(letter.code),
            hash=letter.fingerprint,
            recipients=letter.recipient_count,
            verdict=verdict.advice,
            why=show(verdict.why),
        )


class PlanEnd(_PlanLine):
    """The last line of a plan: how many dead letters were written before it."""

    end: int = Field(ge=0)


def read_header(lines: Iterator[str]) -> PlanHeader:
    """Read the first line of a plan.

    Raises:
        Mistake: It is not the first line of a plan, or of a version that we cannot read.
    """
    try:
        header = PlanHeader.model_validate_json(next(lines, ""))
    except ValidationError:
        raise Mistake("this is no plan: its first line must be the one that `optout dlq plan` wrote") from None
    if header.plan != _VERSION:
        raise Mistake(f"the plan has version {header.plan}, this version of optout reads {_VERSION}; make a new plan")
    return header


def read_letters(lines: Iterable[str]) -> Iterator[PlannedLetter]:
    """Read the other lines of a plan, one after the other.

    Raises:
        Mistake: A line cannot be read, stands before the line that it should follow, or the last one is missing.
    """
    last = count = 0
    end: PlanEnd | None = None
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        where = f"line {number} of the plan"
        if end is not None:
            raise Mistake(f"{where} stands behind the last one; lines may be removed, not added; nothing was sent")
        if line.lstrip().startswith('{"end"'):
            end = read_line(PlanEnd, line, where, "nothing was sent")
            continue
        planned = read_line(PlannedLetter, line, where, "nothing was sent")
        if planned.sequence_number <= last:
            raise Mistake(f"{where} is out of order; lines may be removed, not moved; nothing was sent")
        last, count = planned.sequence_number, count + 1
        yield planned
    if end is None or end.end < count:
        raise Mistake("the plan is cut off: its last line is missing; nothing was sent; make a new plan")
