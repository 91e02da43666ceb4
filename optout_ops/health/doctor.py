"""The doctor: settings, audit trail, rights, properties of the queues, and the clock, each looked at once."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from optout_core.outgoing import Queue
from optout_core.settings import Settings
from optout_ops.audit import AuditTrail
from optout_ops.exits import ExitCode, Mistake, OpsError, OutOfReach
from optout_ops.health.deployed import Deployed
from optout_ops.health.findings import (
    Finding,
    Health,
    compare_queue,
    duplicate_detection,
    ending_queue,
    last_day,
    outage_budget,
)
from optout_ops.health.look import Look
from optout_ops.queues.protocols import QueuePair

_SPAN = TypeAdapter(timedelta)
#: Seconds for one look; whoever calls the doctor is in a hurry.
_LOOK = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What the doctor looks at.

    Attributes:
        settings: The settings of this shell.
        acs_problem: Why ACS cannot be asked, such as a missing setting, or None.
        trail: The audit trail.
        open_queues: Connects to the queues.
        read_properties: Gives the properties of a queue that are named; None when we may not see them. Blocks.
        ask_deployed: Gives the settings that the function published, or those of this shell.
        see: Looks once at everything, as `optout status` does.
    """

    settings: Settings
    acs_problem: str | None
    trail: AuditTrail
    open_queues: Callable[[], AbstractAsyncContextManager[QueuePair]]
    read_properties: Callable[[str, Mapping[str, object]], Mapping[str, object] | None]
    ask_deployed: Callable[[], Awaitable[Deployed]]
    see: Callable[[QueuePair], Awaitable[Look]]


async def examine(patient: Patient, wanted: Mapping[str, Mapping[str, object]]) -> AsyncIterator[Finding]:
    """Look at everything, at the same time, and yield what is found as it is found.

    Args:
        patient: What to look at.
        wanted: The properties that each queue should have, by the queue's name.
    """
    deployed = asyncio.ensure_future(patient.ask_deployed())
    looks = [
        _look_at_deployed(deployed),
        *(_look_at_right(patient, queue, sends=sends) for queue in Queue for sends in (False, True)),
        _look_at_queues(patient, wanted, deployed),
        _look_at_work(patient),
    ]
    for finding in _look_at_settings(patient):
        yield finding
    for look in asyncio.as_completed(looks):
        for finding in await look:
            yield finding


def exit_code(findings: Sequence[Finding]) -> ExitCode:
    """Give the exit code: a missing right means that the namespace is out of reach."""
    bad = [finding for finding in findings if finding.health is Health.BAD]
    if any(finding.about == "rights" for finding in bad):
        return ExitCode.OUT_OF_REACH
    return ExitCode.SOME_FAILED if bad else ExitCode.DONE


def read_wanted(file: Path, settings: Settings) -> dict[str, dict[str, Any]]:
    """Read which properties the queues should have, by the queue's name.

    Raises:
        Mistake: The file is not like infra/queues.json.
    """
    try:
        document = json.loads(file.read_bytes())
        return {
            settings.opt_in_queue: dict(document["optIns"]["properties"]),
            settings.dead_letter_queue: dict(document["deadLetters"]["properties"]),
            ending_queue(settings): dict(document["endingDeadLetters"]["properties"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        raise Mistake(f"{file} does not say what the queues should be; name infra/queues.json with --queues") from None


def _look_at_settings(patient: Patient) -> list[Finding]:
    settings = patient.settings
    findings = [Finding("settings", Health.GOOD, f"{settings.opt_in_queue} and {settings.dead_letter_queue}")]
    if patient.acs_problem is not None:
        findings.append(Finding("settings", Health.UNKNOWN, f"{patient.acs_problem}; `optout check` needs it"))
    try:
        patient.trail.write("doctor", "look")
    except Mistake as error:
        findings.append(Finding("audit", Health.BAD, str(error)))
    else:
        findings.append(Finding("audit", Health.GOOD, f"written to {patient.trail.path}"))
    return findings


async def _look_at_right(patient: Patient, queue: Queue, *, sends: bool) -> list[Finding]:
    # Each right over a connection of its own: a refusal can end the connection that it came over.
    async with patient.open_queues() as queues:
        what = f"{'send to' if sends else 'receive from'} {queues.names[queue]}"
        try:
            async with asyncio.timeout(_LOOK):
                await (queues.may_send(queue) if sends else queues.tail(queue))
        except OpsError as error:
            return [Finding("rights", Health.BAD, f"we cannot {what}: {error}")]
        except TimeoutError:
            return [Finding("rights", Health.BAD, f"we cannot {what}: no answer within {_LOOK} s; check the network")]
        return [Finding("rights", Health.GOOD, f"we may {what}")]


async def _look_at_deployed(deployed: Awaitable[Deployed]) -> list[Finding]:
    return [(await deployed).finding]


async def _look_at_queues(
    patient: Patient, wanted: Mapping[str, Mapping[str, object]], deployed: Awaitable[Deployed]
) -> list[Finding]:
    findings: list[Finding] = []
    properties_of: dict[str, Mapping[str, object]] = {}
    told = set()
    for name, properties in wanted.items():
        found = await asyncio.to_thread(patient.read_properties, name, properties)
        if found is None:
            findings.append(
                Finding(name, Health.UNKNOWN, "its properties cannot be seen: that needs the right to manage")
            )
        else:
            findings += compare_queue(name, properties, found)
            told.add(name)
        seen = properties_of[name] = properties if found is None else found
        if name == patient.settings.opt_in_queue:
            findings.append(duplicate_detection(name, seen, seen=found is not None))
            time_to_live = seen.get("defaultMessageTimeToLive")
            findings += outage_budget(
                (await deployed).settings, None if time_to_live is None else _SPAN.validate_python(time_to_live)
            )
    both = patient.settings.dead_letter_queue, ending_queue(patient.settings)
    findings.append(last_day(*(properties_of[name] for name in both), seen=told.issuperset(both)))
    return findings


async def _look_at_work(patient: Patient) -> list[Finding]:
    async with patient.open_queues() as queues:
        try:
            seen = await patient.see(queues)
        except OutOfReach as error:
            return [Finding("function", Health.UNKNOWN, f"nothing can be said of it: {error}")]
    dead = f"{seen.heat.total:,}, {seen.heat.recent:,} in the last 15 minutes"
    health = Health.BAD if seen.heat.recent else Health.GOOD
    # The settings were told of by themselves: also where the queues cannot be reached.
    told = (each for each in seen.findings() if each is not seen.settings)
    return [Finding("dead letters", health, dead), *told]
