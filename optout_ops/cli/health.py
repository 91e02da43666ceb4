"""`optout check` and `optout doctor`."""

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

from optout_core.messages import Queue
from optout_core.numbers import clean, mask
from optout_core.settings import Settings
from optout_ops import machine
from optout_ops.audit import Audit
from optout_ops.cli.options import Reach, command
from optout_ops.cli.terminal import out, plain, show_json, table
from optout_ops.exits import Exit, Mistake, OpsError, OutOfReach
from optout_ops.health import acs
from optout_ops.health.checks import Listed, Standing
from optout_ops.health.findings import Finding, Health, compare_queue, duplicate_detection, outage_budget, skew
from optout_ops.queues.client import Queues
from optout_ops.queues.namespace import read_properties

#: In a checkout, or where pip put it (pyproject.toml, data-files); `--queues` names it elsewhere.
_IN_CHECKOUT = Path(__file__).parents[2] / "infra" / "queues.json"
_QUEUES_FILE = _IN_CHECKOUT if _IN_CHECKOUT.exists() else Path(sys.prefix, "share", "acs-opt-in", "queues.json")

_COLOURS = {Health.GOOD: "green", Health.BAD: "red", Health.UNKNOWN: "yellow"}
_LISTED = {Listed.NOT_OPTED_OUT: "green", Listed.OPTED_OUT: "red", Listed.UNKNOWN: "yellow"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "check")(check)
    command(app, "doctor")(doctor)


def check(
    reach: Reach,
    numbers: Annotated[list[str], typer.Argument(metavar="NUMBER…", help="Recipients.")],
    sender: Annotated[str, typer.Option("--from", metavar="SENDER", help="Whose opt-out list.")],
) -> int:
    """Ask ACS whether numbers are opted out; changes nothing. An error is never read as "not opted out"."""
    settings = machine.read_settings(os.environ, reach.namespace, needs_acs=True)
    asked = tuple(dict.fromkeys(cleaned for number in numbers if (cleaned := clean(number))))
    if not asked or not clean(sender):
        raise Mistake("a number has at least one digit; nothing was asked")

    async def work(_: asyncio.Event) -> dict[str, Standing]:
        return await acs.check(settings, clean(sender), asked)

    standings = machine.run(work)
    if reach.as_json:
        show_json([{"to": mask(to), "standing": str(each.listed), "why": each.why} for to, each in standings.items()])
    else:
        made = table("recipient", "standing", "")
        for to, each in standings.items():
            made.add_row(mask(to), f"[{_LISTED[each.listed]}]{each.listed}[/]", plain(each.why))
        out().print(made)
    unknown = any(each.listed is Listed.UNKNOWN for each in standings.values())
    return Exit.SOME_FAILED if unknown else Exit.DONE


def doctor(
    reach: Reach,
    queues: Annotated[Path, typer.Option("--queues", metavar="FILE", help="What the queues should be.")] = _QUEUES_FILE,
) -> int:
    """Look at settings, rights, queues and clock, and say how long ACS may be down before the first dead letter."""
    settings = machine.read_settings(os.environ, reach.namespace)
    wanted = _read_queues(queues, settings)

    async def work(_: asyncio.Event) -> list[Finding]:
        found = await asyncio.gather(
            *(_look_at_right(settings, queue, sends=sends) for queue in Queue for sends in (False, True)),
            asyncio.to_thread(_look_at_queues, settings, wanted),
            _look_at_clock(settings),
        )
        return [*_look_at_settings(settings, reach.namespace), *itertools.chain.from_iterable(found)]

    findings = machine.run(work)
    if reach.as_json:
        show_json([{"about": each.about, "health": str(each.health), "text": each.text} for each in findings])
    else:
        made = table("", "", "", show_header=False)
        for each in findings:
            made.add_row(f"[{_COLOURS[each.health]}]{each.health}[/]", plain(each.about), plain(each.text))
        out().print(made)
    bad = [each for each in findings if each.health is Health.BAD]
    if any(each.about == "rights" for each in bad):
        return Exit.OUT_OF_REACH
    return Exit.SOME_FAILED if bad else Exit.DONE


def _look_at_settings(settings: Settings, namespace: str | None) -> list[Finding]:
    findings = [Finding("settings", Health.GOOD, f"{settings.opt_in_queue} and {settings.dead_letter_queue}")]
    try:
        machine.read_settings(os.environ, namespace, needs_acs=True)
    except Mistake as error:
        findings.append(Finding("settings", Health.UNKNOWN, f"{error}; `optout check` needs it"))
    try:
        Audit(machine.audit_path()).write("doctor", "look")
    except Mistake as error:
        findings.append(Finding("audit", Health.BAD, str(error)))
    else:
        findings.append(Finding("audit", Health.GOOD, f"written to {machine.audit_path()}"))
    return findings


async def _look_at_right(settings: Settings, queue: Queue, *, sends: bool) -> list[Finding]:
    async with Queues(settings) as queues:
        what = f"{'send to' if sends else 'receive from'} {queues.names[queue]}"
        try:
            await (queues.may_send(queue) if sends else queues.tail(queue))
        except OpsError as error:
            return [Finding("rights", Health.BAD, f"we cannot {what}: {error}")]
        return [Finding("rights", Health.GOOD, f"we may {what}")]


def _look_at_queues(settings: Settings, wanted: Mapping[str, Mapping[str, object]]) -> list[Finding]:
    findings: list[Finding] = []
    for name, properties in wanted.items():
        found = read_properties(settings, name, properties)
        if found is None:
            findings.append(
                Finding(name, Health.UNKNOWN, "its properties cannot be seen: that needs the right to manage")
            )
        else:
            findings += compare_queue(name, properties, found)
        if name == settings.opt_in_queue:
            seen = properties if found is None else found
            findings.append(duplicate_detection(name, seen, seen=found is not None))
            live = seen.get("defaultMessageTimeToLive")
            findings += outage_budget(settings, None if live is None else TypeAdapter(timedelta).validate_python(live))
    return findings


async def _look_at_clock(settings: Settings) -> list[Finding]:
    if not os.environ.get("ACS_ENDPOINT"):
        return [Finding("clock", Health.UNKNOWN, "ACS_ENDPOINT is not set")]
    try:
        return [skew(await acs.clock_skew(settings))]
    except OutOfReach as error:
        return [Finding("acs", Health.BAD, str(error))]


def _read_queues(file: Path, settings: Settings) -> dict[str, dict[str, Any]]:
    try:
        document = json.loads(file.read_bytes())
        return {
            settings.opt_in_queue: dict(document["optIns"]["properties"]),
            settings.dead_letter_queue: dict(document["deadLetters"]["properties"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        raise Mistake(f"{file} does not say what the queues should be; name infra/queues.json with --queues") from None
