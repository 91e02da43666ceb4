"""A server elsewhere is known by its certificate: TLS stands before the server of the tests, whose build has none."""

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address

import certifi
import pytest
from cryptography.x509 import IPAddress

from optout_core.adapters.ledger import postgres as adapter
from optout_core.adapters.ledger.postgres import PostgresLedger
from optout_core.addresses import PostgresAddress, read_ledger
from optout_core.errors import LedgerUnavailable
from servicebus_sandbox.tests.certificates import make_certificate
from tests.consent.postgres import make_database
from tests.consent.said import web

#: How a client asks for TLS (https://www.postgresql.org/docs/current/protocol-message-formats.html, SSLRequest).
_SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)


@asynccontextmanager
async def tls_before(port, context):
    """Speak TLS on a port of ours, and plainly to the server behind it."""

    async def serve(reader, writer):
        assert await reader.readexactly(8) == _SSL_REQUEST
        writer.write(b"S")
        with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            await writer.start_tls(context)
            inner, outer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_pass(reader, outer), _pass(inner, writer))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def _pass(reader, writer):
    with suppress(ConnectionError, ssl.SSLError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


def nobody():
    raise AssertionError("the address holds a password")


def open_ledger(url):
    address = read_ledger(url)
    assert isinstance(address, PostgresAddress)
    return PostgresLedger(address, nobody)


@pytest.fixture
async def server(postgres, tmp_path, monkeypatch):
    """A server behind TLS: its port, the certificate that it shows, and the address of a database without host."""
    monkeypatch.setattr(adapter, "_CONNECT", 3)
    url = make_database(postgres, "behind_tls")
    context = make_certificate(tmp_path, IPAddress(ip_address("127.0.0.1")))
    credentials, _, rest = url.partition("@127.0.0.1:")
    port, _, database = rest.partition("/")
    async with tls_before(int(port), context) as ours:
        yield f"{credentials}@127.0.0.1:{ours}/{database}?sslmode=verify-full", tmp_path / "certificate.pem"


async def test_a_server_that_shows_the_certificate_that_is_trusted_is_used(server):
    url, trusted = server

    async with open_ledger(f"{url}&sslrootcert={trusted}") as ledger:
        admission = await ledger.admit(web(1))

    assert admission.now


async def test_a_server_that_nobody_vouches_for_is_refused(server):
    url, _ = server

    async with open_ledger(f"{url}&sslrootcert={certifi.where()}") as ledger:
        with pytest.raises(LedgerUnavailable, match="certificate verify failed"):
            await ledger.admit(web(1))


async def test_a_server_without_tls_is_refused_where_tls_is_asked_for(postgres, tmp_path, monkeypatch):
    monkeypatch.setattr(adapter, "_CONNECT", 3)
    make_certificate(tmp_path, IPAddress(ip_address("127.0.0.1")))
    trusted = tmp_path / "certificate.pem"

    async with open_ledger(f"{postgres}?sslmode=verify-full&sslrootcert={trusted}") as ledger:
        with pytest.raises(LedgerUnavailable, match="does not support SSL"):
            await ledger.admit(web(1))
