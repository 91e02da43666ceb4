"""Key, connection string or identity; and the credential that runs on Azure, asked as App Service is."""

import asyncio
import json
import os
import sys
from contextlib import suppress

import pytest
from azure.core.credentials import AccessToken
from azure.identity.aio import DefaultAzureCredential

from optout_core.adapters.connections import Credentials, RenewedCredential, entra_credential
from optout_core.adapters.signing import EntraSigner
from optout_core.errors import EndpointUnavailable, RequestError, RequestRefused, SettingsError
from tests.adapters.acs_client import RawServer

#: What the double slash of the scope leaves; the platform names it in its answer, and the cache goes by that.
RESOURCE = "https://communication.azure.com/"

SCRIPT = """
import asyncio
from optout_core.adapters.connections import entra_credential
from optout_core.adapters.signing import SCOPE

async def main():
    async with entra_credential("client-of-the-function") as credential:
        token = await credential.get_token(SCOPE)
        again = await credential.get_token(SCOPE)
    assert token == again
    print(token.token)

asyncio.run(main())
"""


async def ask(monkeypatch, status):
    """Give the error that an identity endpoint with this status leads to; None is one that nobody listens at."""

    async def answer(_, writer):
        head = f"HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n{{}}".encode())
        await writer.drain()

    async with RawServer(answer) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url if status else 'http://127.0.0.1:9'}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "of-the-platform")
        async with entra_credential("client-of-the-function") as credential:
            signer = EntraSigner(credential)
            monkeypatch.undo()
            try:
                await signer("/", b"")
            except RequestError as error:
                return type(error)
    return None


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDK leaves sockets of failed requests to the collector
async def test_an_identity_endpoint_that_is_down_is_an_outage_and_only_a_no_is_a_refusal(monkeypatch):
    later, refused = (None, 429, 500, 503), (400, 403, 404)

    met = await asyncio.gather(*(ask(monkeypatch, status) for status in (*later, *refused)))

    assert met == [EndpointUnavailable] * len(later) + [RequestRefused] * len(refused)


async def test_the_managed_identity_gives_a_token_and_keeps_it():
    async def answer(_, writer):
        body = {"access_token": "the-token", "expires_on": "4102444800", "resource": RESOURCE, "token_type": "Bearer"}
        document = json.dumps(body).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(document)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + document)
        await writer.drain()

    async with RawServer(answer) as server:
        environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "IDENTITY_", "MSI_"))
        } | {"IDENTITY_ENDPOINT": f"{server.url}/msi/token", "IDENTITY_HEADER": "of-the-platform"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", SCRIPT, env=environ, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()

    assert process.returncode == 0
    assert printed.decode().strip() == "the-token"
    asked = [head.split(b" ")[1] for head in server.heads]
    assert len(asked) == 1, "the credential keeps its token"
    assert b"client_id=client-of-the-function" in asked[0]
    assert f"resource={RESOURCE}&".encode() in asked[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AZURE_TOKEN_CREDENTIALS", "prodd"),
        ("AZURE_AUTHORITY_HOST", "http://login.example"),
        ("AZURE_CLIENT_CERTIFICATE_PATH", "/nonexistent"),
    ],
)
def test_a_wrong_variable_of_the_credential_is_named(monkeypatch, name, value):
    environ = {"AZURE_CLIENT_ID": "client", "AZURE_TENANT_ID": "tenant", name: value}
    for each in environ.items():
        monkeypatch.setenv(*each)

    with pytest.raises(SettingsError, match=name):
        entra_credential("client-of-the-function", environ)


class Failing:
    """A credential that fails, and remembers how it ended."""

    def __init__(self):
        self.asked = 0
        self.closed = False

    async def get_token(self, *_, **__):
        self.asked += 1
        raise ConnectionError("unavailable")

    async def close(self):
        self.closed = True

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()


class Working(Failing):
    """A credential that works."""

    async def get_token(self, *scopes, **_):
        self.asked += 1
        return AccessToken(f"for {scopes}", 4102444800)


async def test_after_three_failures_in_a_row_a_credential_is_made_anew():
    made = [Failing(), Working()]
    waiting = iter(made)

    async with RenewedCredential(lambda: next(waiting)) as credential:
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await credential.get_token("scope")
        token = await credential.get_token("scope")

    assert token.token == "for ('scope',)"
    assert [(each.asked, each.closed) for each in made] == [(3, True), (1, True)]


async def test_failures_that_are_not_in_a_row_are_forgotten():
    class Flapping(Failing):
        async def get_token(self, *_, **__):
            self.asked += 1
            if self.asked % 3:
                raise ConnectionError("unavailable")
            return AccessToken("token", 4102444800)

    flapping = Flapping()
    credential = RenewedCredential(lambda: flapping)
    for _ in range(9):
        with suppress(ConnectionError):
            await credential.get_token("scope")

    assert not flapping.closed


async def test_one_credential_serves_acs_and_the_queues_and_a_closed_one_is_made_anew(monkeypatch):
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:9/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "of-the-platform")
    async with Credentials() as credentials:
        assert credentials("one") is credentials("one")
        assert credentials("one") is not credentials(None)


async def test_on_a_machine_of_ones_own_it_is_the_developers_login():
    async with entra_credential(None, environ={}) as credential:
        assert isinstance(credential, DefaultAzureCredential)
