"""The credential that runs on Azure, asked the way the App Service identity endpoint is, where aiohttp is missing."""

import asyncio
import json
import os
import sys

import pytest
from azure.identity.aio import DefaultAzureCredential

from optout_core.adapters.connections import entra_credential
from optout_core.adapters.signing import EntraSigner
from optout_core.errors import EndpointUnavailable, RequestError, RequestRefused
from tests.adapters.acs_client import RawServer

#: What the double slash of the scope leaves; the platform names it in its answer, and the cache goes by that.
RESOURCE = "https://communication.azure.com/"

SCRIPT = """
import asyncio, sys
sys.modules["aiohttp"] = None  # makes importing it an ImportError

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


async def test_the_managed_identity_gives_a_token_without_aiohttp():
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


async def test_on_a_machine_of_ones_own_it_is_the_developers_login():
    async with entra_credential(None, environ={}) as credential:
        assert isinstance(credential, DefaultAzureCredential)
