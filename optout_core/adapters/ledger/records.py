"""What operators ask a ledger: a person's history, export, erasure, retention, rows to verify.

One SQL for both databases. Nothing here is called by the function.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from optout_core.adapters.ledger.schema import COUNT_UNSETTLED
from optout_core.consent import ConsentKey, Row

#: People and words of one page: some hundred kilobytes.
_PAGE = 1_000
#: People of one question: SQLite took at most 999 arguments before 3.32.
_AT_ONCE = 400


class Database(Protocol):
    """Runs one statement in a transaction of its own."""

    async def run(self, statement: str, arguments: Mapping[str, object]) -> Sequence[tuple[object, ...]]:
        """Run a statement whose arguments are written `:name`; give the rows that it returns.

        Raises:
            LedgerUnavailable: There is no answer.
        """


class Answer(NamedTuple):
    """A call that ACS confirmed.

    Attributes:
        answered_at: When: microseconds since 1970.
        status: Of the recipient, or None.
        ms_cv: The `MS-CV` of the answer, or None.
    """

    answered_at: int
    status: int | None
    ms_cv: str | None


class Statement(NamedTuple):
    """One word as it was kept, with its evidence; times are microseconds since 1970. Never print it."""

    sender: str
    person: str
    source: str
    event: str
    stop: bool
    said_at: int
    from_sender: str
    recipient: str
    arrived_at: int
    captured_at: int | None
    method: str | None
    reference: str | None
    answers: tuple[Answer, ...] = ()

    def __repr__(self) -> str:
        """Show neither number."""
        return f"<{'STOP' if self.stop else 'opt-in'}>"


class Entry(NamedTuple):
    """A person's newest word, and how it is written; never print it.

    Attributes:
        key: Of the person and the sender.
        row: What the ledger knows.
        word: The newest word, or None where it was erased.
    """

    key: ConsentKey
    row: Row
    word: Statement | None

    def __repr__(self) -> str:
        """Show neither number."""
        return f"<{'STOP' if self.row.stop else 'opt-in'}>"


_WORD = """w.sender, w.person, w.source, w.event, w.stop, w.said_at, w.from_sender, w.recipient, w.arrived_at,
       w.captured_at, w.method, w.reference"""
_PAGE_OF_WORDS = f"""
SELECT {_WORD} FROM consent_word AS w
WHERE (w.sender, w.person, w.source, w.event, w.stop) > (:sender, :person, :source, :event, :stop)
  AND w.arrived_at >= :since AND w.arrived_at < :until
ORDER BY w.sender, w.person, w.source, w.event, w.stop LIMIT {_PAGE}
"""
_WORDS_OF = f"SELECT {_WORD} FROM consent_word AS w WHERE w.sender = :sender AND w.person = :person"
_ANSWERS = """
SELECT sender, person, source, event, stop, answered_at, status, ms_cv FROM consent_answer
WHERE (sender, person) >= (:first_sender, :first_person) AND (sender, person) <= (:last_sender, :last_person)
ORDER BY answered_at
"""
_ROW = "SELECT said_at, stop, settled, add_at, remove_at FROM consent WHERE sender = :sender AND person = :person"
_ROWS = """
SELECT sender, person, said_at, stop, settled, add_at, remove_at FROM consent
WHERE (sender, person) IN (VALUES {})
"""
_CHANGED = f"""
SELECT c.sender, c.person, c.said_at, c.stop, c.settled, c.add_at, c.remove_at, {_WORD} FROM (
    SELECT * FROM consent
    WHERE (sender, person) > (:sender, :person) AND (add_at >= :since OR remove_at >= :since)
    ORDER BY sender, person LIMIT {_PAGE}) AS c
LEFT JOIN consent_word AS w
  ON w.sender = c.sender AND w.person = c.person AND w.said_at = c.said_at AND w.stop = c.stop
ORDER BY c.sender, c.person
"""
_UNSETTLE = """
UPDATE consent SET settled = :no WHERE sender = :sender AND person = :person AND said_at = :said_at AND stop = :stop
"""
#: Step by step along the key of the table, which begins with the sender: there are few senders and many people.
_SENDERS = """
WITH RECURSIVE known (sender) AS (
  SELECT min(sender) FROM consent
  UNION ALL
  SELECT (SELECT min(c.sender) FROM consent AS c WHERE c.sender > known.sender) FROM known WHERE sender IS NOT NULL)
SELECT sender FROM known WHERE sender IS NOT NULL
"""
#: Of a person whose newest word is old, everything goes together: the row, or an older word would count again.
_OLD = f"""
SELECT sender, person FROM consent WHERE said_at < :before AND add_at < :before AND remove_at < :before
ORDER BY sender, person LIMIT {_PAGE}
"""
_FORGET = (
    "DELETE FROM consent_answer WHERE sender = :sender AND person = :person",
    "DELETE FROM consent_word WHERE sender = :sender AND person = :person",
    "DELETE FROM consent_replayed WHERE sender = :sender AND person = :person",
)
_FORGET_ROW = "DELETE FROM consent WHERE sender = :sender AND person = :person"
#: A row that is nobody's. Only what is committed proves that there is room: until then SQLite keeps it in memory.
_TRY = (
    "INSERT INTO consent_replayed VALUES ('', '', '', '', '') ON CONFLICT DO NOTHING",
    "DELETE FROM consent_replayed WHERE replay = ''",
)


class Records:
    """A ledger, as operators use it."""

    def __init__(self, database: Database) -> None:
        """Take the database."""
        self._database = database

    async def history(self, key: ConsentKey) -> tuple[Row | None, list[Statement]]:
        """Give what is known of a person, and every word with its answers, in the order in which they were said."""
        who = {"sender": key.sender, "person": key.person}
        rows = await self._database.run(_ROW, who)
        words = await self._with_answers(await self._database.run(_WORDS_OF, who))
        words.sort(key=lambda word: (word.said_at, word.stop, word.arrived_at))
        return (_row(rows[0]) if rows else None), words

    async def rows(self, keys: Iterable[ConsentKey]) -> dict[ConsentKey, Row]:
        """Give what is known of some people; nobody of whom nothing is known."""
        known: dict[ConsentKey, Row] = {}
        rest = iter(dict.fromkeys(keys))
        while some := tuple(islice(rest, _AT_ONCE)):
            named = ", ".join(f"(:s{number}, :p{number})" for number in range(len(some)))
            facts = {f"s{number}": key.sender for number, key in enumerate(some)}
            facts |= {f"p{number}": key.person for number, key in enumerate(some)}
            for sender, person, *row in await self._database.run(_ROWS.format(named), facts):
                known[ConsentKey(str(sender), str(person))] = _row(row)
        return known

    async def senders(self) -> list[str]:
        """Give the senders to whom anybody said anything."""
        return [str(sender) for (sender,) in await self._database.run(_SENDERS, {})]

    async def words(self, since: int, until: int) -> AsyncIterator[Statement]:
        """Give every word that arrived in a time, by sender and person.

        Args:
            since: Microseconds since 1970.
            until: The end, not included.
        """
        after: dict[str, object] = {"sender": "", "person": "", "source": "", "event": "", "stop": False}
        while page := await self._database.run(_PAGE_OF_WORDS, after | {"since": since, "until": until}):
            for word in await self._with_answers(page):
                yield word
            after = dict(zip(after, page[-1], strict=False))

    async def changed(self, since: int) -> AsyncIterator[list[Entry]]:
        """Give the people for whom a call was admitted since a moment, page by page.

        Args:
            since: Microseconds since 1970.
        """
        sender = person = ""
        while found := await self._database.run(_CHANGED, {"sender": sender, "person": person, "since": since}):
            entries: dict[ConsentKey, Entry] = {}
            for row in found:
                key = ConsentKey(*map(str, row[:2]))
                word = None if row[7] is None else _statement(row[7:])
                entries.setdefault(key, Entry(key, _row(row[2:7]), word))
            yield list(entries.values())
            sender, person = key

    async def unsettled_stops(self, before: int) -> int:
        """Count the people whose newest word is a STOP, said before a moment, that the list is not known to say.

        Args:
            before: Microseconds since 1970.
        """
        ((stops,),) = await self._database.run(COUNT_UNSETTLED, {"before": before})
        return int(str(stops))

    async def try_writing(self) -> None:
        """Write a row that is nobody's, and delete it.

        Raises:
            LedgerForbidden: We may not.
            LedgerUnavailable: It cannot be written: the disk is full, the file or the server only reads.
        """
        for statement in _TRY:
            await self._database.run(statement, {})

    async def unsettle(self, entry: Entry) -> None:
        """Say that the list does not say a word after all, if it is still the newest: brought again, it calls again."""
        sender, person = entry.key
        facts = {"sender": sender, "person": person, "said_at": entry.row.said_at, "stop": entry.row.stop, "no": False}
        await self._database.run(_UNSETTLE, facts)

    async def erase(self, key: ConsentKey) -> bool:
        """Delete a person's words and answers; a row whose newest word is a STOP stays, so that it goes on counting.

        Returns:
            Whether a row stays.
        """
        who = {"sender": key.sender, "person": key.person}
        for statement in _FORGET:
            await self._database.run(statement, who)
        await self._database.run(f"{_FORGET_ROW} AND NOT stop", who)
        return bool(await self._database.run(_ROW, who))

    async def prune(self, before: int) -> AsyncIterator[int]:
        """Delete people whose newest word was said, and whose last call was admitted, before a moment.

        Args:
            before: Microseconds since 1970.

        Yields:
            How many were deleted by now.
        """
        done = 0
        while found := await self._database.run(_OLD, {"before": before}):
            for sender, person in found:
                who = {"sender": sender, "person": person}
                for statement in (*_FORGET, _FORGET_ROW):
                    await self._database.run(statement, who)
            done += len(found)
            yield done

    async def _with_answers(self, page: Sequence[tuple[object, ...]]) -> list[Statement]:
        if not page:
            return []
        words = [_statement(each) for each in page]
        first, last = words[0], words[-1]
        bounds = {"first_sender": first.sender, "first_person": first.person}
        bounds |= {"last_sender": last.sender, "last_person": last.person}
        answers: dict[tuple[object, ...], list[Answer]] = {}
        for *word, stop, answered_at, status, ms_cv in await self._database.run(_ANSWERS, bounds):
            answers.setdefault((*word, bool(stop)), []).append(Answer(answered_at, status, ms_cv))  # type: ignore[arg-type]
        return [word._replace(answers=tuple(answers.get(word[:5], ()))) for word in words]


def _row(found: Sequence[object]) -> Row:
    said_at, stop, settled, add_at, remove_at = found
    return Row(said_at, bool(stop), bool(settled), add_at, remove_at)  # type: ignore[arg-type] # as the tables have it


def _statement(found: Sequence[object]) -> Statement:
    word = Statement(*found)  # type: ignore[arg-type] # as the tables have it
    return word._replace(stop=bool(word.stop))
