"""From what happened to what becomes of it: done, later or dead letter, as in docs/design.md, "Outcomes".

Two kinds of "later" must not be mixed. A failure of the recipient, or of our configuration, uses up one attempt of the
schedule. A failure of the endpoint uses up none: it is rescheduled until the opt-in is too old, so an outage shorter
than OPT_IN_MAX_AGE leaves no dead letter.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec import Struct

from optout_core.arrivals import Lineage
from optout_core.batches import Operation
from optout_core.outcomes import Outcome, Verdict
from optout_core.reasons import Reason

#: Jitter spreads retries over this share of the delay and only ever lengthens it.
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Schedule:
    """The delays before the next try.

    Attributes:
        retries: One delay for each recipient-level attempt, in order; none means that the first failure is the last.
        outage_first: The delay after the first endpoint-level failure; it doubles with each hop.
        outage_max: No endpoint-level delay is longer, jitter aside.
    """

    retries: tuple[timedelta, ...]
    outage_first: timedelta
    outage_max: timedelta

    def outage(self, hop: int) -> timedelta:
        """Give the endpoint-level delay after `hop` re-sends."""
        # Doubled 40 times, a microsecond is above any maximum that the settings allow, and the power stays a number.
        doublings: int = 2 ** min(hop, 40)
        seconds = self.outage_first.total_seconds() * doublings
        return timedelta(seconds=min(seconds, self.outage_max.total_seconds()))


class Done(Struct, frozen=True):
    """Nothing is left to do for this word of the recipient.

    Attributes:
        is_called: Whether ACS did what the word says, now; else the list said so already, or a newer word stands.
    """

    is_called: bool = True


class RetryLater(Struct, frozen=True):
    """The recipient waits in the queue for its next try.

    Attributes:
        at: When the broker makes the message visible; aware.
        attempt: Recipient-level attempts used up by then.
        alone: Whether the next try asks for it apart from the recipients of other events.
        is_overlap: Whether ACS confirmed the call, and one of the opposite kind may still act after it.
    """

    at: datetime
    attempt: int
    alone: bool = False
    is_overlap: bool = False


class DeadLetter(Struct, frozen=True):
    """The recipient goes to the dead-letter queue.

    Attributes:
        reason: Why.
        outcome: What the API said last, or None when nothing was sent.
    """

    reason: Reason
    outcome: Outcome | None = None


Settlement = Done | RetryLater | DeadLetter

DONE = Done()

_FINAL = {
    Operation.REMOVE: {
        Verdict.REJECTED: Reason.RECIPIENT_REJECTED,
        Verdict.CONTRADICTED: Reason.STILL_OPTED_OUT,
        Verdict.SENDER_REJECTED: Reason.SENDER_REJECTED,
    },
    Operation.ADD: {
        Verdict.REJECTED: Reason.OPT_OUT_REJECTED,
        Verdict.CONTRADICTED: Reason.NOT_OPTED_OUT,
        Verdict.SENDER_REJECTED: Reason.OPT_OUT_SENDER_REJECTED,
    },
}
_EXHAUSTED = {
    Operation.REMOVE: {
        Verdict.FAILED: Reason.RETRIES_EXHAUSTED,
        Verdict.REFUSED: Reason.REQUEST_REFUSED,
    },
    Operation.ADD: {
        Verdict.FAILED: Reason.OPT_OUT_RETRIES_EXHAUSTED,
        Verdict.REFUSED: Reason.OPT_OUT_REFUSED,
    },
}


def settle(  # noqa: PLR0913 - all that decides, by name
    outcome: Outcome, *, operation: Operation, lineage: Lineage, schedule: Schedule, now: datetime, chance: float
) -> Settlement:
    """Decide what becomes of a recipient for whom ACS was to be called.

    Args:
        outcome: What came of it.
        operation: What ACS was to do.
        lineage: How often its event has been round.
        schedule: The delays.
        now: The current time; aware.
        chance: A random number in the range [0, 1), one for all recipients of an event, so that they stay together.
    """
    if outcome.verdict is Verdict.CONFIRMED:
        return DONE
    if reason := _FINAL[operation].get(outcome.verdict):
        return DeadLetter(reason, outcome)
    if outcome.verdict is Verdict.UNAVAILABLE:
        delay, attempt = schedule.outage(lineage.hop), lineage.attempt
    elif lineage.attempt < len(schedule.retries):
        delay, attempt = schedule.retries[lineage.attempt], lineage.attempt + 1
    else:
        return DeadLetter(_EXHAUSTED[operation][outcome.verdict], outcome)
    if outcome.retry_after:
        delay = max(delay, timedelta(seconds=outcome.retry_after))
    return RetryLater(now + delay * (1 + JITTER * chance), attempt, outcome.alone)
