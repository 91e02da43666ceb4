"""The function and its host as a process that may be killed, with times cut down to what a test can wait for."""

import asyncio
import json
import logging
import sys
from functools import partial
from pathlib import Path

import typer

from optout_core.adapters import outbox, service
from sandbox import connection, ending, run

#: Seconds; 30, 30 and 60 in life. With the lock of five seconds their order is what it is there.
PAUSE, SEND_TIMEOUT, IDLE_TIMEOUT = 0.5, 1.5, 2.0


async def stay(settings, host_json):
    async with run.function(settings, host_json=host_json):
        sys.stdout.write('"up"\n')
        sys.stdout.flush()
        await asyncio.Event().wait()


def main(settings, host_json):
    # Everything is logged: no number may stand in any of it.
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    service.PAUSE_AFTER_FAILURE = PAUSE
    vars(service)["ServiceBusOutbox"] = partial(outbox.ServiceBusOutbox, timeout=SEND_TIMEOUT)
    connection.IDLE_TIMEOUT = IDLE_TIMEOUT
    try:
        ending.run(stay(json.loads(settings), Path(host_json)), stays=True)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
