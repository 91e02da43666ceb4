"""How fast a replay may go on: one, ten, a hundred, then all; and when it has to stop by itself. Pure."""

from dataclasses import dataclass
from itertools import accumulate

from optout_ops.replay.tally import Tally

#: How many dead letters go in each step before one looks what became of them.
STEPS = (1, 10, 100)
#: Behind the steps, one looks after so many more, without waiting.
LOOK_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class Ramp:
    """Hold the limits of a replay.

    Attributes:
        share: The replay stops when more than this share of the recipients comes back; 0 to 1.
        steps: Dead letters in each step; empty means no ramp.
    """

    share: float
    steps: tuple[int, ...] = STEPS

    def until_look(self, sent: int) -> int:
        """Say how many dead letters may be sent, after `sent` were, before one has to look."""
        for mark in accumulate(self.steps):
            if sent < mark:
                return mark - sent
        return LOOK_EVERY - (sent - sum(self.steps)) % LOOK_EVERY

    def waits(self, sent: int) -> bool:
        """Say whether one waits, at the look after `sent` dead letters, until all of them have been tried."""
        return sent <= sum(self.steps)

    def objection(self, tally: Tally, *, waited: bool) -> str | None:
        """Say why the replay must not go on, or None."""
        bad = tally.back_recipients + tally.retrying
        if tally.sent and bad / tally.sent > self.share:
            return (
                f"{bad:,} of {tally.sent:,} recipients failed again ({bad / tally.sent:.0%}, more than"
                f" {self.share:.0%}): {tally.failures()}."
            )
        if waited and tally.untried:
            waiting = f"{tally.untried:,} of {tally.sent:,} recipients"
            return f"{waiting} still wait for their first try: is the function running?"
        return None
