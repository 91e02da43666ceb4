"""Events a second through host, function and broker of the sandbox, the broker and the endpoint in other processes.

Prints a line of JSON with the rate. The queue is full before the host starts, and what counts is the time from the
first settled batch to the last: no start, no connecting.
"""

import asyncio
import importlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.ours import app_settings
from benchmarks.workloads import Publisher, encoded
from optout_core.reports import Report
from sandbox.host import Host, make_trigger, running
from sandbox.worker import Worker
from servicebus_sandbox import Broker, load_queues
from servicebus_sandbox.messages import decode_message

ROOT = Path(__file__).parent.parent
_PATIENCE = 120.0


def events_per_second(url: str, events: int, batch: int) -> float:
    """Measure it in processes of their own.

    Args:
        url: Of the endpoint.
        events: One recipient each.
        batch: Messages of one invocation at most.
    """
    with _broker(events) as broker:
        command = [sys.executable, "-m", __name__, "host", url, broker, str(events), str(batch)]
        run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - ours
    return float(json.loads(run.stdout))


def host_json(batch: int) -> str:
    """Give the project's host.json with another batch size."""
    document = json.loads((ROOT / "host.json").read_text())
    document["extensions"]["serviceBus"]["maxMessageBatchSize"] = batch
    return json.dumps(document)


@contextmanager
def _broker(events: int) -> Iterator[str]:
    command = [sys.executable, "-m", __name__, "broker", str(events)]
    # Leaving the block closes its standard input, which ends it.
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout  # noqa: S101 - for mypy
        yield process.stdout.readline().strip()


async def _serve(events: int) -> None:
    async with Broker(load_queues(ROOT / "infra" / "queues.json")) as broker:
        bodies = enumerate(Publisher().bodies(events))
        broker.queue("opt-ins").send([decode_message(encoded(body, number)) for number, body in bodies])
        print(broker.connection_string, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def _run(settings: dict[str, str], events: int, batch: int) -> float:
    loop = asyncio.get_running_loop()
    finished = loop.create_future()
    reports: list[tuple[float, int]] = []
    app: Any = None

    def observe(report: Report) -> None:
        reports.append((time.perf_counter(), report.messages))
        if sum(messages for _, messages in reports) >= events:
            loop.call_soon_threadsafe(finished.set_result, None)

    def load() -> Any:  # noqa: ANN401 - of the worker
        nonlocal app
        app = importlib.import_module("function_app")
        app.service.observers.append(observe)
        return app.app

    worker = Worker(load)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "host.json"
        written.write_text(host_json(batch))
        host = Host(make_trigger(await worker.start(), written, settings), worker)
    try:
        async with running(host):
            await asyncio.wait_for(finished, _PATIENCE)
        await worker.run(app.service.close)
    finally:
        await worker.close()
    (began, first), (ended, _) = reports[0], reports[-1]
    return (events - first) / (ended - began)


def _main(role: str, *arguments: str) -> None:
    logging.disable(logging.WARNING)
    if role == "broker":
        asyncio.run(_serve(int(arguments[0])))
        return
    url, broker, events, batch = arguments
    settings = app_settings(url, broker)
    os.environ.update(settings)
    sys.path.insert(0, str(ROOT))
    print(json.dumps(asyncio.run(_run(settings, int(events), int(batch)))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
