"""The verdict on a dead letter: may it be replayed? Pure: the caller gives the time.

It starts from the advice of the reason code (optout_core/reasons.py); the facts of the one dead letter can only make it
stricter. Two kinds are looser: STOPs may always be replayed, and an event that this version can decode may be replayed
although another version could not.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from optout_core.consent import ConsentKey, Judgement, Row, judge, microseconds
from optout_core.events import OptOut
from optout_core.numbers import Number, person_key, sender_key
from optout_core.reasons import Reason, Replay
from optout_ops.letters.hazards import hazard
from optout_ops.letters.letter import Letter
from optout_ops.queues.messages import MessageState, QueueMessage
from optout_ops.wording import duration

#: A message of Service Bus Standard has at most 256 KB; the properties that a replay adds and the AMQP envelope need
#: less than 4 KB (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas).
_MAX_BYTES = 252 * 1024
_UNDECODED = frozenset({Reason.MALFORMED_EVENT, Reason.UNSUPPORTED_EVENT})

#: So long a STOP may take from the phone to us, with some room (docs/consent.md, "When a STOP can be late").
_A_FEW_MINUTES = timedelta(minutes=5)
_NO_LEDGER = "no ledger was asked: make sure that no STOP came since"

_NOT_GIVEN_OUT = {
    MessageState.DEFERRED: "it is deferred: the queue gives it only to who asks for its sequence number",
    MessageState.SCHEDULED: "it is scheduled: the queue gives it out when its time has come",
}


@dataclass(frozen=True, slots=True)
class ReplayVerdict:
    """Whether a dead letter may be replayed.

    Attributes:
        advice: Now, after a fix, or never.
        why: The reason in words; it may quote the dead letter, so mask it where it is shown.
    """

    advice: Replay
    why: str


@dataclass(frozen=True, slots=True)
class ReplayRule:
    """The limits that a dead letter has to keep to be replayed.

    Attributes:
        max_age: An opt-in older than this is never replayed; above zero.
        max_replays: A dead letter that was replayed this often is not replayed again; at least 1.
        fixed: Whether the operator says that the cause is fixed: then also `after a fix` is replayed.
        allowed_senders: The only senders whose opt-ins the function applies; empty means all.
    """

    max_age: timedelta
    max_replays: int
    fixed: bool = False
    allowed_senders: frozenset[Number] = frozenset()
    _allowed: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Write the senders as they are compared."""
        object.__setattr__(self, "_allowed", frozenset(map(sender_key, self.allowed_senders)))

    def judge(self, letter: Letter, now: datetime) -> ReplayVerdict:
        """Judge one dead letter at the time `now`."""
        verdict = _by_ledger(letter) or self._by_letter(letter, now)
        is_old = any(now - opt_in.time > _A_FEW_MINUTES for opt_in in letter.opt_ins)
        if verdict.advice is Replay.SAFE and is_old and letter.message.known is None:
            return ReplayVerdict(Replay.SAFE, f"{verdict.why}; {_NO_LEDGER}")
        return verdict

    def _by_letter(self, letter: Letter, now: datetime) -> ReplayVerdict:
        never = _unsendable(letter) or self._unwise(letter, now)
        if never is not None:
            return ReplayVerdict(Replay.NEVER, never)
        if _holds_stops_only(letter):
            return ReplayVerdict(Replay.SAFE, "it holds STOPs only, and a STOP is never too late")
        if first := self._before_a_replay(letter):
            return ReplayVerdict(Replay.AFTER_A_FIX, first)
        if letter.reason is None:
            return ReplayVerdict(Replay.AFTER_A_FIX, f"the reason {letter.code!r} is none of ours")
        return ReplayVerdict(letter.reason.replay, letter.reason.meaning)

    def _before_a_replay(self, letter: Letter) -> str | None:
        if letter.has_event_without_time:
            return "it does not say when the person opted in: make sure that no STOP came before it was dead-lettered"
        # As `OptInRule.objections` has it: a STOP is never refused for its sender.
        if self._allowed and any(sender_key(opt_in.sender) not in self._allowed for opt_in in letter.opt_ins):
            return "its sender is not in ALLOWED_SENDERS, so it would come back: is it ours, then add it there first"
        if letter.reason in _UNDECODED:
            return "this version can read it: replay it when the function runs this version"
        return None

    def chooses(self, verdict: ReplayVerdict) -> bool:
        """Say whether a dead letter with this verdict is to be replayed."""
        return verdict.advice is Replay.SAFE or (self.fixed and verdict.advice is Replay.AFTER_A_FIX)

    def _unwise(self, letter: Letter, now: datetime) -> str | None:
        refused = letter.reason is not None and letter.reason.replay is Replay.NEVER and letter.reason not in _UNDECODED
        if refused and letter.reason is not None and not _holds_stops_only(letter):
            return letter.reason.meaning
        age = now - min((opt_in.time for opt_in in letter.opt_ins), default=now)
        if age > self.max_age:
            return f"the opt-in is {duration(age)} old, more than {duration(self.max_age)}: a newer STOP may exist"
        if letter.lineage.replay_count >= self.max_replays:
            return (
                f"it was replayed {letter.lineage.replay_count} times and came back: look why, or raise --max-replays"
            )
        return None


def _by_ledger(letter: Letter) -> ReplayVerdict | None:
    """Judge by what the ledger knows; None where somebody's opt-in is still to be applied, or it was not asked."""
    known = letter.message.known
    if known is None or not letter.opt_ins_only or letter.has_event_after_arrival:
        return None
    judgements = Counter(
        _judge(microseconds(event.time), row)
        if (row := known.get(ConsentKey(sender_key(event.sender), person_key(to))))
        else Judgement.CALL
        for event in letter.opt_ins
        for to in event.recipients
    )
    if judgements[Judgement.CALL]:
        return None
    if judgements[Judgement.BLOCKED]:
        return ReplayVerdict(Replay.NEVER, "the ledger holds a STOP at or after the opt-in")
    return ReplayVerdict(Replay.DONE, "the ledger says that the list says so already, or that a newer word stands")


def _judge(said_at: int, row: Row) -> Judgement:
    # A word that the ledger does not know yet may be the newest one.
    return judge(said_at, stop=False, row=row.admit(said_at, stop=False, now=0))


def _unsendable(letter: Letter) -> str | None:
    return _unwritable(letter.message) or _undecodable(letter)


def _unwritable(message: QueueMessage) -> str | None:
    if message.state is not MessageState.ACTIVE:
        return _NOT_GIVEN_OUT[message.state]
    if unread := message.unread:
        named = ", ".join(f"{name!r} ({kind})" for name, kind in unread.items())
        return f"it has properties of types that cannot be written here: {named}; a purge keeps them in its archive"
    if why := hazard(message):
        return f"the host cannot read it ({why}): sent again it would hold up what is received with it"
    if message.size > _MAX_BYTES:
        return f"it has {message.size:,} bytes: too large to be sent with what a replay adds"
    return None


def _undecodable(letter: Letter) -> str | None:
    if letter.decode_error is not None:
        return f"it would come back: {letter.decode_error}; `optout dlq edit {letter.number}` mends it"
    if letter.has_event_after_arrival and len(letter.events) > 1:
        return (
            f"one of its events has no time, or one after its arrival; `optout dlq edit {letter.number}` can correct it"
        )
    return None


def _holds_stops_only(letter: Letter) -> bool:
    return bool(letter.events) and all(isinstance(event, OptOut) for event in letter.events)
