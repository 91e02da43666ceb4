"""The credential that runs on Azure, asked the way the App Service identity endpoint is, where aiohttp is missing."""

import asyncio
import json
import os
import sys

from tests.shell.calling import RawServer

#: What the double slash of the scope leaves; the platform names it in its answer, and the cache goes by that.
RESOURCE = "https://communication.azure.com/"

SCRIPT = """
import asyncio, sys
sys.modules["aiohttp"] = None  # makes importing it an ImportError

from optout_core.auth import SCOPE, entra_credential

async def main():
    async with entra_credential("client-of-the-function") as credential:
        token = await credential.get_token(SCOPE)
        again = await credential.get_token(SCOPE)
    assert token == again
    print(token.token)

asyncio.run(main())
"""


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
