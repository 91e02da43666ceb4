"""May this opt-in still be applied? Pure: the caller says what time it is and what STOP is known.

The API stores no time and `:remove` is unconditional, so an old, delayed or replayed opt-in would silently undo a newer
opt-out. Nothing that this rule refuses is ever sent. There is no persistent ledger: a STOP is known within one
invocation only, and a STOP of an earlier invocation does not hold back an older opt-in (docs/design.md, "Planned").
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from optout_core.events import OptIn, OptOut
from optout_core.masking import Untrusted
from optout_core.numbers import Number, person_key, sender_key
from optout_core.reasons import Reason

#: Reasons that were given for good: time only makes the opt-in older.
_FINAL = {reason.value: reason for reason in (Reason.NEWER_OPT_OUT, Reason.STALE_OPT_IN)}


class OptOutScope(StrEnum):
    """For whose messages a STOP counts."""

    SENDER = "sender"
    ALL = "all"


class ConsentKey(NamedTuple):
    """What tells whether two words are about the same person and the same sender; holds a number, never print it."""

    sender: str
    person: str


@dataclass(frozen=True, slots=True)
class OptInRule:
    """What an opt-in has to satisfy.

    Attributes:
        max_age: An opt-in older than this is not applied; above zero.
        allowed_senders: The only senders we act for; empty means all.
        scope: For whose messages a STOP counts.
    """

    max_age: timedelta
    allowed_senders: Collection[Number] = frozenset()
    scope: OptOutScope = OptOutScope.SENDER
    _allowed: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Write the senders as they are compared."""
        object.__setattr__(self, "_allowed", frozenset(map(sender_key, self.allowed_senders)))

    def objections(
        self, opt_in: OptIn, stops: Mapping[ConsentKey, datetime], now: datetime, sent_back: Untrusted | None = None
    ) -> dict[Number, Reason]:
        """Say for which recipients an opt-in may not be applied, and why.

        Args:
            opt_in: The event.
            stops: The newest STOP known of each key; one without a STOP is absent.
            now: The current time; aware.
            sent_back: Why the message was a dead letter before, or None.
        """
        if self._allowed and sender_key(opt_in.sender) not in self._allowed:
            return dict.fromkeys(opt_in.recipients, Reason.SENDER_NOT_ALLOWED)
        if sent_back and sent_back.raw in _FINAL:
            # Whatever tool sent it back, the STOP that it lost to still stands.
            return dict.fromkeys(opt_in.recipients, _FINAL[sent_back.raw])
        objections = {to: Reason.RECIPIENT_REJECTED for to in opt_in.recipients if not to.is_clear}
        if now - opt_in.time > self.max_age:
            objections = dict.fromkeys(opt_in.recipients, Reason.STALE_OPT_IN) | objections
        if stops:
            for to in opt_in.recipients:
                stopped = stops.get(self.key(opt_in.sender, to))
                # A tie goes to STOP: silence wrongly kept costs less than a text wrongly sent.
                if stopped is not None and stopped >= opt_in.time:
                    objections[to] = Reason.NEWER_OPT_OUT
        return objections

    def newest_stops(self, opt_outs: Iterable[OptOut]) -> dict[ConsentKey, datetime]:
        """Give the time of the newest STOP of each key that said it."""
        newest: dict[ConsentKey, datetime] = {}
        for opt_out in opt_outs:
            for to in opt_out.recipients:
                key = self.key(opt_out.sender, to)
                newest[key] = max(opt_out.time, newest.get(key, opt_out.time))
        return newest

    def key(self, sender: Number, recipient: Number) -> ConsentKey:
        """Give the key of a person's word to a sender, however either is written."""
        scoped = "" if self.scope is OptOutScope.ALL else sender_key(sender)
        return ConsentKey(scoped, person_key(recipient))


def unclear(opt_out: OptOut) -> tuple[Number, ...]:
    """Give the recipients of an opt-out that name no person for certain: their STOP would count for nobody.

    A number without its country may be that of several people; ACS and the sender are the same everywhere.
    """
    return tuple(to for to in opt_out.recipients if not to.is_international)
