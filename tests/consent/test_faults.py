"""A ledger that fails says so in words and lets nothing be called; when it is well again, so are we."""

import asyncio
import sqlite3
import time
from contextlib import asynccontextmanager

import psycopg
import pytest

from optout_core.adapters.ledger import postgres as adapter
from optout_core.adapters.ledger import schema, sqlite
from optout_core.adapters.ledger.postgres import PostgresLedger
from optout_core.adapters.ledger.sqlite import SqliteLedger, check_place
from optout_core.addresses import PostgresAddress, read_ledger
from optout_core.errors import LedgerUnavailable, SettingsError
from optout_ops.cli.outside import Outside
from optout_ops.health.findings import Health
from tests.build import OTHER, PERSON
from tests.consent.conftest import open_postgres
from tests.consent.postgres import make_database
from tests.consent.said import confirmed, key, people, stop, web


def address(url):
    read = read_ledger(url)
    assert isinstance(read, PostgresAddress)
    return read


def nobody():
    raise AssertionError("the address holds a password")


@asynccontextmanager
async def other_session(url):
    """Somebody else's session on the database."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection


async def said(ledger, *words):
    """Give what a ledger says when it cannot take words in."""
    with pytest.raises(LedgerUnavailable) as refused:
        await ledger.admit(list(words))
    return str(refused.value)


@pytest.fixture
def database(postgres, request):
    """A database of this test alone; its address."""
    return make_database(postgres, f"faults_{abs(hash(request.node.name)) % 10**8}")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(adapter, "_CONNECT", 2)


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_named_and_nobody_waits_for_long():
    started = time.monotonic()
    async with PostgresLedger(address("postgresql://optout:secret@127.0.0.1:9/optout"), nobody) as ledger:
        words = await said(ledger, *web(1))

    assert "the consent ledger gives no answer (" in words
    assert "refused" in words
    assert "nothing is called" in words
    assert "secret" not in words
    assert time.monotonic() - started < 10


async def test_connections_that_were_lost_are_opened_again_within_the_statement(database):
    async with open_postgres(database) as ledger:
        await asyncio.gather(*(ledger.admit(web(1, to)) for to in people(4)))
        async with other_session(database) as other:
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )

        admission = await ledger.admit(web(2))
        await ledger.record(confirmed(web(2)))
        again = await ledger.admit(web(2))

    assert admission.now
    assert again.rows[key()].settled


async def test_a_deadlock_repeats_the_statement_once(database):
    async with open_postgres(database) as ledger, other_session(database) as other:
        first, second = people(2)
        await ledger.admit([*web(1, first), *web(1, second)])
        update = "UPDATE consent SET settled = settled WHERE person = %s"
        # Whoever waits for this long looks for a deadlock and gives way: it has to be us.
        await other.execute("SET deadlock_timeout = '20s'")
        await other.execute(update, [second])
        ours = asyncio.create_task(ledger.admit([*web(2, first), *web(2, second)]))
        while not await (await other.execute("SELECT true FROM pg_locks WHERE NOT granted")).fetchone():
            pass  # The server is asked again until ours waits.
        await other.execute(update, [first])
        await other.commit()

        admission = await ours

    assert len(admission.rows) == 2


async def test_whoever_is_erased_while_an_answer_waits_for_that_stays_erased(database):
    async with open_postgres(database) as ledger, other_session(database) as other:
        await ledger.admit(web(1))
        await other.execute("DELETE FROM consent")
        ours = asyncio.create_task(ledger.record(confirmed(web(1))))
        while not await (await other.execute("SELECT true FROM pg_locks WHERE NOT granted")).fetchone():
            pass  # The server is asked again until ours waits.
        await other.commit()

        assert await ours == {}

        assert await ledger.run("SELECT person FROM consent UNION SELECT person FROM consent_answer", {}) == []


async def test_a_server_that_does_not_answer_in_time_is_given_up_and_works_again(database, monkeypatch):
    monkeypatch.setattr(adapter, "_ANSWER", 0.5)
    async with open_postgres(database) as ledger:
        await ledger.admit(web(1))
        async with other_session(database) as other:
            await other.execute("LOCK TABLE consent IN ACCESS EXCLUSIVE MODE")
            slow = await said(ledger, *web(2))
        monkeypatch.setattr(adapter, "_ANSWER", 20.0)
        admission = await ledger.admit(web(2))

    assert "no answer within 0.5 s" in slow
    assert admission.rows


async def test_a_server_that_only_reads_is_refused_in_words(database):
    async with open_postgres(database) as ledger:
        async with other_session(database) as other:
            name = database.rpartition("/")[2]
            await other.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
            await other.commit()
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )

        assert "read-only" in await said(ledger, *web(1))


async def test_tables_of_a_later_version_are_left_alone(database):
    async with open_postgres(database):
        pass
    async with other_session(database) as other:
        await other.execute("UPDATE consent_meta SET version = 99")
        await other.commit()
    async with PostgresLedger(address(database), nobody) as ledger:
        words = await said(ledger, *web(1))

    assert f"has schema version 99 and this version knows {schema.VERSION}: nothing is called" in words


async def test_tables_that_are_missing_and_may_not_be_made_are_asked_for(database):
    role = f"reader_{database[-8:]}"
    async with other_session(database) as other:
        await other.execute(f'DROP ROLE IF EXISTS "{role}"'.encode())
        await other.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'x'".encode())
        await other.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        await other.commit()
    theirs = database.replace("postgres:loopback@", f"{role}:x@")
    async with PostgresLedger(address(theirs), nobody) as ledger:
        words = await said(ledger, *web(1))

    assert "run `optout consent migrate` as somebody who may" in words


async def test_tables_that_vanish_are_looked_for_again(database):
    async with open_postgres(database) as ledger:
        await ledger.admit(web(1))
        async with other_session(database) as other:
            await other.execute("DROP TABLE consent, consent_word, consent_answer, consent_meta")
            await other.execute("DROP TABLE consent_function, consent_replayed")
            await other.commit()

        first = await said(ledger, *web(1))
        admission = await ledger.admit(web(1))

    assert "the tables of the consent ledger are missing" in first
    assert admission.now


async def test_two_that_make_the_tables_at_once_do_not_stand_in_each_others_way(database):
    async with PostgresLedger(address(database), nobody) as one, PostgresLedger(address(database), nobody) as other:
        await asyncio.gather(one.admit(web(1)), other.admit(web(1)), one.migrate(), other.migrate())


class Identity:
    """A credential that gives no token."""

    async def get_token(self, *scopes, **options):
        del scopes, options
        raise ConnectionError("169.254.169.254 does not answer")

    async def close(self):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


async def test_an_identity_service_without_a_token_is_told_apart_from_the_ledger(database):
    passwordless = database.replace("postgres:loopback@", "postgres@")
    async with PostgresLedger(address(passwordless), Identity) as ledger:
        words = await said(ledger, *web(1))

    assert "the identity service gives no token: 169.254.169.254 does not answer" in words


async def test_what_the_server_says_of_a_row_is_not_passed_on(database):
    async with open_postgres(database) as ledger:
        async with other_session(database) as other:
            await other.execute("ALTER TABLE consent_word ADD CONSTRAINT nobody CHECK (recipient = '')")
            await other.commit()
        words = await said(ledger, *web(1, PERSON))

    assert "violates check constraint" in words
    assert PERSON[1:] not in words


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("postgresql://u@h.example/d", {"sslmode": "verify-full"}),
        ("postgresql://u@h.example/d?sslmode=verify-full", {"sslmode": "verify-full"}),
        ("postgresql://u@h.example/d?sslrootcert=/ca.pem", {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}),
        ("postgresql://u@127.0.0.1/d", {}),
    ],
)
def test_a_server_elsewhere_is_known_by_its_certificate(url, wanted):
    options = psycopg.conninfo.conninfo_to_dict(adapter._conninfo(address(url)))

    assert wanted.items() <= options.items()
    assert ("sslrootcert" in options) == bool(wanted)
    assert options["target_session_attrs"] == "read-write"


async def looked_at(url):
    outside = Outside({"CONSENT_LEDGER": url})
    finding, _ = await outside.look_at_ledger(outside.settings("memory"), names_acs=False)
    return finding


async def test_an_operator_who_may_only_read_is_told_what_that_leaves_open(database):
    role = f"looker_{database[-8:]}"
    async with open_postgres(database), other_session(database) as other:
        await other.execute(f'DROP ROLE IF EXISTS "{role}"'.encode())
        await other.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'x'".encode())
        await other.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"'.encode())
        await other.commit()

    finding = await looked_at(database.replace("postgres:loopback@", f"{role}:x@"))

    assert finding.health is Health.UNKNOWN
    assert finding.text == (
        "it can be read, and every STOP that it holds is settled; whether the function may write is not known, since we"
        " may not"
    )


async def test_a_look_at_a_server_that_writes_is_good_and_at_one_that_only_reads_is_bad(database):
    async with open_postgres(database), other_session(database) as other:
        written = await looked_at(database)
        kept = await (await other.execute("SELECT count(*) FROM consent_replayed")).fetchone()
        name = database.rpartition("/")[2]
        await other.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
        await other.commit()

    read = await looked_at(database)

    assert (written.health, kept) == (Health.GOOD, (0,))
    assert read.health is Health.BAD
    assert "read-only" in read.text


# --- SQLite ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def in_a_file(tmp_path):
    async with SqliteLedger(tmp_path / "ledger.db") as opened:
        await opened.admit(web(1))
        yield opened


async def test_a_disk_that_is_full_is_named_and_nothing_of_the_slice_stays(in_a_file):
    ((pages,),) = await in_a_file.run("PRAGMA page_count", {})
    await in_a_file.run(f"PRAGMA max_page_count = {pages}", {})

    words = await said(in_a_file, *web(2, *people(5000)))

    assert "database or disk is full" in words
    assert len((await in_a_file.admit(stop(3, OTHER))).rows) == 1
    ((kept,),) = await in_a_file.run("SELECT count(*) FROM consent_word", {})
    assert kept == 2


async def test_a_file_that_somebody_else_keeps_is_given_up_and_works_again(in_a_file, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "_BUSY", 0.2)
    in_a_file._close()
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    words = await said(in_a_file, *web(2))
    other.execute("ROLLBACK")
    other.close()

    assert "database is locked" in words
    assert (await in_a_file.admit(web(2))).rows


async def test_a_file_that_can_only_be_read_is_named(in_a_file):
    await in_a_file.run("PRAGMA query_only = 1", {})

    assert "readonly database" in await said(in_a_file, *web(2))


@pytest.mark.usefixtures("in_a_file")
async def test_a_new_file_is_readable_by_its_owner_only_and_so_is_what_lies_beside_it(tmp_path):
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}

    assert modes == dict.fromkeys(("ledger.db", "ledger.db-wal", "ledger.db-shm"), 0o600)


async def test_a_file_that_is_there_keeps_the_rights_that_it_was_given(tmp_path):
    (tmp_path / "ledger.db").touch(0o640)

    async with SqliteLedger(tmp_path / "ledger.db") as opened:
        await opened.admit(web(1))

    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o640


async def test_a_file_that_was_taken_away_is_made_anew(in_a_file, tmp_path):
    in_a_file._close()
    for path in tmp_path.iterdir():
        path.unlink()

    assert (await in_a_file.admit(web(2))).rows[key()].said_at


async def test_a_file_of_a_later_version_is_left_alone(in_a_file):
    await in_a_file.run("UPDATE consent_meta SET version = 99", {})
    in_a_file._close()

    assert "has schema version 99" in await said(in_a_file, *web(2))


async def test_two_processes_may_share_a_file(tmp_path):
    async with SqliteLedger(tmp_path / "ledger.db") as one, SqliteLedger(tmp_path / "ledger.db") as other:
        await asyncio.gather(*(ledger.admit(web(n, *people(50))) for n in range(8) for ledger in (one, other)))
        admission = await other.admit(stop(99, people(1)[0]))

    assert admission.rows[key(people(1)[0])].stop


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p"])
def test_a_network_share_is_refused_at_start(tmp_path, monkeypatch, kind):
    mounts = tmp_path / "mounts"
    share = tmp_path / "a share"
    share.mkdir()
    written = str(share).replace(" ", "\\040")
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\n//server/share {written} {kind} rw 0 0\n")
    monkeypatch.setattr(sqlite, "_MOUNTS", mounts)

    with pytest.raises(SettingsError, match=rf"must not lie on a network share \({kind}\)"):
        check_place(share / "ledger.db")
    check_place(tmp_path / "ledger.db")


def test_a_folder_that_is_missing_is_refused_at_start(tmp_path):
    with pytest.raises(SettingsError, match="a folder that is there"):
        SqliteLedger(tmp_path / "nowhere" / "ledger.db")


def test_an_old_sqlite_is_refused_at_start(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))

    with pytest.raises(SettingsError, match="is too old"):
        check_place(tmp_path / "ledger.db")


async def test_tables_of_the_first_version_are_brought_up_to_date_and_keep_what_they_hold(in_a_file, tmp_path):
    await in_a_file.admit(web(1))
    await in_a_file.run("DROP TABLE consent_function", {})
    await in_a_file.run("DROP TABLE consent_replayed", {})
    await in_a_file.run("UPDATE consent_meta SET version = 1", {})

    async with SqliteLedger(tmp_path / "ledger.db") as newer:
        admission = await newer.admit(stop(2))
        ((version,),) = await newer.run("SELECT version FROM consent_meta", {})

        assert version == schema.VERSION
        assert await newer.run("SELECT * FROM consent_function", {}) == []
        assert len(await newer.run("SELECT * FROM consent_word", {})) == 2
        assert admission.rows[key()].stop


async def test_so_they_are_in_postgresql(database):
    async with open_postgres(database) as ledger:
        await ledger.admit(web(1))
        async with other_session(database) as other:
            await other.execute("DROP TABLE consent_function, consent_replayed")
            await other.execute("UPDATE consent_meta SET version = 1")
            await other.commit()

    async with PostgresLedger(address(database), nobody) as newer:
        admission = await newer.admit(stop(2))

        assert await newer.run("SELECT * FROM consent_function", {}) == []
        assert await newer.run("SELECT version FROM consent_meta", {}) == [(schema.VERSION,)]
        assert admission.rows[key()].stop
