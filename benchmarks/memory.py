"""Measure the memory of one invocation in the worst case: full batches of large events, nobody answered.

    python -m benchmarks.memory [MESSAGES RECIPIENTS]

The default is what host.json lets one invocation receive, each message about as large as Service Bus takes. Prints the
largest memory of the process, and the longest time in which nothing else ran on the event loop.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.throughput import event, processor
from optout_core.api import Outcome, Verdict
from optout_core.batches import Batch, Pair

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOST = json.loads((Path(__file__).parents[1] / "host.json").read_text())
MESSAGES = int(HOST["extensions"]["serviceBus"]["maxMessageBatchSize"])
RECIPIENTS = 9_000


class SilentEndpoint:
    """Answer nobody: every recipient ends in a retry message."""

    async def remove(self, batches: Sequence[Batch], deadline: float) -> Mapping[Pair, Outcome]:
        """Give one outcome to all."""
        del deadline
        late = Outcome(Verdict.UNAVAILABLE, "the invocation's time was up")
        await asyncio.sleep(0)
        return {Pair(batch.sender, to): late for batch in batches for to in batch.recipients}


async def main(messages: int, recipients: int) -> None:
    """Run one invocation."""
    arrivals = [event(number, recipients) for number in range(messages)]
    before = _peak()
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - started)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await replace(processor(failing=False), endpoint=SilentEndpoint()).process(arrivals, time.monotonic() + 600)
    await asyncio.sleep(0)
    ticking.cancel()
    size = sum(len(arrival.body) for arrival in arrivals) / 2**20
    print(f"{messages:,} messages of {recipients:,} recipients, {size:.0f} MB of bodies:")
    print(f"  largest memory {_peak():.0f} MB, {before:.0f} MB of it before; loop blocked for up to {longest:.1f} s")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    given = [int(argument) for argument in sys.argv[1:]]
    asyncio.run(main(*given) if given else main(MESSAGES, RECIPIENTS))
