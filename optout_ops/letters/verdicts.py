"""May this dead letter be sent back? Pure: the caller says what time it is.

The advice of the reason code is where it starts; what else is known of the one dead letter can only make it stricter.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from optout_core.events import OptOut
from optout_core.reasons import Reason, Replay
from optout_ops.letters.dead_letters import DeadLetter
from optout_ops.wording import duration

#: Service Bus Standard takes 256 KB; what a replay adds, and the envelope, take less than this difference
#: (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas).
_MAX_BYTES = 252 * 1024
_UNREAD = frozenset({Reason.MALFORMED_EVENT, Reason.UNSUPPORTED_EVENT})


@dataclass(frozen=True, slots=True)
class Verdict:
    """Say whether a replay is wise, and why."""

    replay: Replay
    why: str


@dataclass(frozen=True, slots=True)
class Rule:
    """Hold what a dead letter has to satisfy.

    Attributes:
        max_age: An opt-in older than this is never replayed; above zero.
        max_replays: What was replayed so often is not replayed again; at least 1.
        fixed: Whether the operator says that the cause of what may be replayed after a fix is mended.
    """

    max_age: timedelta
    max_replays: int
    fixed: bool = False

    def judge(self, dead: DeadLetter, now: datetime) -> Verdict:
        """Judge one dead letter at the time `now`."""
        never = _unsendable(dead) or self._unwise(dead, now)
        if never is not None:
            return Verdict(Replay.NEVER, never)
        if _holds_stops_only(dead):
            return Verdict(Replay.SAFE, "it holds STOPs only, and a STOP is never too late")
        if dead.untimed:
            return Verdict(
                Replay.AFTER_A_FIX,
                "it does not say when the person opted in: make sure that no STOP came before it was dead-lettered",
            )
        if dead.reason is None:
            return Verdict(Replay.AFTER_A_FIX, f"the reason {dead.code!r} is none of ours")
        if dead.reason in _UNREAD:
            return Verdict(
                Replay.AFTER_A_FIX, "this version can read it: replay it when the function runs this version"
            )
        return Verdict(dead.reason.replay, dead.reason.meaning)

    def chooses(self, verdict: Verdict) -> bool:
        """Say whether what has this verdict is to be replayed."""
        return verdict.replay is Replay.SAFE or (self.fixed and verdict.replay is Replay.AFTER_A_FIX)

    def _unwise(self, dead: DeadLetter, now: datetime) -> str | None:
        refused = dead.reason is not None and dead.reason.replay is Replay.NEVER and dead.reason not in _UNREAD
        if refused and dead.reason is not None and not _holds_stops_only(dead):
            return dead.reason.meaning
        age = now - min((opt_in.time for opt_in in dead.opt_ins), default=now)
        if age > self.max_age:
            return f"the opt-in is {duration(age)} old, more than {duration(self.max_age)}: a newer STOP may exist"
        if dead.lineage.replay_count >= self.max_replays:
            return f"it was replayed {dead.lineage.replay_count} times and came back: look why, or raise --max-replays"
        return None


def _unsendable(dead: DeadLetter) -> str | None:
    if dead.unreadable is not None:
        return f"it would come back: {dead.unreadable}; `optout dlq edit {dead.number}` mends it"
    if dead.message.size > _MAX_BYTES:
        return f"it has {dead.message.size:,} bytes: too large to be sent with what a replay adds"
    if dead.late and len(dead.events) > 1:
        return f"one of its events has no time we can believe; `optout dlq edit {dead.number}` can give it one"
    return None


def _holds_stops_only(dead: DeadLetter) -> bool:
    return bool(dead.events) and all(isinstance(event, OptOut) for event in dead.events)
