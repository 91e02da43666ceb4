"""The newest word of a person stands. Pure: the caller says what time it is and what the ledger knows.

A *word* is what one event says for one person: a STOP or an opt-in, and when it was said. ACS's list stores no time,
`:add` and `:remove` are unconditional, and a call may act after its caller gave up on it. So the ledger knows the
newest word of each person, whether the list is known to say it, and when a call of each kind was last admitted. Whoever
brings the newest word calls; an older word never does. The protocol was model-checked: docs/design.md, "Consent".
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum, auto
from hashlib import sha256
from operator import attrgetter
from typing import NamedTuple

from optout_core.events import OptIn, OptOut
from optout_core.masking import Untrusted
from optout_core.numbers import Number, person_key, sender_key
from optout_core.reasons import Reason

#: Reasons that were given for good: time only makes the opt-in older.
_FINAL = {reason.value: reason for reason in (Reason.NEWER_OPT_OUT, Reason.STALE_OPT_IN)}
_is_clear = attrgetter("is_clear")
_NONE: Mapping[Number, Reason] = {}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Characters of a source or id in a key. PostgreSQL takes 2,704 bytes for all of a key, and a character has up to four
#: (https://www.postgresql.org/docs/current/btree.html).
_MAX_KEY = 256


class OptOutScope(StrEnum):
    """For whose messages a STOP counts."""

    SENDER = "sender"
    ALL = "all"


class ConsentKey(NamedTuple):
    """What tells whether two words are about the same person and the same sender."""

    sender: str
    person: str

    def __repr__(self) -> str:
        """Show neither number."""
        return "<ConsentKey>"


class Evidence(NamedTuple):
    """What proves the words of an event, one value for all its recipients; times are microseconds since 1970.

    Attributes:
        sender: Whose messages, as the event says it.
        arrived_at: When the event's message reached us.
        captured_at: When the people said it, as the publisher's record has it, or None.
        method: How, or None.
        reference: Where the publisher's own record is, or None.
    """

    sender: str
    arrived_at: int
    captured_at: int | None = None
    method: str | None = None
    reference: str | None = None

    def __repr__(self) -> str:
        """Show no number."""
        return "<Evidence>"


class Word(NamedTuple):
    """What one event says for one person.

    Attributes:
        sender: Whose messages, as a consent key.
        person: Who, as a consent key.
        source: Of the event.
        event: The event's id.
        stop: Whether it is a STOP; else an opt-in.
        said_at: When it was said: microseconds since 1970.
        recipient: The person's number, as it is sent to ACS.
        evidence: What proves it.
    """

    sender: str
    person: str
    source: str
    event: str
    stop: bool
    said_at: int
    recipient: str
    evidence: Evidence

    def __repr__(self) -> str:
        """Show neither number."""
        return f"<{'STOP' if self.stop else 'opt-in'} of {Untrusted(self.event)!r}>"

    @property
    def key(self) -> ConsentKey:
        """Give what the word is about."""
        # Made for every recipient: the constructor of a named tuple takes five times as long.
        return tuple.__new__(ConsentKey, self[:2])

    @property
    def id(self) -> "WordId":
        """Give what tells it from every other word: a publisher that uses an id twice hides no STOP by that."""
        return self[:5]


#: Sender, person, source, event, and whether it is a STOP.
WordId = tuple[str, str, str, str, bool]


class Row(NamedTuple):
    """What the ledger knows of one person.

    Attributes:
        said_at: When the newest word was said: microseconds since 1970.
        stop: Whether that is a STOP.
        settled: Whether the opt-out list is known to say it.
        add_at: When a call of `:add` was last admitted, by the ledger's clock; 0 for never.
        remove_at: The same of `:remove`.
    """

    said_at: int
    stop: bool
    settled: bool
    add_at: int
    remove_at: int

    def admit(self, said_at: int, stop: bool, now: int) -> "Row":  # noqa: FBT001 - a word is a pair of both
        """Take a word in: the newer one stays, and whoever brings the newest while it is not settled may call."""
        given, newest = (said_at, stop), (self.said_at, self.stop)
        if given < newest or (given == newest and self.settled):
            return self
        add_at, remove_at = (max(self.add_at, now), self.remove_at) if stop else (self.add_at, max(self.remove_at, now))
        return Row(said_at, stop, settled=False, add_at=add_at, remove_at=remove_at)


#: Of a person of whom nothing is known: every word is newer.
NOTHING_SAID = Row(said_at=-(2**63), stop=False, settled=False, add_at=0, remove_at=0)


class Judgement(StrEnum):
    """What becomes of a word."""

    CALL = auto()
    """It is the newest, and the list is not known to say so."""
    STANDS = auto()
    """The list says so already, or a newer word of the person stands: nothing is called."""
    BLOCKED = auto()
    """An opt-in with a STOP at or after it: nothing is called."""


def judge(said_at: int, stop: bool, row: Row) -> Judgement:  # noqa: FBT001 - a word is a pair of both
    """Say what becomes of a word, by the row that the ledger gave back when it took the word in.

    Args:
        said_at: When it was first said to the ledger: microseconds since 1970.
        stop: Whether it is a STOP; at the same moment a STOP is the newer word.
        row: Of the same person.
    """
    if (said_at, stop) >= (row.said_at, row.stop):
        return Judgement.STANDS if row.settled else Judgement.CALL
    return Judgement.BLOCKED if row.stop and not stop else Judgement.STANDS


def free_from(stop: bool, row: Row, horizon: timedelta) -> int:  # noqa: FBT001 - as above
    """Say from when on no call of the opposite kind can act any more: microseconds since 1970; 0 for always.

    A confirmed call settles its word only if it was admitted then or later; else the word comes back at that moment.

    Args:
        stop: Whether the word is a STOP.
        row: Of the person, as the ledger gave it back at admission.
        horizon: How long after its admission a call may act: CALL_HORIZON.
    """
    opposite = row.remove_at if stop else row.add_at
    return opposite + horizon // _MICROSECOND if opposite else 0


def microseconds(moment: datetime) -> int:
    """Give a moment as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(microseconds: int) -> datetime:
    """Give microseconds since 1970 as a moment, in UTC."""
    return _EPOCH + microseconds * _MICROSECOND


@dataclass(frozen=True, slots=True)
class OptInRule:
    """What a word has to satisfy before it counts.

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
        self, event: OptIn | OptOut, now: datetime, sent_back: Untrusted | None = None
    ) -> Mapping[Number, Reason]:
        """Say for which recipients an event does not count, and why.

        A STOP is never too old; only one that names no person for certain counts for nobody.

        Args:
            event: The event.
            now: The current time; aware.
            sent_back: Why the message was a dead letter before, or None.
        """
        if isinstance(event, OptOut):
            # A number without its country may be that of several people; ACS and the sender are the same everywhere.
            return {to: Reason.UNCLEAR_OPT_OUT for to in event.recipients if not to.is_international}
        if self._allowed and sender_key(event.sender) not in self._allowed:
            return dict.fromkeys(event.recipients, Reason.SENDER_NOT_ALLOWED)
        if sent_back and sent_back.raw in _FINAL:
            # Whatever tool sent it back, the STOP that it lost to still stands.
            return dict.fromkeys(event.recipients, _FINAL[sent_back.raw])
        is_stale, are_clear = now - event.time > self.max_age, all(map(_is_clear, event.recipients))
        if are_clear and not is_stale:
            # Almost always.
            return _NONE
        objections = dict.fromkeys(event.recipients, Reason.STALE_OPT_IN) if is_stale else {}
        return objections | {to: Reason.RECIPIENT_REJECTED for to in event.recipients if not to.is_clear}

    def senders(self, event: OptOut) -> Collection[Number]:
        """Give the senders for whose messages a STOP counts; each once."""
        if self.scope is OptOutScope.SENDER:
            return (event.sender,)
        return tuple({sender_key(sender): sender for sender in (*self.allowed_senders, event.sender)}.values())


def words(event: OptIn | OptOut, sender: Number, recipients: Collection[Number], arrived_at: datetime) -> list[Word]:
    """Give what an event says for each of these recipients, in their order.

    Args:
        event: The event.
        sender: For whose messages it counts.
        recipients: Who, each once.
        arrived_at: When its message reached us; aware.
    """
    of_sender, said_at, stop = sender_key(sender), microseconds(event.time), isinstance(event, OptOut)
    source, name = _as_key(event.source.raw), _as_key(event.id.raw)
    proof = Evidence(event.sender.text, microseconds(arrived_at))
    if (consent := event.consent) is not None:
        captured_at = None if consent.captured_at is None else microseconds(consent.captured_at)
        proof = Evidence(proof.sender, proof.arrived_at, captured_at, consent.method, consent.reference)
    return [
        tuple.__new__(Word, (of_sender, person_key(to), source, name, stop, said_at, to.text, proof))
        for to in recipients
    ]


def _as_key(name: str) -> str:
    """Write a name as every database can keep it in an index: what is long or odd is known by its hash."""
    if len(name) <= _MAX_KEY and name.isprintable():
        return name
    return f"sha256:{sha256(name.encode(errors='surrogatepass')).hexdigest()}"
