"""May this opt-in still be applied? Pure: the caller says what time it is and what STOP is known.

The API stores no time and `:remove` is unconditional, so an old, delayed or replayed opt-in would silently undo a newer
opt-out. Nothing that this rule refuses is ever sent.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from optout_core.batches import Pair
from optout_core.events import OptIn, OptOut
from optout_core.numbers import with_plus
from optout_core.reasons import Reason


@dataclass(frozen=True, slots=True)
class Rule:
    """Hold what an opt-in has to satisfy.

    Attributes:
        max_age: An opt-in older than this is not applied; above zero.
        allowed_senders: The only senders we act for; empty means all.
    """

    max_age: timedelta
    allowed_senders: Collection[str] = field(default=frozenset(), repr=False)

    def objections(self, opt_in: OptIn, last_stops: Mapping[Pair, datetime], now: datetime) -> dict[str, Reason]:
        """Say for which recipients an opt-in may not be applied, and why.

        Args:
            opt_in: The event.
            last_stops: The newest STOP known of each `identity`; one without a STOP is absent.
            now: The current time; aware.
        """
        if self.allowed_senders and same_sender(opt_in.sender) not in map(same_sender, self.allowed_senders):
            return dict.fromkeys(opt_in.recipients, Reason.SENDER_NOT_ALLOWED)
        stale = now - opt_in.time > self.max_age
        objections = dict.fromkeys(opt_in.recipients, Reason.STALE_OPT_IN) if stale else {}
        for recipient in opt_in.recipients:
            stopped = last_stops.get(identity(opt_in.sender, recipient))
            # A tie goes to STOP: silence wrongly kept costs less than a text wrongly sent.
            if stopped is not None and stopped >= opt_in.time:
                objections[recipient] = Reason.NEWER_OPT_OUT
        return objections


def identity(sender: str, recipient: str) -> Pair:
    """Name a person and a sender so that two ways of writing them compare equal: no "+", other case, blanks around."""
    return Pair(same_sender(sender), with_plus(recipient.strip()))


def same_sender(sender: str) -> str:
    """Write a sender so that two ways of writing it compare equal: no "+", other case, blanks around."""
    return with_plus(sender.strip()).casefold()


def newest_stops(opt_outs: Iterable[OptOut]) -> dict[Pair, datetime]:
    """Give the time of the newest STOP of each `identity` that said it."""
    newest: dict[Pair, datetime] = {}
    for opt_out in opt_outs:
        for recipient in opt_out.recipients:
            pair = identity(opt_out.sender, recipient)
            newest[pair] = max(opt_out.time, newest.get(pair, opt_out.time))
    return newest


class WithoutLedger:
    """Know only the STOPs of the same invocation: what stands in until there is a ledger."""

    async def last_stops(self, stops: Mapping[Pair, datetime], pairs: Collection[Pair]) -> Mapping[Pair, datetime]:
        """Give back the STOPs of this invocation."""
        return {pair: time for pair, time in stops.items() if pair in pairs}
