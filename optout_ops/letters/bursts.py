"""Dead letters that died together: one that the host could not read, and those that were received with it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from optout_core.reasons import Reason, Replay
from optout_ops.letters.hazards import hazard
from optout_ops.letters.letter import Letter
from optout_ops.wording import count, utc

#: The locks of one receive expire in the same moment; the broker needs a while for a hundred of them.
_TOGETHER = timedelta(seconds=5)


@dataclass(slots=True)
class Burst:
    """Dead letters of the reason MaxDeliveryCountExceeded that died together.

    Attributes:
        began: When the first of them died; aware.
        ended: When the last of them died; aware.
        culprits: What the host cannot read, by sequence number.
        innocent: How many of the others may be replayed now.
        others: How many of the others may not.
    """

    began: datetime
    ended: datetime
    culprits: dict[int, str] = field(default_factory=dict)
    innocent: int = 0
    others: int = 0

    @property
    def total(self) -> int:
        """Count them all."""
        return len(self.culprits) + self.innocent + self.others

    def lines(self) -> Iterator[str]:
        """Tell of it."""
        yield f"Died together at {utc(self.began)} UTC: {count(self.total, 'dead letter')}."
        for number, why in self.culprits.items():
            yield (
                f"  {number} is the culprit: the host cannot read it ({why}), and what was received with it was never"
                f" tried. Sent again it would do the same: `optout dlq show {number}`."
            )
        if self.innocent:
            yield f"  {count(self.innocent, 'other')} are innocent: safe."
        if self.others:
            yield f"  {count(self.others, 'other')} are innocent too, and may not be replayed for reasons of their own."


class Bursts:
    """The bursts among dead letters, found one after the other in any order."""

    def __init__(self) -> None:
        self._died: list[tuple[datetime, int, str | None, Replay]] = []

    def add(self, letter: Letter, advice: Replay) -> None:
        """Look at one dead letter."""
        if letter.reason is Reason.MAX_DELIVERY_COUNT_EXCEEDED:
            self._died.append((letter.message.enqueued_at, letter.number, hazard(letter.message), advice))

    def with_culprit(self) -> list[Burst]:
        """Give the bursts in which the culprit is known, the oldest first."""
        bursts: list[Burst] = []
        for at, number, why, advice in sorted(self._died, key=lambda each: each[:2]):
            if not bursts or at - bursts[-1].ended > _TOGETHER:
                bursts.append(Burst(at, at))
            burst = bursts[-1]
            burst.ended = at
            if why is not None:
                burst.culprits[number] = why
            elif advice is Replay.SAFE:
                burst.innocent += 1
            else:
                burst.others += 1
        return [burst for burst in bursts if burst.culprits]

    def lines(self) -> Iterator[str]:
        """Tell of all bursts in which the culprit is known."""
        for burst in self.with_culprit():
            yield from burst.lines()
