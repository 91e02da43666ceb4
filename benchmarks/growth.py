"""How time and memory grow with the recipients of an invocation, each size in a fresh process.

Prints a line of JSON: the microseconds of processor time of a recipient, and the megabytes that the process grew by.
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

#: Of each event.
RECIPIENTS = 100
#: Recipients that are processed before the clock starts, and at least while it runs: a single short run says little.
_WARM, _LEAST = 2_000, 20_000
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Growth:
    """One size.

    Attributes:
        recipients: Of the invocation.
        cpu: Microseconds of processor time for each.
        memory: Megabytes that the process grew by at most, the messages themselves not counted; None where the system
            does not say (it is Linux that does).
    """

    recipients: int
    cpu: float
    memory: float | None


def growth(url: str, recipients: int) -> Growth:
    """Measure one size in a process of its own."""
    command = [sys.executable, "-m", __name__, url, str(recipients)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - ours
    return Growth(recipients, **json.loads(run.stdout))


async def _measure(url: str, recipients: int) -> dict[str, float | None]:
    publisher = Publisher(RECIPIENTS)
    async with started(url) as ours:
        await ours.process(publisher.arrivals(_WARM // RECIPIENTS))
        seconds = []
        for number in range(max(1, _LEAST // recipients)):
            arrivals = publisher.arrivals(recipients // RECIPIENTS)
            gc.collect()
            if not number:
                before = _reset_peak()
            began = time.process_time()
            await ours.process(arrivals)
            seconds.append(time.process_time() - began)
        peak = _megabytes("VmHWM")
    grown = None if before is None or peak is None else max(0.0, peak - before)
    return {"cpu": statistics.median(seconds) / recipients * 1e6, "memory": grown}


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
    print(json.dumps(asyncio.run(_measure(sys.argv[1], int(sys.argv[2])))))
