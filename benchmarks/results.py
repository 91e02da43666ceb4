"""Everything that one run measures, and what it says of the goals."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import comparisons
from benchmarks.endpoint import serving
from benchmarks.growth import Growth, growth
from benchmarks.hosted import events_per_second
from benchmarks.imports import Imports, imports
from benchmarks.ledger import LedgerCost, ledgers
from benchmarks.rounds import Samples, difference, ratio, wall, wall_ratio
from benchmarks.scale import Scale
from benchmarks.stages import stages

#: Recipients of the largest events: with the evidence about what a message of 256 KB holds.
LARGE_EVENT = 9_000
#: Batch sizes of the sandbox's host: that of host.json, and the host's default.
HOST_BATCHES = (100, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What was measured.

    Attributes:
        scale: How much.
        cpu: As `comparisons.processor_time` gives it.
        wall: As `comparisons.wall_time` gives it.
        way_in: As `comparisons.way_in` gives it.
        stages: By recipients of an event: microseconds of a recipient by stage.
        growth: From few recipients to many.
        large: Of the largest events, everybody failing.
        imports: Of the function.
        hosted: Events a second in the sandbox by batch size.
        ledgers: Of both databases and several sizes.
    """

    scale: Scale
    cpu: Samples
    wall: Samples
    way_in: Samples
    stages: Mapping[int, Mapping[str, float]]
    growth: Sequence[Growth]
    large: Growth
    imports: Imports
    hosted: Mapping[int, float]
    ledgers: Sequence[LedgerCost]


async def measure(scale: Scale, say: Callable[[str], None]) -> Results:
    """Measure everything; `say` is told what is measured next."""
    with serving() as urls:
        async with comparisons.connected(urls) as subjects:
            say("processor time beside the floor")
            processor_time = await comparisons.processor_time(subjects, scale)
            say("wall time beside the usual patterns")
            wall_time = await comparisons.wall_time(subjects, scale)
            say("from the host's call to the end")
            way_in = await comparisons.way_in(subjects, scale)
            say("stages")
            by_size = {size: await stages(subjects.ours["0 ms"], size) for size in (1, 100)}
        say("growth, and memory")
        sizes = [growth(urls["0 ms"], recipients) for recipients in scale.growth]
        large = growth(urls["failing"], scale.large, LARGE_EVENT)
        say("import")
        imported = imports(scale.processes)
        say("host, function and broker of the sandbox")
        say("the ledger")
        ledger_costs = await asyncio.to_thread(ledgers, scale.ledger)
        hosted = {batch: events_per_second(urls["0 ms"], scale.hosted, batch) for batch in HOST_BATCHES}
    return Results(
        scale=scale,
        cpu=processor_time,
        wall=wall_time,
        way_in=way_in,
        stages=by_size,
        growth=sizes,
        large=large,
        imports=imported,
        hosted=hosted,
        ledgers=ledger_costs,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A figure beside what it should be.

    Attributes:
        what: In words.
        measured: The figure.
        limit: What it should be.
        unit: Of both.
        is_floor: Whether the figure should be at least that, not at most.
    """

    what: str
    measured: float
    limit: float
    unit: str
    is_floor: bool = False

    @property
    def is_met(self) -> bool:
        """Compare them."""
        return self.measured >= self.limit if self.is_floor else self.measured <= self.limit


def goals(results: Results) -> Iterator[Goal]:
    """Compare the figures with the goals; those that are ratios hold on any machine."""
    cpu_of, wall_of = results.cpu, results.wall
    for kind, limit in (("single", 6), ("hundred", 2.5)):
        yield Goal(
            what=f"processor time of a recipient, {KINDS[kind]}, beside the floor (20 ms)",
            measured=ratio(cpu_of, f"{kind} at 20 ms", "floor at 20 ms"),
            limit=limit,
            unit="×",
        )
    for kind, name in KINDS.items():
        for behaviour, end in (("failing", "a retry"), ("rejecting", "a dead letter")):
            yield Goal(
                what=f"the same, {name}, everybody ending as {end}, beside nothing failing",
                measured=ratio(cpu_of, f"{kind} at {behaviour}", f"{kind} at 0 ms"),
                limit=3,
                unit="×",
            )
    for pattern, limit in (("sample", 300), ("shared", 30)):
        yield Goal(
            what=f"{PATTERNS[pattern]}: its wall time beside ours, {results.scale.events:,} events at 20 ms",
            measured=wall_ratio(wall_of, pattern, "ours"),
            limit=limit,
            unit="×",
            is_floor=True,
        )
    yield Goal(
        what="the way in, a message, at the worst of the batch sizes",
        measured=max(way_in(results, size) for size in comparisons.WAY_IN),
        limit=60,
        unit="µs",
    )
    costs = [each.cpu for each in results.growth]
    yield Goal(
        what=f"processor time of a recipient, {results.growth[-1].recipients:,} of them beside"
        f" {results.growth[0].recipients:,}",
        measured=max(costs) / costs[0],
        limit=1.05,
        unit="×",
    )
    # From 10,000 on, an invocation is worked off in several slices.
    if (few := results.growth[1].memory) is not None and (many := results.growth[-1].memory) is not None:
        yield Goal(
            what=f"memory for {results.growth[-1].recipients:,} recipients above that for"
            f" {results.growth[1].recipients:,}",
            measured=max(0.0, many - few),
            limit=10,
            unit="MB",
        )
    costly = [each for each in results.ledgers if each.database == "PostgreSQL"][-1]
    yield Goal(
        what="the ledger (PostgreSQL): our processor time for a recipient", measured=costly.cpu, limit=15, unit="µs"
    )
    yield Goal(
        what=f"the ledger (PostgreSQL on the same machine): both statements for {costly.recipients:,} new people",
        measured=costly.admit + costly.record,
        limit=300 * costly.recipients / 10_000,
        unit="ms",
    )
    yield Goal(what="import of `function_app`, processor time", measured=results.imports.seconds, limit=0.3, unit="s")
    yield Goal(
        what="host, function and broker in the sandbox, batches of 100",
        measured=results.hosted[100],
        limit=3000,
        unit="events/s",
        is_floor=True,
    )


KINDS = {"single": "one-recipient events", "hundred": "hundred-recipient events"}
PATTERNS = {"sample": "a new client for each message, 16 at once", "shared": "one shared httpx client with gather"}


def way_in(results: Results, size: int) -> float:
    """Give what a message costs between the host's call and the core, in microseconds of processor time."""
    return difference(results.way_in, f"whole of {size}", f"core of {size}")


def milliseconds(samples: Samples, name: str, units: int) -> float:
    """Give the wall time of so many units."""
    return wall(samples, name) * units / 1e3
