"""What can be measured: `python -m benchmarks` lists it.

`performance` is `make bench`. The others are about one part each and write no page.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import broker, capacity, masking, page, replay, telemetry
from benchmarks.results import goals, measure
from benchmarks.scale import LONG, ORDINARY, TINY

DOCS = Path(__file__).parent.parent / "docs"
app = typer.Typer(no_args_is_help=True, add_completion=False, help="Measure what an opt-in costs.")
app.command("broker")(broker.main)
app.command("replay")(replay.main)
app.command("masking")(masking.main)
app.command("telemetry")(telemetry.main)


@app.command()
def performance(
    *,
    long: Annotated[bool, typer.Option(help="Add a million recipients: minutes more.")] = False,
    tiny: Annotated[bool, typer.Option(help="Measure little: works all the same, says nothing.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the pages are written.", file_okay=False, exists=True)] = DOCS,
) -> None:
    """Compare the function with the floor and the usual patterns; write docs/performance.md and docs/capacity.md."""
    scale = TINY if tiny else LONG if long else ORDINARY
    results = asyncio.run(measure(scale, lambda what: typer.echo(f"measuring: {what}")))
    page.write(results, folder / "performance.md")
    capacity.write(results, folder / "capacity.md")
    for goal in goals(results):
        sign = "≥" if goal.is_floor else "≤"
        met = "met" if goal.is_met else "NOT MET"
        typer.echo(f"{met:<8} {page.number(goal.measured):>8} {sign} {goal.limit:,g} {goal.unit:<9} {goal.what}")


if __name__ == "__main__":
    app()
