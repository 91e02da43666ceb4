"""What the processor needs of a consent ledger, and the one that remembers for a single invocation. Pure.

docs/design.md, "Consent", says what the two statements do; `optout_core/adapters/ledger` holds those that last.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from optout_core.consent import NOTHING_SAID, ConsentKey, Row, Word, WordId, microseconds
from optout_core.outcomes import Outcome


class Admission(NamedTuple):
    """What the ledger answers to words.

    Attributes:
        now: When, by its own clock: microseconds since 1970.
        said_at: Of each word that was known before, by its id: when it was first said to the ledger; microseconds since
            1970.
        rows: Of each person of whom more is known than one of these words; may hold others of them.
    """

    now: int
    said_at: Mapping[WordId, int]
    rows: Mapping[ConsentKey, Row]

    def row_of(self, word: Word) -> Row:
        """Give what is known of a word's person; of whom nothing else is known, just that the word was admitted."""
        return self.rows.get(word.key) or NOTHING_SAID.admit(word.said_at, word.stop, self.now)


class Confirmed(NamedTuple):
    """A word whose call ACS confirmed.

    Attributes:
        word: The word, with the time that the ledger gave back.
        settles: Whether no call of the opposite kind may act after this one.
        outcome: What ACS said.
    """

    word: Word
    settles: bool
    outcome: Outcome


class Ledger(Protocol):
    """Knows the newest word of each person."""

    async def admit(self, words: Sequence[Word]) -> Admission:
        """Take words in before anything is called for them; the answer says what may be called.

        Args:
            words: In any order; the same word may stand there twice. One that is known keeps the time with which it was
                first admitted.

        Raises:
            LedgerUnavailable: Nothing may be called. Admitting again is safe.
        """

    async def record(self, answers: Iterable[Confirmed]) -> Mapping[ConsentKey, Row]:
        """Keep what ACS confirmed; a word that settles is settled if it is still the newest.

        Returns:
            What is now known of each person of whom another word has become the newest meanwhile.

        Raises:
            LedgerUnavailable: It may have been kept or not. Recording again is safe.
        """


class InvocationLedger:
    """Remembers the STOPs of one invocation, for a function without a ledger.

    The first words that it takes in hold all STOPs of the invocation. Of an opt-in it remembers nothing, unless the
    same person also said STOP: memory does not grow with the opt-ins, and calling again for one does no harm.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        """Take the clock."""
        self._now = now
        self._said_at: dict[WordId, int] = {}
        self._rows: dict[ConsentKey, Row] = {}

    async def admit(self, words: Sequence[Word]) -> Admission:
        """Take words in."""
        now = microseconds(self._now())
        stopped = {word.key for word in words if word.stop}
        if not stopped and not self._rows:
            return Admission(now, {}, {})
        known: dict[WordId, int] = {}
        newest: dict[ConsentKey, tuple[int, bool]] = {}
        for word in words:
            key = word.key
            if key not in stopped and key not in self._rows:
                continue
            said_at = self._said_at.setdefault(word.id, word.said_at)
            if said_at != word.said_at:
                known[word.id] = said_at
            said = (said_at, word.stop)
            newest[key] = max(said, newest.get(key, said))
        # Only the newest of a person may call: an older one of the same invocation is never admitted to.
        rows = {key: self._rows.get(key, NOTHING_SAID).admit(*said, now) for key, said in newest.items()}
        self._rows |= rows
        return Admission(now, known, rows)

    async def record(self, answers: Iterable[Confirmed]) -> Mapping[ConsentKey, Row]:
        """Settle those that are still the newest."""
        newer: dict[ConsentKey, Row] = {}
        if self._rows:
            for word, settles, _ in answers:
                key = word.key
                row = self._rows.get(key)
                if row and (row.said_at, row.stop) != (word.said_at, word.stop):
                    newer[key] = row
                elif row and settles:
                    self._rows[key] = row._replace(settled=True)
        return newer
