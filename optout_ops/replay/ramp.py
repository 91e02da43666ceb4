"""The ramp of a replay: it sends 1, 10, 100 dead letters, then all, and stops when too many fail again. Pure."""

from dataclasses import dataclass
from itertools import accumulate

from optout_ops.replay.tally import Tally

#: Dead letters in each step; after each step the replay waits for the first tries of what it sent.
STEPS = (1, 10, 100)
#: So few failures stop nothing while others went well: one bad dead letter would hold up all others.
_FLOOR = 3
#: Dead letters between two looks after the steps; these looks do not wait.
LOOK_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class Ramp:
    """The steps of a replay, and the share of failures that ends it.

    Attributes:
        max_failures: The replay stops when more than this share of the recipients fails again; 0 to 1.
        steps: Dead letters in each step; empty means no ramp.
    """

    max_failures: float
    steps: tuple[int, ...] = STEPS

    def until_look(self, sent: int) -> int:
        """Say how many dead letters, after `sent`, may be sent before the next look."""
        for mark in accumulate(self.steps):
            if sent < mark:
                return mark - sent
        return LOOK_EVERY - (sent - sum(self.steps)) % LOOK_EVERY

    def waits(self, sent: int) -> bool:
        """Say whether the look after `sent` dead letters waits until each was tried once: within the steps it does."""
        return sent <= sum(self.steps)

    def objection(self, tally: Tally, *, waited: bool, last: bool = False) -> str | None:
        """Say why the replay must stop, or None.

        A few failures among others that went well stop nothing; where all failed, as a first step may, one is enough.

        Args:
            tally: What became of the recipients sent so far.
            waited: Whether the look waited for first tries; only then untried recipients are an objection.
            last: Whether nothing is left to be sent, so that failures have nothing to stop.
        """
        bad = tally.returned_recipients + tally.retrying
        enough = bad >= _FLOOR or bad == tally.sent
        if bad and enough and not last and bad / tally.sent > self.max_failures:
            return (
                f"{bad:,} of {tally.sent:,} recipients failed again ({bad / tally.sent:.0%}, more than"
                f" {self.max_failures:.0%}): {tally.failures()}."
            )
        if waited and tally.untried:
            waiting = f"{tally.untried:,} of {tally.sent:,} recipients"
            return (
                f"{waiting} still wait for their first try. Is the function running? Behind"
                " a full queue they have to wait: then give it more time with --patience."
            )
        return None
