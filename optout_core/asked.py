"""One event on its way through a slice: what it says, what the ledger and ACS say to that, what becomes of it. Pure."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
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
        newer: What the ledger knows of those whom ACS confirmed and of whom another word is the newest meanwhile; None
            where it could not keep what ACS confirmed.
        now: When that was known; aware.
    """

    outcomes: Outcomes
    unasked: Outcome | None
    newer: Mapping[ConsentKey, Row] | None
    now: datetime


class _Judged(NamedTuple):
    """A word with its first time, what becomes of it, and when it comes back if called now.

    That is in microseconds since 1970; 0 where the call settles the word.
    """

    word: Word
    judgement: Judgement
    back_at: int


@dataclass(slots=True)
class Asked:
    """An event, and what is known of each of its recipients by now.

    Attributes:
        event: An opt-in or a STOP.
        message: The message it came in.
        objections: Recipients for whom it does not count, and why.
        words: What it says, for each person and sender for whom it counts.
    """

    event: OptIn | OptOut
    message: Incoming
    objections: Mapping[Number, Reason]
    words: list[Word]
    _pairs: list[Pair]
    #: By their place in `words`; whoever is missing there is called for, and settled by that.
    _judged: dict[int, _Judged] = field(default_factory=dict)

    @classmethod
    def of(cls, event: OptIn | OptOut, message: Incoming, rule: OptInRule, now: datetime) -> Self:
        """Say whom an event counts for."""
        objections = rule.objections(event, now, message.lineage.sent_back)
        counted: Collection[Number] = event.recipients
        if objections:
            counted = [to for to in event.recipients if to not in objections]
        said: list[Word] = []
        pairs: list[Pair] = []
        for sender in rule.senders(event):
            said += words(event, sender, counted, message.arrival.first_enqueued)
            pairs += [tuple.__new__(Pair, (sender, to)) for to in counted]
        # Who is unclear in a message that is a dead letter as a whole is in there.
        return cls(event, message, {} if message.error else objections, said, pairs)

    def __len__(self) -> int:
        """Count the recipients."""
        return len(self.event.recipients)

    @property
    def operation(self) -> Operation:
        """Give what ACS is to do for it."""
        return Operation.ADD if isinstance(self.event, OptOut) else Operation.REMOVE

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
            for place, word in enumerate(self.words):
                if row := admission.rows.get(word.key):
                    said_at = admission.said_at.get(word.id, word.said_at)
                    free_at = free_from(word.stop, row, horizon)
                    self._judged[place] = _Judged(
                        word._replace(said_at=said_at),
                        judge(said_at, word.stop, row),
                        free_at if free_at > admission.now else 0,
                    )

    def pairs(self) -> Iterable[Pair]:
        """Give for whom ACS is to be called."""
        if not self._judged:
            return self._pairs
        return [pair for pair, _, _ in self._called()]

    def _called(self) -> Iterator[tuple[Pair, Word, int]]:
        for place, (pair, word) in enumerate(zip(self._pairs, self.words, strict=True)):
            if (judged := self._judged.get(place)) is None:
                yield pair, word, 0
            elif judged.judgement is Judgement.CALL:
                yield pair, judged.word, judged.back_at

    def confirmed(self, outcomes: Outcomes) -> Iterator[Confirmed]:
        """Give the words whose call ACS confirmed."""
        for (sender, to), word, back_at in self._called():
            if (outcome := outcomes[sender][to]).verdict is Verdict.CONFIRMED:
                yield Confirmed(word, not back_at, outcome)

    def settle(self, answers: Answers, schedule: Schedule, chance: float) -> SettledEvent:
        """Say what becomes of each recipient.

        Args:
            answers: What the world said.
            schedule: The delays before the next try.
            chance: A random number in the range [0, 1), one for all recipients, so that they stay together.
        """
        settlements: dict[Number, Settlement] = {}
        if self._is_done(answers):
            settlements = dict.fromkeys([to for _, to in self._pairs], DONE)
        else:
            settlements.update((to, DeadLetter(reason)) for to, reason in self.objections.items())
            # Recipients of one event with one outcome share what becomes of them.
            settle_once = _once(
                partial(
                    settle,
                    operation=self.operation,
                    lineage=self.message.lineage,
                    schedule=schedule,
                    now=answers.now,
                    chance=chance,
                )
            )
            for place, (pair, word) in enumerate(zip(self._pairs, self.words, strict=True)):
                judged = self._judged.get(place) or _Judged(word, Judgement.CALL, 0)
                settlement, to = self._settlement(pair, judged, answers, settle_once, schedule), pair.recipient
                settlements[to] = _later(settlements[to], settlement) if to in settlements else settlement
        return SettledEvent(event=self.event, lineage=self.message.lineage, settlements=settlements, now=answers.now)

    def _is_done(self, answers: Answers) -> bool:
        """Say whether ACS did for everybody what the event says, and nobody else said anything: almost always."""
        return (
            not self._judged
            and not self.objections
            and not answers.unasked
            and answers.newer == {}
            and all(answers.outcomes[sender][to].verdict is Verdict.CONFIRMED for sender, to in self._pairs)
        )

    def _settlement(
        self,
        pair: Pair,
        judged: _Judged,
        answers: Answers,
        settle_once: Callable[[Outcome], Settlement],
        schedule: Schedule,
    ) -> Settlement:
        word, judgement, back_at = judged
        if judgement is not Judgement.CALL:
            return _STANDS if judgement is Judgement.STANDS else _BLOCKED
        outcome = answers.unasked or answers.outcomes[pair.sender][pair.recipient]
        if outcome.verdict is Verdict.CONFIRMED and answers.newer is not None:
            if row := answers.newer.get(word.key):
                # The newer word saw our call when it was admitted, and calls after it.
                return _BLOCKED if row.stop and not word.stop else DONE
            if not back_at:
                return DONE
            # The broker's clock is not the ledger's: who came too early would call and come back, again and again.
            at = max(moment_of(back_at), answers.now + schedule.outage_first)
            return RetryLater(at, self.message.lineage.attempt, is_overlap=True)
        return settle_once(_NOT_KEPT if outcome.verdict is Verdict.CONFIRMED else outcome)


def _once(settle: Callable[[Outcome], Settlement]) -> Callable[[Outcome], Settlement]:
    """Remember what becomes of an outcome; the outcomes live longer than what is returned is used."""
    known: dict[int, Settlement] = {}

    def settle_once(outcome: Outcome) -> Settlement:
        if (settlement := known.get(id(outcome))) is None:
            settlement = known[id(outcome)] = settle(outcome)
        return settlement

    return settle_once


def _later(one: Settlement, other: Settlement) -> Settlement:
    return max(one, other, key=lambda settlement: _DONE_LAST.index(type(settlement)))
