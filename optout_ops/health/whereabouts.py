"""Where a person's word is: in which queue, until when, why not applied, and what ACS says now."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from optout_core.events import Ignored, OptOut
from optout_core.masking import show
from optout_core.numbers import Number, read_number
from optout_core.outgoing import Queue
from optout_ops.health.check import ListEntry
from optout_ops.letters.letter import Letter, read_letter
from optout_ops.letters.verdicts import ReplayRule
from optout_ops.queues.messages import MessageState
from optout_ops.queues.protocols import Peeks
from optout_ops.wording import brief, duration, utc

#: Digits that a number must have to name a person.
_DIGITS = 7


@dataclass(frozen=True, slots=True)
class Wanted:
    """A person, or an event, whose word is looked for.

    Attributes:
        written: What the operator wrote. Never print it.
        person: The number in it, or None when it is none.
    """

    written: str
    person: Number | None

    @classmethod
    def read(cls, written: str) -> "Wanted":
        """Read a number or the id of an event."""
        text = written.strip()
        number = read_number(text)
        return cls(text, number if number.is_clear and len(number.digits) >= _DIGITS else None)

    def __str__(self) -> str:
        """Show it, a number masked."""
        return show(self.written) if self.person is None else str(self.person)

    def is_in(self, letter: Letter) -> bool:
        """Say whether a message is about it: of this person, or of this event."""
        if self.person is not None and letter.has_recipient(self.person.text):
            return True
        return letter.has_event(self.written)


@dataclass(frozen=True, slots=True)
class Place:
    """One place where the word is, or was.

    Attributes:
        what: Such as `ready`, `scheduled`, `dead`, `applied`.
        sentence: All that is known of it, in one sentence, numbers masked.
        event: The event, as it is shown.
        senders: Whom it is about.
        number: The sequence number of a dead letter, or None.
    """

    what: str
    sentence: str
    event: str
    senders: frozenset[Number]
    number: int | None = None

    def as_document(self) -> dict[str, object]:
        """Give it for programs."""
        return {
            "what": self.what,
            "sentence": self.sentence,
            "event": self.event,
            "senders": sorted(map(str, self.senders)),
            "number": self.number,
        }


async def find_places(queues: Peeks, wanted: Wanted, rule: ReplayRule, now: datetime) -> AsyncIterator[Place]:
    """Yield the places in both queues, waiting ones first; locks and changes nothing.

    Raises:
        OutOfReach: A queue cannot be read.
    """
    async for message in queues.peek(Queue.OPT_INS):
        letter = read_letter(message)
        if wanted.is_in(letter):
            yield _waiting(letter, now)
    async for message in queues.peek(Queue.DEAD_LETTERS):
        letter = read_letter(message)
        if wanted.is_in(letter):
            yield _dead(letter, rule, now)


def acs_sentence(sender: Number, entry: ListEntry) -> str:
    """Say what ACS says now of a person and a sender."""
    why = f" ({entry.why})" if entry.why else ""
    return f"ACS says now: {entry.standing} for {sender}{why}."


def _waiting(letter: Letter, now: datetime) -> Place:
    message = letter.message
    attempt = f", after {letter.lineage.attempt} tries" if letter.lineage.attempt else ""
    if message.state is MessageState.SCHEDULED and message.scheduled_at is not None:
        until = f"{utc(message.scheduled_at)} UTC, in {duration(message.scheduled_at - now)}"
        return _place("scheduled", letter, f"is scheduled until {until}{attempt}")
    if message.state is not MessageState.ACTIVE:
        return _place(str(message.state), letter, f"is {message.state} in the queue: nobody will take it by itself")
    return _place("ready", letter, f"is ready for the function since {duration(now - message.enqueued_at)}{attempt}")


def _dead(letter: Letter, rule: ReplayRule, now: datetime) -> Place:
    verdict = rule.judge(letter, now)
    reason = brief(show(letter.code)) or "without a reason"
    since = duration(now - letter.message.enqueued_at)
    state = (
        ""
        if letter.message.state is MessageState.ACTIVE
        else f"; {letter.message.state}: the queue does not give it out"
    )
    text = f"is dead letter {letter.number} since {since}: {reason}; replay: {verdict.advice}{state}"
    return _place("dead", letter, text, letter.number)


def _place(what: str, letter: Letter, text: str, number: int | None = None) -> Place:
    events = [event for event in letter.events if not isinstance(event, Ignored)]
    kind = "STOP" if events and all(isinstance(event, OptOut) for event in events) else "opt-in"
    if letter.decode_error is not None:
        kind = "event that cannot be read"
    to = f" to {', '.join(sorted(map(str, letter.senders)))}" if letter.senders else ""
    event = brief(str(letter.event_id), 60)
    return Place(what, f"The {kind}{to} ({event}) {text}.", event, letter.senders, number)
