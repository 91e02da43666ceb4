"""Starts, orders about and ends the processes of a run; each writes its log into a file."""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from tests.sandbox.conftest import ROOT

#: Seconds that a process may take to be up, on a machine that has other things to do.
_STARTING = 60


class Process:
    """A module of this folder, run as a program."""

    def __init__(self, folder, module):
        self._folder = folder
        self._module = module
        self._process: Any = None
        self._asking = asyncio.Lock()

    async def start(self, *arguments):
        """Start it; give what it says first, once it is up."""
        log = (self._folder / f"{self._module}.log").open("ab")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", f"tests.chaos.{self._module}", *map(str, arguments)),
                cwd=ROOT,
                env={"PATH": os.environ.get("PATH", "")},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=2**26,
            )
        return await self._answer(_STARTING)

    async def ask(self, *order):
        """Give an order, and what is answered."""
        async with self._asking:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            return await self._answer(30)

    async def kill(self):
        """End it where it stands."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def stop(self):
        """Ask it to end, and give its exit code; -9 when it does not in time."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(30):
                return await self._process.wait()
        except TimeoutError:
            await self.kill()
            return -signal.SIGKILL

    async def _answer(self, patience):
        async with asyncio.timeout(patience):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} ended; its log is {self._folder / self._module}.log")
        return json.loads(line)
