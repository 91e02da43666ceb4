"""The tables of the consent ledger, and how they came to be: one list of migrations for both databases.

Times are microseconds since 1970, so that both databases compare them alike. A type that differs between the two is
written in braces and filled in by the adapter.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from optout_core.consent import Word, microseconds
from optout_core.ledger import Confirmed
from optout_core.outcomes import Outcome

#: What SQLite calls the types in which the databases differ.
SQLITE = {"text": "TEXT", "integer": "INTEGER", "boolean": "INTEGER", "without_rowid": " WITHOUT ROWID", "room": ""}
#: PostgreSQL compares texts byte by byte, as SQLite does; and leaves room beside each row for its next version, since
#: almost every row is settled right after it was made: beside the row and with nothing changed that an index looks at,
#: that costs no entry in any index (https://www.postgresql.org/docs/current/storage-hot.html).
POSTGRESQL = {
    "text": 'text COLLATE "C"',
    "integer": "bigint",
    "boolean": "boolean",
    "without_rowid": "",
    "room": " WITH (fillfactor = 50)",
}

#: Each takes the schema from its place in the list to the next; what was released is never changed.
_MIGRATIONS = (
    (
        """CREATE TABLE consent (
            sender {text} NOT NULL, person {text} NOT NULL, said_at {integer} NOT NULL, stop {boolean} NOT NULL,
            settled {boolean} NOT NULL, add_at {integer} NOT NULL, remove_at {integer} NOT NULL,
            unsettled_stop {boolean} GENERATED ALWAYS AS (stop AND NOT settled) STORED,
            PRIMARY KEY (sender, person)){without_rowid}{room}""",
        "CREATE INDEX consent_unsettled ON consent (said_at) WHERE unsettled_stop",
        """CREATE TABLE consent_word (
            sender {text} NOT NULL, person {text} NOT NULL, source {text} NOT NULL, event {text} NOT NULL,
            stop {boolean} NOT NULL, said_at {integer} NOT NULL, recipient {text} NOT NULL,
            from_sender {text} NOT NULL, arrived_at {integer} NOT NULL, captured_at {integer}, method {text},
            reference {text}, PRIMARY KEY (sender, person, source, event, stop)){without_rowid}""",
        """CREATE TABLE consent_answer (
            sender {text} NOT NULL, person {text} NOT NULL, source {text} NOT NULL, event {text} NOT NULL,
            stop {boolean} NOT NULL, answered_at {integer} NOT NULL, status {integer}, ms_cv {text})""",
        "CREATE INDEX consent_answer_person ON consent_answer (sender, person)",
    ),
    (
        """CREATE TABLE consent_function (
            name {text} NOT NULL PRIMARY KEY, started_at {integer} NOT NULL, version {text} NOT NULL,
            settings {text} NOT NULL){without_rowid}""",
        """CREATE TABLE consent_replayed (
            replay {text} NOT NULL, sender {text} NOT NULL, person {text} NOT NULL, source {text} NOT NULL,
            event {text} NOT NULL, PRIMARY KEY (replay, sender, person, source, event)){without_rowid}""",
        "CREATE INDEX consent_replayed_person ON consent_replayed (sender, person)",
    ),
)

#: The version that this code knows.
VERSION = len(_MIGRATIONS)

_CREATE_META = "CREATE TABLE IF NOT EXISTS consent_meta (version {integer} NOT NULL)"
COUNT_UNSETTLED = "SELECT count(*) FROM consent WHERE unsettled_stop AND said_at < :before"
READ_VERSION = "SELECT version FROM consent_meta"


def statements(version: int, types: Mapping[str, str]) -> list[str]:
    """Give the statements that bring a schema of this version up to `VERSION`; of none for 0.

    Args:
        version: Of the tables that are there; 0 for none.
        types: `SQLITE` or `POSTGRESQL`.
    """
    if version == VERSION:
        return []
    changes = [statement for migration in _MIGRATIONS[version:] for statement in migration]
    known = ("DELETE FROM consent_meta", f"INSERT INTO consent_meta VALUES ({VERSION:d})")  # noqa: S608 - a number of ours
    return [statement.format(**types) for statement in (_CREATE_META, *changes, *known)]


def too_new(version: int) -> str:
    """Say that the tables are of a later version than this code."""
    return (
        f"the consent ledger has schema version {version} and this version knows {VERSION}: nothing is called; deploy"
        " the version that made it, or a newer one"
    )


#: Where the tables are missing or old, and we may not make them.
NOT_THERE = (
    "the tables of the consent ledger are missing or old and cannot be made from here: nothing is called; run"
    " `optout consent migrate` as somebody who may"
)


def written(words: Iterable[Word]) -> Iterator[tuple[object, ...]]:
    """Give the rows of `consent_word` for some words, columns in the order of the table."""
    return (word[:7] + word.evidence for word in words)


def answered(answers: Collection[Confirmed]) -> Iterator[tuple[object, ...]]:
    """Give the rows of `consent_answer` for some answers, columns in the order of the table."""
    outcomes = facts(answer.outcome for answer in answers)
    return (word[:5] + each for (word, _, _), each in zip(answers, outcomes, strict=True))


def facts(outcomes: Iterable[Outcome]) -> Iterator[tuple[object, ...]]:
    """Give the last columns of `consent_answer` for some outcomes: when it was, its status and its MS-CV."""
    known: dict[int, tuple[object, ...]] = {}
    for outcome in outcomes:
        # All recipients of a request share one outcome.
        if (found := known.get(id(outcome))) is None:
            answered_at = 0 if outcome.answered_at is None else microseconds(outcome.answered_at)
            found = known[id(outcome)] = (answered_at, outcome.status, outcome.ms_cv)
        yield found
