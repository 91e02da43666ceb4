"""A ledger in one file, for one machine: SQLite, in a thread of its own."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time_ns
from typing import Self, TypeVar

from optout_core.adapters.ledger import schema
from optout_core.consent import ConsentKey, Row, Word, WordId
from optout_core.errors import LedgerUnavailable, SettingsError
from optout_core.ledger import Admission, Confirmed
from optout_core.masking import show

#: Seconds that another process may keep the file to itself.
_BUSY = 10.0
#: The mode of a file that is made.
_OWNER_ONLY = 0o600
#: `->>` and what else stands in the statements is new in 3.38 (https://www.sqlite.org/releaselog/3_38_0.html).
_OLDEST = (3, 38, 0)
#: File systems on which several machines see one file; their locks do not keep SQLite's promises
#: (https://www.sqlite.org/howtocorrupt.html, 2.1).
_SHARES = ("nfs", "cifs", "smb", "9p", "fuse.", "afs", "ceph", "gluster", "lustre")
_MOUNTS = Path("/proc/self/mounts")

_Result = TypeVar("_Result")

#: What is given, as a table: faster by half than JSON taken apart.
_GIVEN = """
CREATE TEMP TABLE IF NOT EXISTS given (
    sender TEXT, person TEXT, said_at INTEGER, stop INTEGER, PRIMARY KEY (sender, person)) WITHOUT ROWID
"""
_GIVE = "INSERT OR REPLACE INTO temp.given VALUES (?, ?, ?, ?)"
_FORGET = "DELETE FROM temp.given"
#: A known event keeps the time with which it was first admitted.
_WORD = "INSERT OR IGNORE INTO consent_word VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SAID_AT = """
SELECT said_at FROM consent_word WHERE sender = ? AND person = ? AND source = ? AND event = ? AND stop = ?
"""
#: `(said_at, stop, true) > (said_at, stop, settled)` says "newer, or the same and not settled": that word may call. At
#: the same moment a STOP is the newer word, since false sorts before true.
_ADMIT = """
INSERT INTO consent AS c
SELECT sender, person, said_at, stop, 0, iif(stop, :now, 0), iif(stop, 0, :now) FROM temp.given WHERE true
ON CONFLICT (sender, person) DO UPDATE SET
  said_at = iif((excluded.said_at, excluded.stop) > (c.said_at, c.stop), excluded.said_at, c.said_at),
  stop = iif((excluded.said_at, excluded.stop) > (c.said_at, c.stop), excluded.stop, c.stop),
  settled = c.settled AND (excluded.said_at, excluded.stop) <= (c.said_at, c.stop),
  add_at = iif(excluded.stop AND (excluded.said_at, excluded.stop, 1) > (c.said_at, c.stop, c.settled),
               max(c.add_at, :now), c.add_at),
  remove_at = iif(NOT excluded.stop AND (excluded.said_at, excluded.stop, 1) > (c.said_at, c.stop, c.settled),
                  max(c.remove_at, :now), c.remove_at)
RETURNING sender, person, said_at, stop, settled, add_at, remove_at
"""
#: Who was erased meanwhile stays so.
_ANSWER = """
INSERT INTO consent_answer SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
WHERE EXISTS (SELECT 1 FROM consent WHERE sender = ?1 AND person = ?2)
"""
_SETTLE = """
UPDATE consent SET settled = 1 WHERE sender = ? AND person = ? AND said_at = ? AND stop = ? AND NOT settled
"""
_ROWS = """
SELECT sender, person, c.said_at, c.stop, settled, add_at, remove_at
FROM temp.given JOIN consent AS c USING (sender, person) WHERE (c.said_at, c.stop) <> (given.said_at, given.stop)
"""


class SqliteLedger:
    """A consent ledger in a file; other processes of the same machine may use it too."""

    def __init__(self, path: Path) -> None:
        """Take the path; nothing is opened before the first statement.

        Raises:
            SettingsError: The file cannot be kept there.
        """
        check_place(path)
        self._path = path
        self._thread = ThreadPoolExecutor(1, "consent-ledger")
        self._connection: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._run(self._close)
        self._thread.shutdown(wait=False)

    async def admit(self, words: Sequence[Word]) -> Admission:
        """Take words in, as `optout_core.ledger.Ledger` says."""
        return await self._run(self._admit, words) if words else Admission(0, {}, {})

    async def record(self, answers: Iterable[Confirmed]) -> Mapping[ConsentKey, Row]:
        """Keep what ACS confirmed, as `optout_core.ledger.Ledger` says."""
        given = list(answers)
        return await self._run(self._record, given) if given else {}

    async def run(self, statement: str, arguments: Mapping[str, object]) -> Sequence[tuple[object, ...]]:
        """Run one statement, as `optout_core.adapters.ledger.records.Database` says."""
        return await self._run(self._once, statement, arguments)

    async def migrate(self) -> None:
        """Make the tables, or bring them up to date.

        Raises:
            LedgerUnavailable: We may not, or the file cannot be read.
        """
        await self._run(self._migrated)

    async def _run(self, work: Callable[..., _Result], *arguments: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _admit(self, words: Sequence[Word]) -> Admission:
        with self._transaction() as run:
            now = time_ns() // 1000
            given = {word.id: word for word in reversed(words)}
            said_at: dict[WordId, int] = {}
            if run.executemany(_WORD, schema.written(given.values())).rowcount < len(given):
                said_at = {each: run.execute(_SAID_AT, each).fetchone()[0] for each in given}
            newest: dict[ConsentKey, tuple[int, bool]] = {}
            for each, word in given.items():
                said = said_at.get(each, word.said_at), word.stop
                newest[word.key] = max(said, newest.get(word.key, said))
            self._give(run, ((*key, *said) for key, said in newest.items()))
            rows = _rows(run.execute(_ADMIT, {"now": now}))
        return Admission(now, said_at, rows)

    def _give(self, run: sqlite3.Connection, rows: Iterable[tuple[object, ...]]) -> None:
        run.execute(_GIVEN)
        run.execute(_FORGET)
        run.executemany(_GIVE, rows)

    def _record(self, answers: Sequence[Confirmed]) -> Mapping[ConsentKey, Row]:
        with self._transaction() as run:
            run.executemany(_ANSWER, schema.answered(answers))
            run.executemany(
                _SETTLE,
                [(*word[:2], word.said_at, word.stop) for word, settles, _ in answers if settles],
            )
            self._give(run, ((*word[:2], word.said_at, word.stop) for word, *_ in answers))
            return _rows(run.execute(_ROWS))

    def _once(self, statement: str, arguments: Mapping[str, object]) -> Sequence[tuple[object, ...]]:
        with self._transaction() as run:
            return run.execute(statement, arguments).fetchall()

    def _migrated(self) -> None:
        with self._transaction():
            pass

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block in one transaction, on disk when it ends."""
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            # A file that was moved, or a disk that came back, is opened anew.
            self._close()
            raise LedgerUnavailable(
                f"the consent ledger gives no answer ({show(str(error))}): nothing is called; check the disk, the file"
                " and the rights of CONSENT_LEDGER"
            ) from None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            # It holds numbers in clear, and the files beside it take its mode. Never opened where it is there: closing
            # it would give up the locks of this process on it (https://www.sqlite.org/howtocorrupt.html, 2.2). What
            # fails here, SQLite says in its own words.
            with suppress(OSError):
                self._path.resolve().touch(_OWNER_ONLY, exist_ok=False)
            connection = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            try:
                # A commit is on disk when it returns: NORMAL would lose the last ones with the power.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                _migrate(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def check_place(path: Path) -> None:
    """Refuse a place that cannot hold the file.

    Raises:
        SettingsError: The folder is missing, or on a network share; or this SQLite is too old.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise SettingsError(f"CONSENT_LEDGER: SQLite {sqlite3.sqlite_version} is too old, it must be 3.38 or newer")
    folder = path.parent.resolve()
    if not folder.is_dir():
        raise SettingsError("CONSENT_LEDGER must name a file in a folder that is there: sqlite:////folder/file")
    kind = _file_system(folder)
    if kind.startswith(_SHARES):
        raise SettingsError(
            f"CONSENT_LEDGER must not lie on a network share ({kind}): its locks do not hold; use PostgreSQL"
        )


def _file_system(folder: Path) -> str:
    try:
        mounts = [line.split() for line in _MOUNTS.read_text().splitlines()]
    except OSError:
        return ""
    places = {Path(place.encode().decode("unicode_escape")): kind for _, place, kind, *_ in mounts}
    return next((places[parent] for parent in (folder, *folder.parents) if parent in places), "")


def _migrate(connection: sqlite3.Connection) -> None:
    if _version(connection) == schema.VERSION:
        return
    connection.execute("BEGIN EXCLUSIVE")
    try:
        # Another process may have been faster.
        for statement in schema.statements(_version(connection), schema.SQLITE):
            connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'consent_meta'").fetchone()
    version: int = connection.execute(schema.READ_VERSION).fetchone()[0] if known else 0
    if version > schema.VERSION:
        raise LedgerUnavailable(schema.too_new(version))
    return version


def _rows(found: sqlite3.Cursor) -> dict[ConsentKey, Row]:
    return {
        ConsentKey(sender, person): Row(said_at, bool(stop), bool(settled), add_at, remove_at)
        for sender, person, said_at, stop, settled, add_at, remove_at in found
    }
