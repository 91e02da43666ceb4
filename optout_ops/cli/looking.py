"""`optout dlq summary`, `list` and `show`: look without locking."""

import asyncio
import os
import shlex
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from optout_core import arrivals
from optout_core.messages import Queue
from optout_core.numbers import mask, mask_body, mask_text
from optout_core.reasons import Reason, Replay
from optout_ops import machine
from optout_ops.audit import Audit
from optout_ops.cli.options import Judging, Reach, Reveal, Which, command
from optout_ops.cli.terminal import as_text, at, coloured, out, plain, show_json, show_table
from optout_ops.exits import Exit, OpsError
from optout_ops.letters.dead_letters import DeadLetter, read_dead_letter
from optout_ops.letters.summaries import Summary
from optout_ops.letters.verdicts import Rule
from optout_ops.queues.client import Queues
from optout_ops.replay.orders import matching
from optout_ops.wording import count, duration

#: More recipients than this are counted and not named.
_SHOWN = 20
#: A sequence number has 63 bits.
_MAX_DIGITS = 18


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "summary")(summary)
    command(app, "list")(list_)
    command(app, "show")(show)


def summary(reach: Reach, which: Which, judging: Judging) -> int:
    """Count the dead letters by reason, and say which may be replayed."""
    settings = machine.read_settings(os.environ, reach.namespace)
    wanted, rule, now = which.filter(), judging.rule(settings.opt_in_max_age), datetime.now(UTC)

    async def work(_: asyncio.Event) -> Summary:
        counted = Summary(rule, now)
        async with Queues(settings) as queues:
            async for dead in matching(queues, wanted, now):
                counted.add(dead)
        return counted

    rows = machine.run(work).rows()
    if reach.as_json:
        show_json(
            [
                {
                    "reason": row.code,
                    "count": row.count,
                    "recipients": row.recipients,
                    "oldest": row.oldest.isoformat(),
                    "newest": row.newest.isoformat(),
                    "verdicts": {str(replay): number for replay, number in row.verdicts.items()},
                    "meaning": _meaning(row.code),
                }
                for row in rows
            ]
        )
        return Exit.DONE
    if not rows:
        out().print("There are no dead letters" + (" that meet these conditions." if which != Which() else "."))
        return Exit.DONE
    show_table(
        ("reason", ">count", ">recipients", "oldest", "newest", ">safe", ">after a fix", ">never"),
        (
            (
                _code(row.code),
                f"{row.count:,}",
                f"{row.recipients:,}",
                at(row.oldest),
                at(row.newest),
                *(str(row.verdicts[replay]) for replay in Replay),
            )
            for row in rows
        ),
        spare=("oldest", "newest"),
    )
    for row in rows:
        out().print(f"[bold]{_code(row.code)}[/]: {plain(_meaning(row.code))}.")
    return Exit.DONE


def list_(reach: Reach, which: Which, judging: Judging) -> int:
    """List the dead letters, one line each, in the order of the queue."""
    settings = machine.read_settings(os.environ, reach.namespace)
    wanted, rule, now = which.filter(), judging.rule(settings.opt_in_max_age), datetime.now(UTC)

    async def work(_: asyncio.Event) -> list[dict[str, Any]]:
        async with Queues(settings) as queues:
            return [_line(dead, rule, now) async for dead in matching(queues, wanted, now)]

    lines = machine.run(work)
    if reach.as_json:
        show_json(lines)
        return Exit.DONE
    if not lines:
        out().print("There are no such dead letters.")
        return Exit.DONE
    show_table(
        (">number", "reason", "dead-lettered", "event", ">recipients", ">tries", ">status", ">replays", "replay"),
        (
            (
                str(line["sequenceNumber"]),
                _code(line["reason"]),
                at(datetime.fromisoformat(line["deadLetteredAt"])),
                plain(line["event"]),
                f"{line['recipients']} of {line['of']}",
                str(line["attempts"]),
                str(line["status"] or ""),
                str(line["replays"]),
                coloured(Replay(line["verdict"])),
            )
            for line in lines
        ),
        spare=("dead-lettered", "tries", "status", "replays"),
    )
    return Exit.DONE


def show(
    reach: Reach,
    judging: Judging,
    name: Annotated[str, typer.Argument(metavar="ID", help="Sequence number, MessageId or event id.")],
    reveal: Reveal = False,
) -> int:
    """Show one dead letter: what it is about, how it came here, what ACS said last, and what to do."""
    settings = machine.read_settings(os.environ, reach.namespace)
    rule, now = judging.rule(settings.opt_in_max_age), datetime.now(UTC)

    async def work(_: asyncio.Event) -> DeadLetter:
        async with Queues(settings) as queues:
            return await find(queues, name)

    dead = machine.run(work)
    if reveal:
        Audit(machine.audit_path()).write("show", "reveal", number=dead.number, event=mask_text(dead.event_id))
    facts = _facts(dead, rule, now, reveal=reveal)
    if reach.as_json:
        show_json(facts)
        return Exit.DONE
    console = out()
    verdict = rule.judge(dead, now)
    lines = [(label, plain(text)) for label, text in _story(dead, facts, now)]
    lines.append(("Replay", f"{coloured(verdict.replay)}: {plain(mask_text(verdict.why))}"))
    lines.append(("What to do", plain(_advice(dead, verdict.replay))))
    for label, text in lines:
        console.print(f"[bold]{label:<12}[/] {text}", soft_wrap=True)
    console.print("[bold]Body[/]")
    for line in facts["body"].splitlines():
        console.print(plain(line), soft_wrap=True)
    return Exit.DONE


async def find(queues: Queues, name: str) -> DeadLetter:
    """Find a dead letter by sequence number, MessageId or event id; the first in the queue wins.

    Raises:
        OpsError: There is none.
    """
    if name.isascii() and name.isdigit() and len(name) <= _MAX_DIGITS:
        async for message in queues.peek(Queue.DEAD_LETTERS, int(name)):
            if message.sequence_number == int(name):
                return read_dead_letter(message)
            break
    async for message in queues.peek(Queue.DEAD_LETTERS):
        dead = read_dead_letter(message)
        if name in (message.message_id, dead.event_id):
            return dead
    raise OpsError(
        f"there is no dead letter {mask_text(name)!r}: it was replayed, purged, or never here; `optout dlq list` shows"
        " what is"
    )


def _line(dead: DeadLetter, rule: Rule, now: datetime) -> dict[str, Any]:
    verdict = rule.judge(dead, now)
    return {
        "sequenceNumber": dead.number,
        "messageId": mask_text(dead.message.message_id or ""),
        "reason": mask_text(dead.code),
        "deadLetteredAt": dead.message.enqueued_at.isoformat(),
        "event": mask_text(dead.event_id),
        "senders": sorted(map(mask, dead.senders)),
        "recipients": dead.weight,
        "of": dead.lineage.of or dead.weight,
        "attempts": dead.lineage.attempt,
        "status": dead.status,
        "replays": dead.lineage.replay_count,
        "verdict": str(verdict.replay),
        "why": mask_text(verdict.why),
    }


def _facts(dead: DeadLetter, rule: Rule, now: datetime, *, reveal: bool) -> dict[str, Any]:
    shown = (lambda text: text) if reveal else mask_body
    return _line(dead, rule, now) | {
        "recipientNumbers": [to if reveal else mask(to) for to in dead.recipients],
        "description": mask_text(dead.description),
        "firstEnqueuedAt": dead.lineage.first_enqueued.isoformat(),
        "hop": dead.lineage.hop,
        "replay": dead.lineage.replay_id,
        "deliveryCount": dead.message.delivery_count,
        "unreadable": dead.unreadable,
        "properties": as_text(dead.message.properties),
        "body": shown(dead.message.body.decode(errors="replace")),
    }


def _story(dead: DeadLetter, facts: dict[str, Any], now: datetime) -> list[tuple[str, str]]:
    lineage, properties = dead.lineage, dead.message.properties
    numbers = facts["recipientNumbers"]
    more = f" and {len(numbers) - _SHOWN:,} more" if len(numbers) > _SHOWN else ""
    answer = ", ".join(
        f"{label} {properties[name]}"
        for label, name in (("HTTP", arrivals.HTTP_STATUS), ("code", arrivals.ERROR_CODE), ("MS-CV", arrivals.MS_CV))
        if name in properties
    )
    rounds = f"{count(lineage.attempt, 'attempt')} used up, re-sent {lineage.hop} times"
    if lineage.replay_count:
        rounds += f", replayed {lineage.replay_count} times, last by {lineage.replay_id}"
    waited = duration(now - dead.message.enqueued_at)
    return [
        ("Dead letter", f"{dead.number} ({facts['messageId'] or 'no MessageId'})"),
        ("Reason", f"{dead.code or '(none)'}: {facts['description'] or _meaning(dead.code)}"),
        ("Since", f"{at(dead.message.enqueued_at)} UTC, {waited} ago"),
        ("Event", f"{facts['event']}, first seen {at(lineage.first_enqueued)} UTC; {rounds}"),
        ("Sender", ", ".join(facts["senders"]) or "unknown"),
        ("Recipients", f"{facts['recipients']} of {facts['of']}: {', '.join(numbers[:_SHOWN]) or 'unknown'}{more}"),
        ("ACS said", answer or "nothing: it was not asked, or did not answer"),
    ]


def _advice(dead: DeadLetter, replay: Replay) -> str:
    anchor = f"docs/runbook.md#{dead.code.lower()}" if dead.reason is not None else "docs/runbook.md"
    event = shlex.quote(mask_text(dead.event_id))
    mend = f"to mend it: optout dlq edit {dead.number}; " if dead.unreadable is not None else "leave it; "
    command = {
        Replay.SAFE: f"optout dlq replay --event {event}",
        Replay.AFTER_A_FIX: f"mend the cause, then: optout dlq replay --fixed --event {event}",
        Replay.NEVER: f"{mend}to remove it: optout dlq purge --event {event}",
    }[replay]
    return f"{command} (see {anchor})"


def _code(code: str) -> str:
    return plain(mask_text(code)) or "(none)"


def _meaning(code: str) -> str:
    known = {reason.value: reason.meaning for reason in Reason}
    return known.get(code, "none of our reasons: something else put it here")
