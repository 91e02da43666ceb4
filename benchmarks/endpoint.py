"""The ACS endpoint that the comparisons call: as fast as a few lines can be, in a process of its own.

It checks nothing: what is measured is its caller. Several answers are served side by side, each at an address of its
own. It prints the addresses as a line of JSON and ends when its standard input does.
"""

import asyncio
import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

ROOT = Path(__file__).parent.parent
#: Opens nothing.
ACCESS_KEY = b64encode(b"benchmark").decode()


_OK = 200


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How an address answers.

    Attributes:
        latency: Seconds before the answer.
        status: Of every recipient but the first of a request, who is removed: an answer in which all fail would pass
            for an outage, and would not be what is measured.
    """

    latency: float = 0.0
    status: int = _OK


BEHAVIOURS = {
    "0 ms": Behaviour(),
    "20 ms": Behaviour(latency=0.02),
    "100 ms": Behaviour(latency=0.1),
    "failing": Behaviour(status=500),
    "rejecting": Behaviour(status=400),
}


@contextmanager
def serving() -> Iterator[dict[str, str]]:
    """Run the endpoint while the block runs, and give the address of each behaviour."""
    command = [sys.executable, "-m", __name__]
    # Leaving the block closes its standard input, which ends it.
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout  # noqa: S101 - for mypy
        addresses = process.stdout.readline()
        if not addresses:
            raise RuntimeError("the endpoint did not start: its error stands above")
        yield json.loads(addresses)


def _answering(behaviour: Behaviour) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    error = {"errorMessage": "as the benchmark asked"} if behaviour.status != _OK else {}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        recipients = json.loads(await request.read())["recipients"]
        items = [{"to": each["to"], "httpStatusCode": behaviour.status, **error} for each in recipients]
        items[0] = {"to": recipients[0]["to"], "httpStatusCode": _OK}
        if behaviour.latency:
            await asyncio.sleep(behaviour.latency)
        return web.Response(body=json.dumps({"value": items}).encode(), content_type="application/json")

    return answer


async def _serve() -> None:
    urls = {}
    async with AsyncExitStack() as stack:
        for name, behaviour in BEHAVIOURS.items():
            runner = web.ServerRunner(web.Server(_answering(behaviour)))
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            urls[name] = f"http://127.0.0.1:{runner.addresses[0][1]}"
        print(json.dumps(urls), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
