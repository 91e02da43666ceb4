"""One event on its way through a slice: what it says, what the ledger and ACS say to that, what becomes of it. Pure."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from typing import NamedTuple, Self

from msgspec import Struct

from optout_core.batches import Operation, Wanted
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


@dataclass(slots=True, kw_only=True)
class Answers:
    """What the world said to the words of a slice.

    Attributes:
        outcomes: Of those for whom ACS was called.
        unasked: The outcome of everybody else for whom it was to be called; None where there is nobody.
        newer: What the ledger knows of those whom ACS confirmed and of whom another word is the newest meanwhile; None
            where it could not keep what ACS confirmed.
        now: When that was known; aware.
    """

    outcomes: Outcomes
    unasked: Outcome | None
    newer: Mapping[ConsentKey, Row] | None
    now: datetime
    #: Whether everybody was asked, and each word is still the newest; and whether ACS confirmed everything as well.
    _is_current: bool = field(init=False)
    _is_settled: bool = field(init=False)

    def __post_init__(self) -> None:
        """Look once for all events whether ACS confirmed everything; most outcomes are one value."""
        distinct = {id(each): each for of_sender in self.outcomes.values() for each in of_sender.values()}
        self._is_current = not self.unasked and self.newer == {}
        self._is_settled = self._is_current and all(each.verdict is Verdict.CONFIRMED for each in distinct.values())

    def settle_all(self, senders: Collection[Number], recipients: Collection[Number]) -> bool:
        """Say whether ACS confirmed these recipients for these senders, and each word of theirs is still the newest."""
        if self._is_settled or not self._is_current:
            return self._is_settled
        for sender in senders:
            of_sender = self.outcomes[sender]
            for to in recipients:
                if of_sender[to].verdict is not Verdict.CONFIRMED:
                    return False
        return True


class _Judged(NamedTuple):
    """A word with its first time, what becomes of it, and when it comes back if called now.

    That is in microseconds since 1970; 0 where the call settles the word.
    """

    word: Word
    judgement: Judgement
    back_at: int


class Asked(Struct):
    """An event, and what is known of each of its recipients by now.

    Attributes:
        event: An opt-in or a STOP.
        message: The message it came in.
        objections: Recipients for whom it does not count, and why.
        operation: What ACS is to do for it.
        senders: For whose messages it counts.
        recipients: For whom it counts.
    """

    event: OptIn | OptOut
    message: Incoming
    objections: Mapping[Number, Reason]
    operation: Operation
    senders: Collection[Number]
    recipients: Collection[Number]
    _words: list[Word] | None = None
    #: By their place in `words`; whoever is missing there is called for, and settled by that.
    _judged: Mapping[int, _Judged] | None = None

    @classmethod
    def of(cls, event: OptIn | OptOut, message: Incoming, rule: OptInRule, now: datetime) -> Self:
        """Say whom an event counts for."""
        objections = rule.objections(event, now, message.lineage.sent_back)
        counted: Collection[Number] = event.recipients
        if objections:
            counted = [to for to in event.recipients if to not in objections]
        # Who is unclear in a message that is a dead letter as a whole is in there.
        if message.error:
            objections = {}
        if isinstance(event, OptIn):
            return cls(event, message, objections, Operation.REMOVE, (event.sender,), counted)
        return cls(event, message, objections, Operation.ADD, rule.senders(event), counted)

    @property
    def words(self) -> Sequence[Word]:
        """Give what it says, for each sender each recipient; made when a ledger asks for it."""
        if self._words is None:
            arrived_at = self.message.arrival.first_enqueued
            self._words = [
                word for sender in self.senders for word in words(self.event, sender, self.recipients, arrived_at)
            ]
        return self._words

    def judge(self, admission: Admission, horizon: timedelta, *, trusts_acs: bool) -> None:
        """Take the ledger's answer.

        Args:
            admission: The answer; nobody is in it where the words were not admitted.
            horizon: How long after its admission a call may act.
            trusts_acs: Whether a STOP of which ACS itself told us needs no call.
        """
        if trusts_acs and isinstance(self.event, OptOut) and self.event.is_texted:
            self._judged = {place: _Judged(word, Judgement.STANDS, 0) for place, word in enumerate(self.words)}
        elif admission.rows:
            judged = {}
            for place, word in enumerate(self.words):
                if row := admission.rows.get(word.key):
                    said_at = admission.said_at.get(word.id, word.said_at)
                    free_at = free_from(word.stop, row, horizon)
                    judged[place] = _Judged(
                        word._replace(said_at=said_at),
                        judge(said_at, word.stop, row),
                        free_at if free_at > admission.now else 0,
                    )
            self._judged = judged

    def calls(self) -> Wanted:
        """Give for whom ACS is to be called."""
        if not self._judged:
            return ((self.senders, self.recipients),)
        called: dict[Number, list[Number]] = {}
        for (sender, to), _, _ in self._called():
            called.setdefault(sender, []).append(to)
        return [((sender,), recipients) for sender, recipients in called.items()]

    def _called(self) -> Iterator[tuple[tuple[Number, Number], Word, int]]:
        known = self._judged or {}
        for place, (pair, word) in enumerate(zip(product(self.senders, self.recipients), self.words, strict=True)):
            if (judged := known.get(place)) is None:
                yield pair, word, 0
            elif judged.judgement is Judgement.CALL:
                yield pair, judged.word, judged.back_at

    def confirmed(self, outcomes: Outcomes) -> Iterator[Confirmed]:
        """Give the words whose call ACS confirmed."""
        for (sender, to), word, back_at in self._called():
            if (outcome := outcomes[sender][to]).verdict is Verdict.CONFIRMED:
                yield Confirmed(word, not back_at, outcome)

    def settle(self, answers: Answers, schedule: Schedule, chance: Callable[[], float]) -> SettledEvent:
        """Say what becomes of each recipient.

        Args:
            answers: What the world said.
            schedule: The delays before the next try.
            chance: Gives a random number in the range [0, 1); one is for all recipients, so that they stay together.
        """
        lineage = self.message.lineage
        if not self._judged and not self.objections and answers.settle_all(self.senders, self.recipients):
            # Almost always.
            of_each = None if self.recipients is self.event.recipients else dict.fromkeys(self.recipients, DONE)
            return SettledEvent(self.event, lineage, answers.now, of_each)
        settlements: dict[Number, Settlement] = {to: DeadLetter(reason) for to, reason in self.objections.items()}
        known, drawn = self._judged or {}, chance()
        # Recipients of one event with one outcome share what becomes of them.
        failed: dict[int, Settlement] = {}
        for place, (sender, to) in enumerate(product(self.senders, self.recipients)):
            judged = known.get(place)
            settlement: Settlement
            if judged and judged.judgement is not Judgement.CALL:
                settlement = _STANDS if judged.judgement is Judgement.STANDS else _BLOCKED
            elif outcome := _failure(answers, sender, to):
                settlement = failed.get(id(outcome)) or settle(
                    outcome,
                    operation=self.operation,
                    lineage=lineage,
                    schedule=schedule,
                    now=answers.now,
                    chance=drawn,
                )
                failed[id(outcome)] = settlement
            else:
                settlement = self._of_confirmed(place, judged, answers, schedule)
            settlements[to] = _later(settlements[to], settlement) if to in settlements else settlement
        return SettledEvent(self.event, lineage, answers.now, settlements)

    def _of_confirmed(self, place: int, judged: _Judged | None, answers: Answers, schedule: Schedule) -> Settlement:
        if row := answers.newer and answers.newer.get(self.words[place].key):
            # The newer word saw our call when it was admitted, and calls after it.
            return _BLOCKED if row.stop and isinstance(self.event, OptIn) else DONE
        if judged and judged.back_at:
            # The broker's clock is not the ledger's: who came too early would call and come back, again and again.
            at = max(moment_of(judged.back_at), answers.now + schedule.outage_first)
            return RetryLater(at, self.message.lineage.attempt, is_overlap=True)
        return DONE


def _failure(answers: Answers, sender: Number, to: Number) -> Outcome | None:
    """Give what went wrong with a call, or None; outcomes that are the same are one object."""
    outcome = answers.unasked or answers.outcomes[sender][to]
    if outcome.verdict is not Verdict.CONFIRMED:
        return outcome
    return _NOT_KEPT if answers.newer is None else None


def _later(one: Settlement, other: Settlement) -> Settlement:
    return max(one, other, key=lambda settlement: _DONE_LAST.index(type(settlement)))
