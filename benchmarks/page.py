"""Writes docs/performance.md and its plot."""

import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from textwrap import wrap

from benchmarks import chart
from benchmarks.comparisons import LATENCIES, TRICKLE, WAY_IN
from benchmarks.results import KINDS, LARGE_EVENT, PATTERNS, Results, goals, milliseconds, way_in
from benchmarks.rounds import cpu, ratio, wall_ratio

ROOT = Path(__file__).parent.parent
_LIBRARIES = ("aiohttp", "httpx", "pydantic", "azure-functions", "azure-servicebus", "opentelemetry-api")


def write(results: Results, page: Path) -> None:
    """Write the page, and beside it the plot."""
    plot = page.with_suffix(".svg")
    plot.write_text(_plot(results))
    page.write_text("\n".join(_lines(results, plot.name)) + "\n")


def stamp() -> str:
    """Say on what, with what and when this was measured."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return (
        f"Measured by `make bench` on {datetime.now(UTC):%Y-%m-%d} at commit {_commit()}: {_processor()},"
        f" {os.cpu_count()} cores, {platform.system()} {platform.release()}, {python}; {libraries}."
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Write a table, and a blank line after it."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(map(str, row))} |" for row in rows)
    yield ""


def paragraph(text: str) -> Iterator[str]:
    """Break a paragraph, or one point of a list, into lines."""
    indent = "  " if text.startswith("- ") else ""
    yield from wrap(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def number(value: float) -> str:
    """Write a figure with three digits that say something."""
    if value >= 100:  # noqa: PLR2004 - from here on three digits stand before the point
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"  # noqa: PLR2004 - likewise


def _lines(results: Results, plot: str) -> Iterator[str]:
    met = list(goals(results))
    yield "# Performance"
    yield ""
    yield from paragraph(
        "What an opt-in costs, beside the floor and beside the usual ways to write such a function. This"
        f" page and [the plot]({plot}) are written by `make bench` (`LONG=1` adds a million recipients); what"
        " follows from it for instances and money stands in [capacity.md](capacity.md)."
    )
    yield ""
    yield from paragraph(
        f"{stamp()} Medians of {results.scale.rounds} rounds in which everything that is compared takes its"
        " turn; ratios are medians of the rounds' own ratios, and say more than times, which belong to this"
        " machine."
    )
    yield ""
    yield f"## Goals: {sum(goal.is_met for goal in met)} of {len(met)} met"
    yield ""
    yield from table(
        ("figure", "measured", "goal", "met"),
        (
            (
                goal.what,
                f"{number(goal.measured)} {goal.unit}",
                f"{'≥' if goal.is_floor else '≤'} {goal.limit:,g} {goal.unit}",
                "yes" if goal.is_met else "**no**",
            )
            for goal in met
        ),
    )
    yield f"![Processor time of a recipient]({plot})"
    yield ""
    yield from _processor_time(results)
    yield from _wall_time(results)
    yield from _way_in(results)
    yield from _growth(results)
    yield from _stages(results)
    yield from _ledger(results)
    yield from _imports(results)
    yield from _sandbox(results)


def _processor_time(results: Results) -> Iterator[str]:
    yield "## Processor time of a recipient"
    yield ""
    yield from paragraph(
        "The floor sends requests for 100 recipients that were written and signed before, 16 at once, over"
        " bare aiohttp, and reads the answers. Ours begins with messages in memory and ends with the report;"
        " the endpoint runs in another process and is not counted. µs, and beside the floor of the same"
        " round."
    )
    yield ""
    rows: list[Sequence[object]] = [
        ("floor", *(number(cpu(results.cpu, f"floor at {latency}")) for latency in LATENCIES)),
    ]
    for kind, name in KINDS.items():
        cells = (
            f"{number(cpu(results.cpu, f'{kind} at {latency}'))}"
            f" ({number(ratio(results.cpu, f'{kind} at {latency}', f'floor at {latency}'))} ×)"
            for latency in LATENCIES
        )
        rows.append((name, *cells))
    yield from table(("", *(f"answers after {latency}" for latency in LATENCIES)), rows)
    yield from paragraph(
        "When 99 of each 100 recipients fail (if all did, it would count as an outage), at 0 ms, the outbox in memory:"
    )
    yield ""
    yield from table(
        ("", "nothing fails", "each ends as a retry", "each ends as a dead letter"),
        (
            (name, *(number(cpu(results.cpu, f"{kind} at {each}")) for each in ("0 ms", "failing", "rejecting")))
            for kind, name in KINDS.items()
        ),
    )


def _wall_time(results: Results) -> Iterator[str]:
    scale = results.scale
    yield "## Wall time beside the usual patterns"
    yield ""
    yield from paragraph(
        f"Seconds for {scale.events:,} one-recipient events, answers after 20 ms. The patterns are measured"
        f" on fewer events and scaled up in proportion: {scale.shared:,} over the shared client,"
        f" {scale.sample:,} with a new client each, {scale.small:,} in batches of {TRICKLE}, the size in"
        " which 200 messages a second arrive, one batch after another. Scaling flatters the shared client,"
        " whose queue of waiting requests grows with their number."
    )
    yield ""
    rows = []
    for title, suffix in (("all at once", ""), (f"in batches of {TRICKLE}", f" of {TRICKLE}")):
        ours = f"ours{suffix}"
        row: list[object] = [title, number(milliseconds(results.wall, ours, scale.events) / 1e3)]
        for pattern in PATTERNS:
            seconds = milliseconds(results.wall, f"{pattern}{suffix}", scale.events) / 1e3
            row.append(f"{number(seconds)} ({number(wall_ratio(results.wall, f'{pattern}{suffix}', ours))} ×)")
        rows.append(row)
    yield from table(("", "ours", *PATTERNS.values()), rows)
    yield from paragraph(
        f"In batches of {TRICKLE} everybody waits for the answer, so that the ratio tends to what a call"
        " costs beside it."
    )
    yield ""


def _way_in(results: Results) -> Iterator[str]:
    yield "## From the host's call to the end of the invocation"
    yield ""
    yield from paragraph(
        "One-recipient events at 0 ms, µs of processor time for a message: from what the host hands over,"
        " through the conversion that the worker library calls, to the report; and from messages in memory."
        " Small batches pay for their request alone."
    )
    yield ""
    yield from table(
        ("messages in the batch", "from the host's call", "from memory", "the way in"),
        (
            (
                f"{size:,}",
                number(cpu(results.way_in, f"whole of {size}")),
                number(cpu(results.way_in, f"core of {size}")),
                number(way_in(results, size)),
            )
            for size in WAY_IN
        ),
    )


def _growth(results: Results) -> Iterator[str]:
    yield "## Growth"
    yield ""
    yield from paragraph(
        "One invocation, each in a fresh process: hundred-recipient events of which nothing fails, and at"
        f" the end events of {LARGE_EVENT:,} recipients, about what a message of 256 KB holds, of which"
        " everybody fails. Memory is what the process grew by, its messages and its imports not counted; the"
        " loop's longest wait holds the machine's own pauses."
    )
    yield ""
    rows = [(f"{each.recipients:,}", each) for each in results.growth]
    rows.append((f"{results.large.recipients:,} in large events, failing", results.large))
    yield from table(
        ("recipients", "µs each", "memory", "loop blocked up to"),
        (
            (
                name,
                number(each.cpu),
                "not measured" if each.memory is None else f"{each.memory:.0f} MB",
                f"{each.blocked:.0f} ms",
            )
            for name, each in rows
        ),
    )


def _stages(results: Results) -> Iterator[str]:
    yield "## Where the time goes"
    yield ""
    yield from paragraph(
        "µs of processor time of a recipient in each stage. *Request* is 100 recipients a request: body, signature,"
        " HTTP, reading the answer, outcomes; the floor is the HTTP of it alone. Retry message and dead letter are"
        " paid only by those who fail; what a ledger costs stands below."
    )
    yield ""
    sizes = list(results.stages)
    yield from table(
        ("stage", *(f"event of {size}" for size in sizes)),
        ((stage, *(number(results.stages[size][stage]) for size in sizes)) for stage in results.stages[sizes[0]]),
    )


def _ledger(results: Results) -> Iterator[str]:
    yield "## The consent ledger"
    yield ""
    yield from paragraph(
        "The two statements of a slice in which nobody is known yet, one event for each person: milliseconds, and"
        " µs of our processor time for a recipient in both. PostgreSQL runs on the same machine, without waiting for"
        " its disk; SQLite is in the process itself, so that its work counts as ours."
    )
    yield ""
    yield from table(
        ("database", "recipients", "admit", "record", "µs each"),
        (
            (each.database, f"{each.recipients:,}", number(each.admit), number(each.record), number(each.cpu))
            for each in results.ledgers
        ),
    )


def _imports(results: Results) -> Iterator[str]:
    found = results.imports
    yield "## Import"
    yield ""
    yield from paragraph(
        f"`import function_app` takes {found.seconds:.2f} s of processor time, {found.modules} modules. The"
        " heaviest packages, what they import in turn not counted, measured with `-X importtime`, which"
        " itself costs some:"
    )
    yield ""
    yield from table(("package", "ms"), ((f"`{name}`", number(cost)) for name, cost in found.heaviest))


def _sandbox(results: Results) -> Iterator[str]:
    yield "## Host, function and broker in the sandbox"
    yield ""
    yield from paragraph(
        f"{results.scale.hosted:,} one-recipient events wait in the queue; host and function share one"
        " process, broker and endpoint have their own. The sandbox's host and broker are Python as well: on"
        " Azure they are not."
    )
    yield ""
    yield from table(
        ("`maxMessageBatchSize`", "events a second"),
        ((f"{batch:,}", number(rate)) for batch, rate in results.hosted.items()),
    )


def _plot(results: Results) -> str:
    values = {"floor: ready-made requests": cpu(results.cpu, "floor at 20 ms")}
    values |= {f"ours, {KINDS[kind]}": cpu(results.cpu, f"{kind} at 20 ms") for kind in ("hundred", "single")}
    values["one shared httpx client, gather"] = cpu(results.wall, "shared")
    values["a new httpx client for each message"] = cpu(results.wall, "sample")
    return chart.bars("Processor time of a recipient, µs (logarithmic)", values, "ours")


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return run.stdout.strip() or "unknown"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
