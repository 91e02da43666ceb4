"""One event on its way through a slice: what it says, what the ledger and ACS say to that, what becomes of it. Pure."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from optout_core.batches import Operation, Pair
from optout_core.consent import ConsentKey, Judgement, OptInRule, Row, Word, free_from, judge, moment_of, words
from optout_core.events import OptIn, OptOut
from optout_core.incoming import Incoming
from optout_core.ledger import Admission, Confirmed
from optout_core.numbers import Number
from optout_core.outcomes import Outcome, Outcomes, Verdict
from optout_core.reasons import Reason
from optout_core.reports import SettledEvent
from optout_core.settlement import DONE, DeadLetter, Done, RetryLater, Schedule, Settlement, settle

_STANDS = Done(is_called=False)
_BLOCKED = DeadLetter(Reason.NEWER_OPT_OUT)
_NOT_KEPT = Outcome(Verdict.UNAVAILABLE, "ACS confirmed the call, and the consent ledger could not keep that")
#: With several senders a STOP is done when it is done for the last of them.
_DONE_LAST = (Done, DeadLetter, RetryLater)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the world said to the words of a slice.

    Attributes:
        outcomes: Of those for whom ACS was called.
        unasked: The outcome of everybody else for whom it was to be called; None where there is nobody.
        rows: What the ledger knows of those whom ACS confirmed; nobody where it could not keep it.
        now: When that was known; aware.
    """

    outcomes: Outcomes
    unasked: Outcome | None
    rows: Mapping[ConsentKey, Row]
    now: datetime


class _Judged(NamedTuple):
    """A word with its first time, whom a call for it names, what becomes of it, and when it comes back if called now.

    That is in microseconds since 1970; 0 where the call settles the word.
    """

    pair: Pair
    word: Word
    key: ConsentKey
    judgement: Judgement
    back_at: int


@dataclass(slots=True)
class Asked:
    """An event, and what is known of each of its recipients by now.

    Attributes:
        event: An opt-in or a STOP.
        message: The message it came in.
        objections: Recipients for whom it does not count, and why.
    """

    event: OptIn | OptOut
    message: Incoming
    objections: Mapping[Number, Reason]
    _said: list[tuple[Pair, Word]]
    _judged: list[_Judged] = field(default_factory=list)

    @classmethod
    def of(cls, event: OptIn | OptOut, message: Incoming, rule: OptInRule, now: datetime) -> Self:
        """Say whom an event counts for."""
        objections = rule.objections(event, now, message.lineage.sent_back)
        counted: Collection[Number] = event.recipients
        if objections:
            counted = [to for to in event.recipients if to not in objections]
        said = [
            (Pair(sender, to), word)
            for sender in rule.senders(event)
            for to, word in zip(counted, words(event, sender, counted, message.arrival.first_enqueued), strict=True)
        ]
        # Who is unclear in a message that is a dead letter as a whole is in there.
        return cls(event, message, {} if message.error else objections, said)

    def __len__(self) -> int:
        """Count the recipients."""
        return len(self.event.recipients)

    @property
    def operation(self) -> Operation:
        """Give what ACS is to do for it."""
        return Operation.ADD if isinstance(self.event, OptOut) else Operation.REMOVE

    def words(self) -> Iterator[Word]:
        """Give what it says, for each person and sender."""
        return (word for _, word in self._said)

    def judge(self, admission: Admission, horizon: timedelta, *, trusts_acs: bool) -> None:
        """Take the ledger's answer.

        Args:
            admission: The answer; nobody is in it where the words were not admitted.
            horizon: How long after its admission a call may act.
            trusts_acs: Whether a STOP of which ACS itself told us needs no call.
        """
        is_on_the_list = trusts_acs and isinstance(self.event, OptOut) and self.event.is_texted
        for pair, word in self._said:
            key = word.key
            row = admission.rows.get(key)
            if row is None:
                self._judged.append(_Judged(pair, word, key, Judgement.CALL, 0))
                continue
            said_at = admission.said_at.get(word.id, word.said_at) if admission.said_at else word.said_at
            judgement = Judgement.STANDS if is_on_the_list else judge(said_at, word.stop, row)
            free_at = free_from(word.stop, row, horizon)
            known = word if said_at == word.said_at else word._replace(said_at=said_at)
            self._judged.append(_Judged(pair, known, key, judgement, free_at if free_at > admission.now else 0))

    def pairs(self) -> list[Pair]:
        """Give for whom ACS is to be called."""
        return [each.pair for each in self._judged if each.judgement is Judgement.CALL]

    def confirmed(self, outcomes: Outcomes) -> Iterator[Confirmed]:
        """Give the words whose call ACS confirmed."""
        for (sender, to), word, _, judgement, back_at in self._judged:
            if judgement is Judgement.CALL and (outcome := outcomes[sender][to]).verdict is Verdict.CONFIRMED:
                yield Confirmed(word, not back_at, outcome)

    def settle(self, answers: Answers, schedule: Schedule, chance: float) -> SettledEvent:
        """Say what becomes of each recipient.

        Args:
            answers: What the world said.
            schedule: The delays before the next try.
            chance: A random number in the range [0, 1), one for all recipients, so that they stay together.
        """
        settlements: dict[Number, Settlement] = {to: DeadLetter(reason) for to, reason in self.objections.items()}
        for each in self._judged:
            settlement, to = self._settlement(each, answers, schedule, chance), each.pair.recipient
            settlements[to] = _later(settlements[to], settlement) if to in settlements else settlement
        return SettledEvent(event=self.event, lineage=self.message.lineage, settlements=settlements, now=answers.now)

    def _settlement(self, judged: _Judged, answers: Answers, schedule: Schedule, chance: float) -> Settlement:
        (sender, to), word, key, judgement, back_at = judged
        if judgement is not Judgement.CALL:
            return _STANDS if judgement is Judgement.STANDS else _BLOCKED
        lineage = self.message.lineage
        outcome = answers.unasked or answers.outcomes[sender][to]
        if outcome.verdict is Verdict.CONFIRMED:
            row = answers.rows.get(key)
            if row and (row.said_at, row.stop) != (word.said_at, word.stop):
                # The newer word saw our call when it was admitted, and calls after it.
                return _BLOCKED if row.stop and not word.stop else DONE
            if row and not back_at:
                return DONE
            if row:
                # The broker's clock is not the ledger's: who came too early would call and come back, again and again.
                at = max(moment_of(back_at), answers.now + schedule.outage_first)
                return RetryLater(at, lineage.attempt, is_overlap=True)
            outcome = _NOT_KEPT
        return settle(
            outcome, operation=self.operation, lineage=lineage, schedule=schedule, now=answers.now, chance=chance
        )


def _later(one: Settlement, other: Settlement) -> Settlement:
    return max(one, other, key=lambda settlement: _DONE_LAST.index(type(settlement)))
