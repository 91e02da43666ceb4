"""Ledgers of every kind."""

import os
import secrets
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pytest
from psycopg import AsyncConnection

from optout_core.adapters.ledger.postgres import PostgresLedger
from optout_core.adapters.ledger.sqlite import SqliteLedger
from optout_core.addresses import PostgresAddress, read_ledger
from tests.consent.postgres import make_database, postgres_server
from tests.consent.world import World, give_clock, over_postgres, over_sqlite
from tests.fakes import MemoryLedger

#: A place in memory, where there is one: nobody pulls the plug here, and every commit would wait for the disk.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder of our own is made in it


@pytest.fixture(scope="session")
def postgres():
    """A server; its address."""
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_database(postgres):
    """A database of this process; its address."""
    return make_database(postgres, f"optout_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{secrets.token_hex(3)}")


def _no_credential():
    raise AssertionError("the address holds a password")


@asynccontextmanager
async def open_postgres(url, **parts):
    """Open a ledger in a database that is emptied first."""
    address = cast("PostgresAddress", read_ledger(url))
    async with PostgresLedger(address, _no_credential, **parts) as ledger:
        await ledger.migrate()
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(
                "TRUNCATE consent, consent_word, consent_answer, consent_function, consent_replayed"
            )
        yield ledger


@asynccontextmanager
async def _open(kind, request, tmp_path):
    if kind == "sqlite":
        async with SqliteLedger(tmp_path / "ledger.db") as opened:
            yield opened
    else:
        async with open_postgres(request.getfixturevalue("postgres_database")) as opened:
            yield opened


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def ledger(request, tmp_path):
    """An empty ledger; the fake keeps the same promises."""
    if request.param == "memory":
        yield MemoryLedger(lambda: datetime.now(UTC))
    else:
        async with _open(request.param, request, tmp_path) as opened:
            yield opened


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request, tmp_path):
    """An empty ledger of each kind that lasts."""
    async with _open(request.param, request, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def clocked_database(postgres):
    """A database of this process whose clock a world sets; its address."""
    name = f"optout_world_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{secrets.token_hex(3)}"
    url = make_database(postgres, name)
    give_clock(url)
    return url


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request):
    """An empty ledger of each kind that lasts, with the clock of a world."""
    if request.param == "sqlite":
        with TemporaryDirectory(dir=MEMORY) as folder:
            async with over_sqlite(Path(folder) / "ledger.db") as opened:
                yield opened
    else:
        async with over_postgres(request.getfixturevalue("clocked_database")) as opened:
            yield opened


@pytest.fixture
def world(store):
    """A world in which nothing was said yet."""
    return World(store)
