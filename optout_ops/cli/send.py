"""`optout send`."""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from optout_core.events import Event, Ignored
from optout_core.keywords import Keywords
from optout_core.masking import show
from optout_core.settings import Settings
from optout_ops import machine
from optout_ops.changes.examine import EventMessage, EventProblem, EventText, examine, split, undated_consents
from optout_ops.changes.send import Published, Seen, publish
from optout_ops.cli.options import Note, Rate, Reach
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import out, say, say_stopping, show_json
from optout_ops.exits import ExitCode, Mistake
from optout_ops.queues.pacing import Pace
from optout_ops.wording import count, read_time

_LINES = {".jsonl", ".ndjson"}
#: Events that are named on the screen, and warnings: more is read by programs.
_MOST_NAMED = 20


def send(
    outside: Outside,
    reach: Reach,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE…|-", help="One event; .jsonl and - (standard input) may hold one event a line."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Validate and send nothing.")] = False,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="When they are delivered, such as 2026-01-23T10:00Z.")
    ] = None,
    rate: Rate = 100.0,
    note: Note = None,
) -> int:
    """Publish opt-in and opt-out events, all or none.

    One event that breaks the contract stops all of them; what the function would dead-letter is a warning. The
    MessageId is a hash of source and id of the event: sending the same file again is harmless, since the broker drops
    what it knows from the last 24 hours. It says nothing of that, so the queue is looked at afterwards.
    """
    try:
        scheduled_at = read_time(at) if at else None
    except ValueError as error:
        raise Mistake(f"--at {error}; nothing was sent") from None
    # Whoever only wants to know whether an event is valid needs no namespace.
    settings = outside.settings("nowhere" if dry_run else reach.namespace)
    examined = list(
        examine(
            _read(files),
            rule=settings.rule,
            # Whether the function has a ledger, without which it ignores START, the environment here does not say.
            keywords=Keywords(settings.opt_in_keywords, settings.opt_out_keywords),
            now=outside.now(),
            scheduled_at=scheduled_at,
        )
    )
    problems = [each for each in examined if isinstance(each, EventProblem)]
    messages = [each for each in examined if isinstance(each, EventMessage)]
    warnings = list(_warnings(messages))
    published = Published(0, None)
    if messages and not problems and not dry_run:
        published = _send(outside, settings, messages, rate, note)
    if reach.as_json:
        _show_as_json(messages, problems, warnings, published)
    else:
        _show(messages, problems, warnings, published)
    if problems or not messages:
        return ExitCode.USAGE
    return ExitCode.DONE if dry_run or published.sent == len(messages) else ExitCode.INTERRUPTED


def _send(
    outside: Outside, settings: Settings, messages: list[EventMessage], rate: float, note: str | None
) -> Published:
    async def work(stop: asyncio.Event) -> Published:
        trail = list(outside.trail().read())
        async with outside.open_queues(settings) as queues:
            with outside.run(
                "send", machine.new_run_id(), note=note, doing="sending", total=len(messages), stop=stop
            ) as run:
                return await publish(queues, messages, pace=Pace(rate), run=run, trail=trail)

    return machine.run(work, stopping=say_stopping)


def _warnings(messages: Sequence[EventMessage]) -> Iterator[tuple[str, str]]:
    for message in messages:
        yield from ((message.where, why) for why in message.warnings)
    if len(messages) > 1 and (number := undated_consents(messages)):
        why = "in an import say when each person opted in, since the time of the import is no consent"
        yield "all", f"{count(number, 'opt-in')} without `consent.capturedAt`: {why}"


def _events(messages: Sequence[EventMessage]) -> Iterator[tuple[Event, EventMessage]]:
    for message in messages:
        yield from ((event, message) for event in message.events if not isinstance(event, Ignored))


def _show_as_json(
    messages: list[EventMessage],
    problems: list[EventProblem],
    warnings: list[tuple[str, str]],
    published: Published,
) -> None:
    show_json(
        {
            "sent": published.sent,
            "events": sum(len(each.events) for each in messages),
            "recipients": sum(each.recipients for each in messages),
            "problems": [asdict(problem) for problem in problems],
            "warnings": [{"where": where, "why": why} for where, why in warnings],
            "ids": [
                {"source": str(event.source), "id": str(event.id), "message": message.outgoing.message_id}
                for event, message in _events(messages)
            ],
            "queue": asdict(published.seen) if published.seen else None,
        }
    )


def _show(
    messages: list[EventMessage],
    problems: list[EventProblem],
    warnings: list[tuple[str, str]],
    published: Published,
) -> None:
    for problem in problems:
        say(f"{problem.where}: {problem.why}")
    for where, why in islice(warnings, _MOST_NAMED):
        say(f"Warning: {where}: {why}")
    if len(warnings) > _MOST_NAMED:
        say(f"Warning: and {len(warnings) - _MOST_NAMED:,} more; --json has them all")
    events, recipients = sum(len(each.events) for each in messages), sum(each.recipients for each in messages)
    done = f"{count(published.sent, 'message')} sent" if published.sent else "Nothing was sent"
    _print(f"{done}; {count(events, 'valid event')} with {count(recipients, 'recipient')}")
    if not published.sent:
        return
    sent = messages[: published.sent]
    for event, _ in islice(_events(sent), _MOST_NAMED):
        _print(f"event {event.id} of {event.source}")
    if (more := sum(1 for _ in _events(sent)) - _MOST_NAMED) > 0:
        _print(f"and {more:,} more; --json has them all")
    for line in _seen(published.seen):
        _print(line)
    _print("`optout dlq show ID` says why an event failed, `optout check NUMBER --from SENDER` what ACS says.")


def _seen(seen: Seen | None) -> Iterator[str]:
    if seen is None:
        yield "Whether the broker dropped repeats cannot be seen: that needs the right to read the queue."
        return
    if seen.waiting:
        yield f"{count(seen.waiting, 'message')} in the queue, new."
    if seen.repeats:
        yield f"{count(seen.repeats, 'message')} sent before, within 24 hours: the broker dropped the repeat."
    if seen.gone:
        why = "taken by the function already, or dropped as a repeat of what was sent elsewhere"
        yield f"{count(seen.gone, 'message')} not in the queue: {why}."


def _print(line: str) -> None:
    out().print(show(line), markup=False, soft_wrap=True)


def _read(files: list[str]) -> list[EventText]:
    texts: list[EventText] = []
    for name in files:
        try:
            content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as error:
            raise Mistake(f"{name}: {error.strerror}; nothing was sent") from None
        lines = Path(name).suffix in _LINES or (name == "-" and not _is_one_document(content))
        texts += split("standard input" if name == "-" else name, content, lines=lines)
    if not texts:
        raise Mistake("there are no events in it; nothing was sent")
    return texts


def _is_one_document(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True
