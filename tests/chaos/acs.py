"""The ACS endpoint as a process that may be killed: what it did stands in a journal, before anybody is answered."""

import asyncio
import json
import os
import sys
from pathlib import Path

from sandbox.endpoint import Endpoint, load_faults


class Journalled(Endpoint):
    """Writes every change of the list down as it is made; a process that is killed has no other memory."""

    def __init__(self, journal, **arguments):
        super().__init__(**arguments)
        self._journal = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def _change(self, entries, *, listed):
        lines = [json.dumps({"sender": sender, "to": to, "listed": listed}) + "\n" for sender, to in entries]
        os.write(self._journal, "".join(lines).encode())
        super()._change(entries, listed=listed)


async def main(journal, faults, port, access_key):
    async with Journalled(journal, faults=load_faults(Path(faults)), port=int(port), access_key=access_key) as endpoint:
        sys.stdout.write(json.dumps(endpoint.url) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
