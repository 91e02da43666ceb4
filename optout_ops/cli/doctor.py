"""`optout doctor`."""

import asyncio
import functools
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from optout_ops import machine
from optout_ops.cli.options import Limits, Reach
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import HEALTH, out, plain, show_json
from optout_ops.cli.viewpoint import viewpoint_of
from optout_ops.health.deployed import Deployed
from optout_ops.health.doctor import Patient, examine, exit_code, read_wanted
from optout_ops.health.findings import Finding
from optout_ops.health.look import Viewpoint, look
from optout_ops.queues.properties import read_properties

#: In a checkout, or where pip installed it (pyproject.toml, data-files); `--queues` names it elsewhere.
_IN_CHECKOUT = Path(__file__).parents[2] / "infra" / "queues.json"
_QUEUES_FILE = _IN_CHECKOUT if _IN_CHECKOUT.exists() else Path(sys.prefix, "share", "acs-opt-in", "queues.json")

#: Columns of a line.
_FIRST, _SECOND = 7, 20


def doctor(
    outside: Outside,
    reach: Reach,
    queues: Annotated[
        Path, typer.Option("--queues", metavar="FILE", help="The file that says how the queues should be.")
    ] = _QUEUES_FILE,
) -> int:
    """Look at settings, rights, queues and clock.

    Also says how long ACS may be down before the first dead letter. Sends and locks nothing.
    """
    settings = outside.settings(reach.namespace)
    wanted = read_wanted(queues, settings)
    viewpoint = viewpoint_of(outside, reach, Limits())
    patient = Patient(
        settings=settings,
        acs_problem=viewpoint.acs_problem,
        trail=outside.trail(),
        open_queues=functools.partial(outside.open_queues, settings),
        read_properties=functools.partial(read_properties, settings),
        ask_deployed=lambda: _deployed(viewpoint),
        see=lambda queues: look(queues, viewpoint, outside.now()),
    )

    async def work(_: asyncio.Event) -> list[Finding]:
        findings = []
        async for each in examine(patient, wanted):
            findings.append(each)
            if not reach.as_json:
                # At once: when something is out of reach, the rest may take its time.
                _show(each)
        return findings

    findings = machine.run(work)
    if reach.as_json:
        show_json([{"about": each.about, "health": str(each.health), "text": each.text} for each in findings])
    return exit_code(findings)


async def _deployed(viewpoint: Viewpoint) -> Deployed:
    _, deployed = await viewpoint.ask_ledger()
    return deployed


def _show(finding: Finding) -> None:
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(width=_FIRST)
    made.add_column(width=_SECOND, overflow="fold")
    made.add_column(overflow="fold")
    health = f"[{HEALTH[finding.health]}]{finding.health}[/]"
    made.add_row(health, plain(finding.about), plain(finding.text))
    out().print(made)
