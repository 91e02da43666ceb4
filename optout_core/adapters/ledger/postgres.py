"""A ledger that many instances share: PostgreSQL, reached with a token of Entra ID or with a password."""

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

import certifi
from azure_postgresql_auth.errors import EntraConnectionValueError
from azure_postgresql_auth.psycopg3 import AsyncEntraConnection
from psycopg import AsyncConnection, Error, OperationalError
from psycopg.conninfo import make_conninfo
from psycopg.errors import DeadlockDetected, InsufficientPrivilege, SerializationFailure, UndefinedTable
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from pydantic_core import to_json

from optout_core.adapters.ledger import schema
from optout_core.addresses import PostgresAddress
from optout_core.consent import ConsentKey, Evidence, Row, Word
from optout_core.errors import LedgerForbidden, LedgerUnavailable
from optout_core.ledger import Admission, Confirmed
from optout_core.masking import show

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

#: Connections of one process: what the capacity page (docs/capacity.md) multiplies by the instances.
CONNECTIONS = 4
#: Seconds after which a connection, and then a statement, is given up.
_CONNECT, _ANSWER = 10, 20.0
#: Seconds after which a connection is replaced, well before a token ends on which it was opened.
_LIFETIME = 45 * 60.0
#: Seconds for which the transaction that won a deadlock has the rows to itself.
_OTHERS_FIRST = 0.2
#: Any number will do, if nobody else on the database takes the same lock.
_MIGRATION_LOCK = 20_260_123
_Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]
_Arguments = Sequence[object] | Mapping[str, object]
_NAMED = re.compile(r"(?<![:\w]):(\w+)")


_TEXT = schema.POSTGRESQL["text"]
#: What a column of a slice is, where it is no text.
_TYPES = {"stop": "boolean", "settles": "boolean"} | dict.fromkeys(
    ("said_at", "arrived_at", "captured_at", "answered_at", "status"), schema.POSTGRESQL["integer"]
)
#: One statement is one transaction, and each decision is made on the locked row itself: READ COMMITTED is enough.
#: `{given}` and the columns in braces are what `_filled` writes there.
#: `(said_at, stop, true) > (said_at, stop, settled)` says "newer, or the same and not settled": that word may call.
#: Words and rows that were known before come back side by side, since the planner has no estimate for a join of both;
#: last comes the clock. What is new says nothing that its sender does not know.
_ADMIT = """
WITH clock AS MATERIALIZED (SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint AS now),
words AS (
  INSERT INTO consent_word AS w
  SELECT {sender}, {person}, {source}, {event}, {stop}, {said_at}, {recipient}, {from_sender}, {arrived_at},
         {captured_at}, {method}, {reference}
  FROM {given} ORDER BY {sender}, {person}, {source}, {event}, {stop}
  ON CONFLICT (sender, person, source, event, stop) DO UPDATE SET said_at = w.said_at
  RETURNING w.sender, w.person, w.source, w.event, w.stop, w.said_at, w.xmax <> 0 AS is_known),
rows AS (
  INSERT INTO consent AS c
  SELECT sender, person, said_at, stop, false, CASE WHEN stop THEN now ELSE 0 END, CASE WHEN stop THEN 0 ELSE now END
  FROM clock, (SELECT DISTINCT ON (sender, person) sender, person, said_at, stop FROM words
               ORDER BY sender, person, said_at DESC, stop DESC) AS newest
  ORDER BY sender, person
  ON CONFLICT (sender, person) DO UPDATE SET
    said_at = CASE WHEN (excluded.said_at, excluded.stop) > (c.said_at, c.stop)
              THEN excluded.said_at ELSE c.said_at END,
    stop = CASE WHEN (excluded.said_at, excluded.stop) > (c.said_at, c.stop) THEN excluded.stop ELSE c.stop END,
    settled = c.settled AND (excluded.said_at, excluded.stop) <= (c.said_at, c.stop),
    add_at = CASE WHEN excluded.stop AND (excluded.said_at, excluded.stop, true) > (c.said_at, c.stop, c.settled)
             THEN greatest(c.add_at, excluded.add_at) ELSE c.add_at END,
    remove_at = CASE WHEN NOT excluded.stop
                     AND (excluded.said_at, excluded.stop, true) > (c.said_at, c.stop, c.settled)
                THEN greatest(c.remove_at, excluded.remove_at) ELSE c.remove_at END
  RETURNING c.sender, c.person, c.said_at, c.stop, c.settled, c.add_at, c.remove_at, c.xmax <> 0 AS is_known)
SELECT sender, person, source, event, stop, said_at, NULL, NULL, NULL FROM words WHERE is_known
UNION ALL
SELECT sender, person, NULL, NULL, stop, said_at, settled, add_at, remove_at FROM rows WHERE is_known OR %(several)s
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, now, NULL, NULL, NULL FROM clock
"""
#: Rows are locked first, one by one in the order of their keys: while a newer word waits to commit this waits for it,
#: then settles nothing and gives that word back; who was erased meanwhile has no row to lock and stays erased. Each row
#: is looked up alone, since a join would be planned by what the tables held when they were last analysed. What is
#: selected at the end is read first, so that all rows are locked before one is changed.
_RECORD = """
WITH given AS MATERIALIZED (
  SELECT * FROM (SELECT * FROM {given} ORDER BY {sender}, {person}) AS given, LATERAL (
    SELECT c.said_at AS newest_at, c.stop AS newest_stop, c.settled, c.add_at, c.remove_at FROM consent AS c
    WHERE (c.sender, c.person) = ({sender}, {person}) FOR NO KEY UPDATE) AS newest),
answers AS (
  INSERT INTO consent_answer
  SELECT {sender}, {person}, {source}, {event}, {stop}, {answered_at}, {status}, {ms_cv} FROM given),
rows AS (
  UPDATE consent AS c SET settled = true FROM given
  WHERE (c.sender, c.person) = ({sender}, {person})
  AND {settles} AND NOT given.settled AND (newest_at, newest_stop) = ({said_at}, {stop}))
SELECT {sender}, {person}, newest_at, newest_stop, settled, add_at, remove_at FROM given
WHERE (newest_at, newest_stop) <> ({said_at}, {stop})
"""


class PostgresLedger:
    """A consent ledger in a database; connections are opened at the first statement."""

    def __init__(
        self, address: PostgresAddress, credential: "Callable[[], AsyncTokenCredential]", connections: int = CONNECTIONS
    ) -> None:
        """Take the address, what gives the credential where that holds no password, and the most connections."""
        self._address = address
        self._credential = credential
        self._connections = connections
        self._starting = asyncio.Lock()
        self._pool: _Pool | None = None
        self._is_ready = False
        self._refusal: Exception | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def admit(self, words: Sequence[Word]) -> Admission:
        """Take words in, as `optout_core.ledger.Ledger` says."""
        if not words:
            return Admission(0, {}, {})
        # No statement may touch a row twice.
        given = {word.id: word for word in reversed(words)}
        columns = _columns_of_words(given.values())
        several = len(set(zip(columns["sender"], columns["person"], strict=True))) < len(given)
        statement, arguments = _filled(_ADMIT, columns)
        *found, (*_, now, _, _, _) = await self._ask(statement, arguments | {"several": several})
        said_at = {row[:5]: row[5] for row in found if row[2] is not None}
        rows = {ConsentKey(*row[:2]): Row(row[5], row[4], *row[6:]) for row in found if row[2] is None}
        return Admission(now, said_at, rows)

    async def record(self, answers: Iterable[Confirmed]) -> Mapping[ConsentKey, Row]:
        """Keep what ACS confirmed, as `optout_core.ledger.Ledger` says."""
        given = list(answers)
        if not given:
            return {}
        found = await self._ask(*_filled(_RECORD, _columns_of_answers(given)))
        return {ConsentKey(sender, person): Row(*row) for sender, person, *row in found}

    async def run(self, statement: str, arguments: Mapping[str, object]) -> Sequence[tuple[object, ...]]:
        """Run one statement, as `optout_core.adapters.ledger.records.Database` says."""
        return await self._ask(_NAMED.sub(r"%(\1)s", statement), arguments)

    async def migrate(self) -> None:
        """Make the tables, or bring them up to date; several may do so at once.

        Raises:
            LedgerUnavailable: We may not, or there is no answer.
        """
        async with self._answering() as pool:
            await self._prepare(pool)

    async def _ask(self, statement: str, arguments: _Arguments) -> list[TupleRow]:
        async with self._answering() as pool:
            try:
                return await self._execute(pool, statement, arguments)
            except (DeadlockDetected, SerializationFailure):
                # At once we could take the row again that the other one waits for, and both would stand as before.
                await asyncio.sleep(_OTHERS_FIRST)
                return await self._execute(pool, statement, arguments)
            except PoolTimeout:
                raise
            except OperationalError:
                # A connection was lost, and with it perhaps all others: both statements may be repeated.
                await pool.check()
                return await self._execute(pool, statement, arguments)

    async def _execute(self, pool: _Pool, statement: str, arguments: _Arguments) -> list[TupleRow]:
        if not self._is_ready:
            await self._prepare(pool)
        async with pool.connection() as connection:
            cursor = await connection.execute(statement, arguments)
            return await cursor.fetchall() if cursor.description else []

    async def _prepare(self, pool: _Pool) -> None:
        await _migrate(pool)
        self._is_ready = True

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[_Pool]:
        """Give the connections, and turn whatever fails in the block into what it means for us."""
        try:
            async with asyncio.timeout(_ANSWER):
                yield await self._opened()
        except TimeoutError:
            raise _unavailable(f"no answer within {_ANSWER:g} s") from None
        except UndefinedTable:
            self._is_ready = False
            raise LedgerUnavailable(schema.NOT_THERE) from None
        except PoolTimeout as error:
            raise _unavailable(self._why(error)) from None
        except InsufficientPrivilege as error:
            raise LedgerForbidden(_gives_no_answer(error.diag.message_primary or "a right is missing")) from None
        except Error as error:
            # What stands behind the first line may quote a row, and with it a number.
            raise _unavailable(error.diag.message_primary or str(error).partition("\n")[0]) from None

    async def _opened(self) -> _Pool:
        async with self._starting:
            if self._pool is None:
                arguments: dict[str, Any] = {"autocommit": True, "prepare_threshold": None}
                if not self._address.has_password:
                    arguments |= {"credential": self._credential(), "user": unquote(self._address.user)}
                pool = AsyncConnectionPool(
                    _conninfo(self._address),
                    connection_class=self._connection_class(),
                    kwargs=arguments,
                    min_size=0,
                    max_size=self._connections,
                    timeout=_CONNECT,
                    max_lifetime=_LIFETIME,
                    # Who waits asks again: nothing goes on trying meanwhile, ever less often.
                    reconnect_timeout=_CONNECT,
                    open=False,
                )
                await pool.open()
                self._pool = pool
            return self._pool

    def _connection_class(self) -> type[AsyncConnection[TupleRow]]:
        base: type[AsyncConnection[TupleRow]] = AsyncConnection if self._address.has_password else AsyncEntraConnection

        class Connection(base):  # type: ignore[misc, valid-type] # chosen above
            """Remembers why the last one could not be opened: the pool keeps that to itself."""

            @classmethod
            async def connect(cls, *args: Any, **kwargs: Any) -> "AsyncConnection[TupleRow]":  # noqa: ANN401
                try:
                    return await super().connect(*args, **kwargs)  # type: ignore[no-any-return]
                except Exception as error:
                    self._refusal = error
                    raise

        return Connection

    def _why(self, error: Exception) -> str:
        refusal = self._refusal or error
        if isinstance(refusal, EntraConnectionValueError):
            return f"the identity service gives no token: {refusal.__cause__ or refusal}"
        return str(refusal)


def _unavailable(why: str) -> LedgerUnavailable:
    return LedgerUnavailable(_gives_no_answer(why))


def _gives_no_answer(why: str) -> str:
    return (
        f"the consent ledger gives no answer ({show(' '.join(why.split()))[:200]}): nothing is called; check that the"
        " server is up, CONSENT_LEDGER, and the role of our identity there"
    )


def _conninfo(address: PostgresAddress) -> str:
    # What the address says stands; a server elsewhere is known by its certificate.
    safe: dict[str, str] = {}
    if not address.is_here:
        trusted = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or certifi.where()
        safe = {"sslmode": "verify-full"} | ({} if address.names_root else {"sslrootcert": trusted})
    return make_conninfo(
        address.url.get_secret_value(),
        connect_timeout=_CONNECT,
        # After a fail-over the old primary may still answer, and only read.
        target_session_attrs="read-write",
        keepalives_idle=30,
        application_name="optout",
        **safe,
    )


async def _migrate(pool: _Pool) -> None:
    async with pool.connection() as connection:
        if await _version(connection) == schema.VERSION:
            return
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
                # Another process may have been faster.
                for statement in schema.statements(await _version(connection), schema.POSTGRESQL):
                    await connection.execute(statement)
        except InsufficientPrivilege:
            raise LedgerUnavailable(schema.NOT_THERE) from None


async def _version(connection: AsyncConnection[TupleRow]) -> int:
    # Not `to_regclass`, which remembers that there was none while it waited for whoever makes the tables.
    known = await connection.execute("SELECT FROM pg_class WHERE relname = 'consent_meta' AND pg_table_is_visible(oid)")
    if await known.fetchone() is None:
        return 0
    found = await (await connection.execute(schema.READ_VERSION)).fetchone()
    version: int = found[0] if found else 0
    if version > schema.VERSION:
        raise LedgerUnavailable(schema.too_new(version))
    return version


def _filled(statement: str, columns: Mapping[str, Sequence[object]]) -> tuple[str, dict[str, object]]:
    """Write the columns of a slice into a statement, what is alike for all only once; give its arguments, too.

    The others are JSON arrays: psycopg takes ten times as long to write arrays of the database.
    """
    alike = {name: column[0] for name, column in columns.items() if column.count(column[0]) == len(column)}
    # Somebody has to say how many there are.
    alike.pop("person", None)
    arrays = {name: to_json(column).decode() for name, column in columns.items() if name not in alike}
    places = dict.fromkeys(alike, "%({0})s") | dict.fromkeys(arrays, "given.{0}")
    written = {name: f"{place.format(name)}::{_TYPES.get(name, _TEXT)}" for name, place in places.items()}
    read = ", ".join(f"jsonb_array_elements_text(%({name})s)" for name in arrays)
    given = f"ROWS FROM ({read}) AS given ({', '.join(arrays)})"
    return statement.format(given=given, **written), alike | arrays


def _columns_of_words(words: Collection[Word]) -> dict[str, Sequence[object]]:
    *columns, evidence = zip(*words, strict=True)
    names = (*Word._fields[:-1], "from_sender", *Evidence._fields[1:])
    return dict(zip(names, (*columns, *zip(*evidence, strict=True)), strict=True))


def _columns_of_answers(answers: Sequence[Confirmed]) -> dict[str, Sequence[object]]:
    words, settles, outcomes = zip(*answers, strict=True)
    *columns, _, _ = zip(*words, strict=True)
    names = (*Word._fields[:-2], "settles", "answered_at", "status", "ms_cv")
    return dict(zip(names, (*columns, settles, *zip(*schema.facts(outcomes), strict=True)), strict=True))
