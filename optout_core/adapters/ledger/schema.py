"""The tables of the consent ledger, and how they came to be: one list of migrations for both databases.

Times are microseconds since 1970, so that both databases compare them alike. A type that differs between the two is
written in braces and filled in by the adapter.
"""

from collections.abc import Mapping

from optout_core.consent import Word, microseconds
from optout_core.ledger import Confirmed

#: What SQLite calls the types in which the databases differ.
SQLITE = {"text": "TEXT", "integer": "INTEGER", "boolean": "INTEGER", "without_rowid": " WITHOUT ROWID", "room": ""}
#: PostgreSQL compares texts byte by byte, as SQLite does; and leaves room beside each row for its next version.
POSTGRESQL = {
    "text": 'text COLLATE "C"',
    "integer": "bigint",
    "boolean": "boolean",
    "without_rowid": "",
    "room": " WITH (fillfactor = 70)",
}

#: Each takes the schema from its place in the list to the next; what was released is never changed.
_MIGRATIONS = (
    (
        """CREATE TABLE consent (
            sender {text} NOT NULL, person {text} NOT NULL, said_at {integer} NOT NULL, stop {boolean} NOT NULL,
            settled {boolean} NOT NULL, add_at {integer} NOT NULL, remove_at {integer} NOT NULL,
            PRIMARY KEY (sender, person)){without_rowid}{room}""",
        "CREATE INDEX consent_unsettled ON consent (said_at) WHERE stop AND NOT settled",
        """CREATE TABLE consent_word (
            sender {text} NOT NULL, person {text} NOT NULL, source {text} NOT NULL, event {text} NOT NULL,
            stop {boolean} NOT NULL, said_at {integer} NOT NULL, from_sender {text} NOT NULL,
            recipient {text} NOT NULL, arrived_at {integer} NOT NULL, captured_at {integer}, method {text},
            reference {text}, PRIMARY KEY (sender, person, source, event, stop)){without_rowid}""",
        """CREATE TABLE consent_answer (
            sender {text} NOT NULL, person {text} NOT NULL, source {text} NOT NULL, event {text} NOT NULL,
            stop {boolean} NOT NULL, answered_at {integer} NOT NULL, status {integer}, ms_cv {text})""",
        "CREATE INDEX consent_answer_person ON consent_answer (sender, person)",
        "CREATE INDEX consent_word_arrived ON consent_word (arrived_at)",
    ),
)

#: The version that this code knows.
VERSION = len(_MIGRATIONS)

_CREATE_META = "CREATE TABLE IF NOT EXISTS consent_meta (version {integer} NOT NULL)"
COUNT_UNSETTLED = "SELECT count(*) FROM consent WHERE stop AND NOT settled AND said_at < {}"
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


def written(word: Word) -> tuple[object, ...]:
    """Give the columns of one row of `consent_word`, in the order of the table."""
    proof = word.evidence
    return (
        *word[:6],
        proof.sender,
        proof.recipient,
        microseconds(proof.arrived_at),
        None if proof.captured_at is None else microseconds(proof.captured_at),
        proof.method,
        proof.reference,
    )


def answered(answer: Confirmed) -> tuple[object, ...]:
    """Give the columns of one row of `consent_answer`, in the order of the table."""
    word, _, outcome = answer
    answered_at = 0 if outcome.answered_at is None else microseconds(outcome.answered_at)
    return (*word[:5], answered_at, outcome.status, outcome.ms_cv)
