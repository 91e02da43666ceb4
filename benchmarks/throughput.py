"""Measure the function's own work: events a second through the processor, and requests a second through the client.

    python -m benchmarks.throughput

The processor works with an endpoint and an outbox in memory, so that what is measured is decoding, planning and
settling. The client talks to the sandbox's endpoint in a process of its own, on loopback, without TLS; its processor
time is counted, the endpoint's is not.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import SecretStr

from optout_core.adapters.http import HttpEndpoint
from optout_core.adapters.requests import Limits, OptOutsClient
from optout_core.adapters.signing import HmacSigner
from optout_core.adapters.telemetry import Telemetry
from optout_core.api import Outcome, Verdict
from optout_core.arrivals import Arrival, read_lineage
from optout_core.batches import Batch, Pair, plan
from optout_core.consent import OptInRule
from optout_core.events import OptIn, decode
from optout_core.keywords import Keywords
from optout_core.messages import dead_letters, retry_messages
from optout_core.numbers import Number, read_number
from optout_core.processor import Processor
from optout_core.settlement import Schedule, Settlement, settle
from sandbox.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.connection import Connection

    from optout_core.outgoing import NotTaken, Outgoing

SENDER = "+18001234567"
NOW = datetime.now(UTC)
RECIPIENTS = 10_000
SCHEDULE = Schedule((timedelta(seconds=30),), timedelta(seconds=30), timedelta(minutes=15))
FAILED = Outcome(Verdict.FAILED, "Internal Server Error", 500)
REJECTED = Outcome(Verdict.REJECTED, "Invalid recipient phone number format", 400)
REMOVED = Outcome(Verdict.REMOVED, status=200)


class MemoryEndpoint:
    """Remove everybody, but for every tenth who fails when `failing`."""

    def __init__(self, *, failing: bool) -> None:
        self._failing = failing

    async def remove(self, batches: Sequence[Batch], deadline: float) -> Mapping[Pair, Outcome]:
        """Give the outcomes at once."""
        del deadline
        return {
            Pair(batch.sender, to): FAILED if self._failing and to.text.endswith("0") else REMOVED
            for batch in batches
            for to in batch.recipients
        }


class MemoryOutbox:
    """Take everything."""

    is_in_doubt = False

    async def send(self, outgoing: Sequence[Outgoing]) -> Sequence[NotTaken]:
        """Take all."""
        del outgoing
        return ()


def event(number: int, recipients: int) -> Arrival:
    """Make a canonical event as the trigger hands it over."""
    first = number * recipients
    body = {
        "specversion": "1.0",
        "type": "sms.opt-in.v1",
        "source": "urn:benchmark",
        "id": f"event-{number}",
        "data": {
            "from": SENDER,
            "recipients": [{"to": f"+1555{first + index:07}"} for index in range(recipients)],
            "consent": {"capturedAt": NOW.isoformat(), "method": "web-form", "reference": f"form/{number}"},
        },
    }
    return Arrival(
        body=json.dumps(body).encode(),
        enqueued_at=NOW,
        message_id=f"message-{number}",
        properties={"traceparent": "none"},
    )


def processor(*, failing: bool) -> Processor:
    """Make the processor as `service` does, but for the endpoint and the outbox."""
    return Processor(
        endpoint=MemoryEndpoint(failing=failing),
        outbox=MemoryOutbox(),
        telemetry=Telemetry(),
        rule=OptInRule(timedelta(hours=72)),
        schedule=SCHEDULE,
        keywords=Keywords(),
        now=lambda: datetime.now(UTC),
        chance=lambda: 0.5,
        give_way=lambda: asyncio.sleep(0),
    )


def best(work: Callable[[], object], rounds: int = 5) -> float:
    """Give the seconds of the fastest round."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


async def through_processor(events: int, recipients: int, *, failing: bool) -> None:
    """Print events and recipients a second of whole invocations."""
    arrivals = [event(number, recipients) for number in range(events)]
    work = processor(failing=failing)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        await work.process(arrivals, time.monotonic() + 600)
        times.append(time.perf_counter() - started)
    rate = events / min(times)
    what = f"{events:,} x {recipients:,} recipients" + (", a tenth failing" if failing else "")
    print(f"  {what:<38} {rate:>9,.0f} events/s {rate * recipients:>9,.0f} recipients/s")


def stages(recipients: int) -> None:
    """Print the microseconds that each stage takes for one event."""
    count = max(1, 1000 // recipients)
    arrivals = [event(number, recipients) for number in range(count)]
    opt_ins = [event for arrival in arrivals for event in decode(arrival) if isinstance(event, OptIn)]
    lineage = read_lineage(arrivals[0])

    def settled(opt_in: OptIn, outcome: Outcome) -> dict[Number, Settlement]:
        return {to: settle(outcome, lineage, SCHEDULE, NOW, 0.5) for to in opt_in.recipients}

    failed, refused = (
        [(each, settled(each, FAILED)) for each in opt_ins],
        [(each, settled(each, REJECTED)) for each in opt_ins],
    )
    work: dict[str, Callable[[], object]] = {
        "decode": lambda: [decode(arrival) for arrival in arrivals],
        "plan": lambda: plan(Pair(each.sender, to) for each in opt_ins for to in each.recipients),
        "settle": lambda: [settled(each, FAILED) for each in opt_ins],
        "retry message": lambda: [list(retry_messages(each, lineage, settlements)) for each, settlements in failed],
        "dead letter": lambda: [list(dead_letters(each, lineage, settlements)) for each, settlements in refused],
    }
    for stage, call in work.items():
        print(f"  {stage:<20} {best(call) / count * 1e6:>12,.1f} µs")


def serve(pipe: Connection) -> None:
    """Run the endpoint until the pipe says anything."""

    async def run() -> None:
        async with Endpoint() as endpoint:
            pipe.send((endpoint.url, endpoint.access_key))
            await asyncio.to_thread(pipe.recv)

    asyncio.run(run())


async def through_client(url: str, key: str, in_flight: int, requests: int, recipients: int) -> None:
    """Print requests a second and the processor time of each."""
    limits = Limits(concurrency=in_flight, failures=1000, cooldown=30)
    batches = [
        Batch(
            read_number(SENDER),
            tuple(read_number(f"+1425{number * recipients + index:07}") for index in range(recipients)),
        )
        for number in range(requests)
    ]
    async with HttpEndpoint(url, HmacSigner(url, SecretStr(key)), timeout=60) as acs:
        client = OptOutsClient(acs.post, limits, Telemetry())
        await client.remove(batches[:in_flight], time.monotonic() + 600)
        used, started = time.process_time(), time.perf_counter()
        outcomes = await client.remove(batches, time.monotonic() + 600)
        seconds, used = time.perf_counter() - started, time.process_time() - used
    if {outcome.verdict for outcome in outcomes.values()} != {Verdict.REMOVED}:
        raise RuntimeError("not everybody was removed: these numbers mean nothing")
    print(
        f"  {in_flight:>3} in flight, {recipients:>3} recipients {requests / seconds:>9,.0f} requests/s"
        f" {used / requests * 1e3:>7.2f} ms of our CPU each"
    )


async def main() -> None:
    """Run all measurements."""
    print("through the processor, endpoint and outbox in memory:")
    await through_processor(1000, 1, failing=False)
    await through_processor(1000, 1, failing=True)
    await through_processor(5, RECIPIENTS, failing=False)
    await through_processor(5, RECIPIENTS, failing=True)
    for recipients in (1, RECIPIENTS):
        print(f"one event of {recipients:,} recipients, stage by stage:")
        stages(recipients)

    print("through the client, to the sandbox's endpoint in another process:")
    pipe, far_end = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(far_end,), daemon=True)
    process.start()
    url, key = pipe.recv()
    for recipients in (1, 100):
        for in_flight in (1, 16, 64):
            await through_client(url, key, in_flight, 1000, recipients)
    pipe.send(None)
    process.join()


if __name__ == "__main__":
    asyncio.run(main())
