"""Ours beside the floor and beside the usual patterns, all against one endpoint, in turn."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
import httpx

from benchmarks import patterns
from benchmarks.ours import Ours, started, taken_over
from benchmarks.rounds import Case, Samples, Work, interleaved
from benchmarks.scale import Scale
from benchmarks.workloads import Publisher
from optout_core.batches import MAX_RECIPIENTS
from optout_core.outgoing import Queue

#: Messages of one invocation: what 200 messages a second come as (docs/facts/real-host.md, "One batch after another"),
#: the batch of host.json, and the host's own default.
TRICKLE = 4
WAY_IN = (1, 10, 100, 1000)
LATENCIES = ("0 ms", "20 ms", "100 ms")


@dataclass(frozen=True, slots=True)
class Subjects:
    """Everything that calls the endpoint, connected.

    Attributes:
        urls: The address of each behaviour.
        ours: The function for each behaviour.
        session: Of the floor.
        client: Of the pattern with one client.
    """

    urls: Mapping[str, str]
    ours: Mapping[str, Ours]
    session: aiohttp.ClientSession
    client: httpx.AsyncClient


@asynccontextmanager
async def connected(urls: Mapping[str, str]) -> AsyncIterator[Subjects]:
    """Start all that is compared."""
    async with AsyncExitStack() as stack:
        ours = {name: await stack.enter_async_context(started(url)) for name, url in urls.items()}
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=None))  # noqa: S113 - none may be given up
        yield Subjects(urls, ours, session, client)


async def processor_time(subjects: Subjects, scale: Scale) -> Samples:
    """Compare the processor time of a recipient: `floor`, `single` and `hundred`, then ` at ` and the behaviour."""
    cases = []
    for latency in LATENCIES:
        cases += [
            _floor(subjects, latency, scale.recipients),
            _ours(f"single at {latency}", subjects.ours[latency], Publisher(1), scale.recipients),
            _ours(f"hundred at {latency}", subjects.ours[latency], Publisher(MAX_RECIPIENTS), scale.recipients),
        ]
    for behaviour in ("failing", "rejecting"):
        cases += [
            _ours(f"single at {behaviour}", subjects.ours[behaviour], Publisher(1), scale.recipients),
            _ours(f"hundred at {behaviour}", subjects.ours[behaviour], Publisher(MAX_RECIPIENTS), scale.recipients),
        ]
    samples = await interleaved(cases, scale.rounds)
    _check(subjects, cases, scale.rounds + 1)
    return samples


async def wall_time(subjects: Subjects, scale: Scale) -> Samples:
    """Compare the time of a one-recipient event at 20 ms: `ours`, `shared`, `sample`, and ` of 4` in such batches."""
    url, ours = subjects.urls["20 ms"], subjects.ours["20 ms"]
    publisher = Publisher()

    def shared(count: int, batch: int) -> Work:
        bodies = publisher.bodies(count)

        async def work() -> None:
            for each in patterns.in_batches(bodies, batch):
                await patterns.shared_client(subjects.client, url, each)

        return work

    def sample(count: int, batch: int) -> Work:
        bodies = publisher.bodies(count)

        async def work() -> None:
            for each in patterns.in_batches(bodies, batch):
                await patterns.new_client_per_message(url, each)

        return work

    cases = [
        _ours("ours", ours, publisher, scale.events),
        Case("shared", scale.shared, lambda: shared(scale.shared, scale.shared)),
        Case("sample", scale.sample, lambda: sample(scale.sample, scale.sample)),
        _ours("ours of 4", ours, publisher, scale.small, TRICKLE),
        Case("shared of 4", scale.small, lambda: shared(scale.small, TRICKLE)),
        Case("sample of 4", scale.sample, lambda: sample(scale.sample, TRICKLE)),
    ]
    # These are seconds long, and ratios of hundreds need no more.
    return await interleaved(cases, min(scale.rounds, 2))


async def way_in(subjects: Subjects, scale: Scale) -> Samples:
    """Compare the processor time of a message: `whole of N` from the host's call on, `core of N` from memory."""
    ours, publisher = subjects.ours["0 ms"], Publisher()
    cases = []
    for size in WAY_IN:
        messages = max(size, scale.recipients // 20)
        cases += [
            _ours(f"core of {size}", ours, publisher, messages, size),
            _from_host(f"whole of {size}", ours, publisher, messages, size),
        ]
    # What is looked for is a difference of one tenth of either: many short rounds tell it best.
    return await interleaved(cases, 4 * scale.rounds)


def _floor(subjects: Subjects, latency: str, recipients: int) -> Case:
    url, publisher = subjects.urls[latency], Publisher()

    def prepare() -> Work:
        requests = patterns.ready(url, publisher.people(recipients))
        return lambda: patterns.floor(subjects.session, url, requests)

    return Case(f"floor at {latency}", recipients, prepare)


def _ours(name: str, ours: Ours, publisher: Publisher, recipients: int, batch: int | None = None) -> Case:
    """Process messages in memory, in one invocation or in several of `batch` messages, one after the other."""
    events = recipients // publisher.recipients

    def prepare() -> Work:
        arrivals = publisher.arrivals(events)
        batches = [arrivals[start : start + (batch or events)] for start in range(0, events, batch or events)]

        async def work() -> None:
            for each in batches:
                await ours.process(each)

        return work

    return Case(name, recipients, prepare)


def _from_host(name: str, ours: Ours, publisher: Publisher, messages: int, batch: int) -> Case:
    def prepare() -> Work:
        batches = [publisher.handed_over(batch) for _ in range(messages // batch)]

        async def work() -> None:
            for data, metadata in batches:
                await ours.process(taken_over(data, metadata, ours.processor.now()))

        return work

    return Case(name, messages, prepare)


def _check(subjects: Subjects, cases: Sequence[Case], rounds: int) -> None:
    """Make sure that what was measured is what happened."""
    for behaviour, queue in (("failing", Queue.OPT_INS), ("rejecting", Queue.DEAD_LETTERS)):
        taken = subjects.ours[behaviour].outbox.taken
        # One of each request is removed; an event of a hundred is one message.
        sizes = [case.units for case in cases if case.name == f"single at {behaviour}"]
        least = rounds * sum(size - size // MAX_RECIPIENTS for size in sizes)
        if taken[queue] < least or sum(taken.values()) != taken[queue]:
            raise RuntimeError(f"{taken} of {least} messages were sent: these numbers mean nothing")
    for latency in LATENCIES:
        if any(subjects.ours[latency].outbox.taken.values()):
            raise RuntimeError("not everybody was removed: these numbers mean nothing")
