"""How time and memory grow with the recipients of an invocation, each size in a fresh process.

Prints a line of JSON: the fields of `Growth`.
"""

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ours import started
from benchmarks.workloads import Publisher
from optout_core.batches import MAX_RECIPIENTS

ROOT = Path(__file__).parent.parent
#: Recipients that are processed before the clock starts, and at least while it runs: a single short run says little.
_WARM, _LEAST = 2_000, 20_000
#: Seconds.
_TICK = 0.005
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Growth:
    """One size.

    Attributes:
        recipients: Of the invocation.
        cpu: Microseconds of processor time for each.
        blocked: The longest time in milliseconds for which nothing else ran on the loop; with the machine's own pauses.
        memory: Megabytes that the process grew by at most, the messages themselves not counted; None where the system
            does not say (it is Linux that does).
    """

    recipients: int
    cpu: float
    blocked: float
    memory: float | None


def growth(url: str, recipients: int, of_event: int = MAX_RECIPIENTS) -> Growth:
    """Measure one size in a process of its own, with events of so many recipients."""
    command = [sys.executable, "-m", __name__, url, str(recipients), str(of_event)]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - ours
    return Growth(recipients, **json.loads(run.stdout))


async def _measure(url: str, recipients: int, of_event: int) -> dict[str, float | None]:
    publisher, ticker = Publisher(of_event), Ticker()
    async with started(url) as ours:
        await ours.process(Publisher().arrivals(_WARM))
        ticking = asyncio.create_task(ticker.run())
        seconds = []
        for number in range(max(1, _LEAST // recipients)):
            arrivals = publisher.arrivals(recipients // of_event)
            gc.collect()
            await ticker.start()
            if not number:
                before = _reset_peak()
            began = time.process_time()
            await ours.process(arrivals)
            seconds.append(time.process_time() - began)
            ticker.stop()
        peak = _megabytes("VmHWM")
        ticking.cancel()
    grown = None if before is None or peak is None else max(0.0, peak - before)
    return {"cpu": statistics.median(seconds) / recipients * 1e6, "blocked": ticker.longest * 1e3, "memory": grown}


class Ticker:
    """Something else on the loop.

    Attributes:
        longest: Seconds for which it had to wait, at most, between `start` and `stop`.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._waiting_since: float | None = None

    async def start(self) -> None:
        """Begin to count, once the loop is through with what was before."""
        await asyncio.sleep(2 * _TICK)
        self._waiting_since = time.perf_counter()

    def stop(self) -> None:
        """Count no more; what it waits for now was the last."""
        self._look()
        self._waiting_since = None

    async def run(self) -> None:
        """Tick until it is cancelled."""
        while True:
            await asyncio.sleep(_TICK)
            self._look()

    def _look(self) -> None:
        if self._waiting_since is not None:
            now = time.perf_counter()
            self.longest = max(self.longest, now - self._waiting_since - _TICK)
            self._waiting_since = now


def _reset_peak() -> float | None:
    # The largest memory so far was that of making the messages (https://man7.org/linux/man-pages/man5/proc.5.html).
    if _RESET.exists():
        _RESET.write_text("5")
    return _megabytes("VmRSS")


def _megabytes(name: str) -> float | None:
    if not _STATUS.exists():
        return None
    found = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())[name]
    return int(found.split()[0]) / 1024


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(sys.argv[1], *map(int, sys.argv[2:])))))
