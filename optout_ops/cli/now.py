"""`optout status`."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from optout_ops import machine
from optout_ops.cli.options import Limits, Reach
from optout_ops.cli.outside import Outside
from optout_ops.cli.streams import output
from optout_ops.cli.terminal import HEALTH, out, show_json
from optout_ops.cli.viewpoint import viewpoint_of
from optout_ops.exits import ExitCode, Mistake
from optout_ops.health.heat import HOURS
from optout_ops.health.look import Look, look
from optout_ops.wording import brief, count, duration, utc

#: Seconds between two looks.
_EVERY = 5
#: A look that reads a deep queue takes a while: it is repeated after this many times as long.
_REST = 4
#: Characters of a reason on a terminal, and elsewhere.
_REASON, _WHOLE = 26, 1_000
_NONE = "There are no dead letters."


def status(
    outside: Outside,
    reach: Reach,
    limits: Limits,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every five seconds, until Ctrl-C.")] = False,
    fail_if_any: Annotated[
        bool,
        typer.Option("--fail-if-any", help="End with 1 when there is a dead letter, or something does not work."),
    ] = False,
) -> int:
    """Show everything in one look.

    What waits, what is dead and whether it is still happening, whether the function works, whether ACS answers. Locks
    and changes nothing.
    """
    if watch and reach.as_json:
        raise Mistake("--watch is for people, --json for programs; nothing was looked at; leave one out")
    settings = outside.settings(reach.namespace)
    viewpoint = viewpoint_of(outside, reach, limits)

    async def once() -> Look:
        async with outside.informed_queues(settings) as queues:
            return await look(queues, viewpoint, outside.now())

    async def work(_: asyncio.Event) -> Look:
        return await once()

    async def again_and_again(stop: asyncio.Event) -> Look:
        clock = asyncio.get_running_loop().time
        async with outside.informed_queues(settings) as queues:
            with Live(console=out(), auto_refresh=False) as shown:
                while True:
                    began = clock()
                    seen = await look(queues, viewpoint, outside.now())
                    shown.update(Group(*_picture(seen), f"{utc(seen.now)} UTC, Ctrl-C ends it."), refresh=True)
                    try:
                        async with asyncio.timeout(max(_EVERY, _REST * (clock() - began))):
                            await stop.wait()
                            return seen
                    except TimeoutError:
                        continue

    seen = machine.run(again_and_again, stopping=lambda: None) if watch else machine.run(work)
    if reach.as_json:
        show_json(seen.as_document())
    elif not watch:
        _show(seen)
    return ExitCode.SOME_FAILED if fail_if_any and seen.needs_somebody else ExitCode.DONE


def _show(seen: Look) -> None:
    if sys.stdout.isatty():
        for part in _picture(seen):
            out().print(part)
    else:
        _write(seen)


def _picture(seen: Look) -> Iterator[RenderableType]:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, text in _facts(seen):
        grid.add_row(name, text)
    yield grid
    if not seen.heat.total:
        yield Text(_NONE)
        return
    heat = Table(box=None, pad_edge=False, header_style="bold")
    first, hours, *counts = _headings(seen)
    heat.add_column(first, max_width=_REASON, no_wrap=True)
    heat.add_column(hours, no_wrap=True)
    for heading in counts:
        heat.add_column(heading, justify="right", no_wrap=True)
    for row in _rows(seen, _REASON):
        heat.add_row(*row)
    yield heat
    for line in seen.bursts.lines():
        yield Text(line)


def _write(seen: Look) -> None:
    """Write it for a program: nothing is cut, folded or filled up."""
    for name, text in _facts(seen):
        output().write(f"{name}\t{text.plain}\n")
    if not seen.heat.total:
        output().write(f"{_NONE}\n")
        return
    output().write("\t".join(_headings(seen)) + "\n")
    for row in _rows(seen):
        output().write("\t".join(cell.plain for cell in row) + "\n")
    for line in seen.bursts.lines():
        output().write(f"{line}\n")


def _facts(seen: Look) -> Iterator[tuple[str, Text]]:
    backlog = seen.backlog
    waiting = f"{backlog.ready:,} ready, {backlog.scheduled:,} scheduled"
    if backlog.next_due is not None:
        waiting += f", the next in {duration(backlog.next_due - seen.now)}"
    if backlog.deferred:
        waiting += f", {backlog.deferred:,} deferred"
    oldest = "none" if backlog.oldest is None else f"{duration(seen.now - backlog.oldest)} old"
    left = "" if seen.hours_left is None else f"; {seen.hours_left:,.1f} h until the first becomes a dead letter"
    where = f": {backlog.stops:,} waiting, {seen.stops:,} dead" if backlog.stops + seen.stops else ""
    yield "opt-ins", Text(waiting)
    yield "oldest", Text(oldest + left)
    yield "dead letters", Text(f"{seen.heat.total:,}, {seen.heat.recent:,} in the last 15 minutes")
    yield "STOPs", Text(f"{seen.stops + backlog.stops:,} unsettled{where}")
    for finding in seen.findings():
        yield finding.about, Text.assemble((str(finding.health), HEALTH[finding.health]), f": {finding.text}")
    if seen.replays:
        last = seen.replays[0]
        ended = last["ended"] or "still runs, or was cut off"
        sent = count(int(str(last["sent"])), "recipient")
        yield "last replay", Text(f"{last['replay']}: {sent} sent; {ended}")


def _headings(seen: Look) -> list[str]:
    return ["dead letters by hour", f"{seen.heat.hours()[0]:%H}h".ljust(HOURS - 3) + "now", "older", "15 min", "all"]


def _rows(seen: Look, most: int = _WHOLE) -> Iterator[list[Text]]:
    heat = seen.heat
    for code, row in heat.sorted(heat.reasons):
        recent = Text(f"{row.recent:,}", "red" if row.recent else "")
        name, picture = Text(brief(code, most) or "(none)"), Text(row.picture(heat.most))
        yield [name, picture, Text(f"{row.older:,}"), recent, Text(f"{row.total:,}")]
