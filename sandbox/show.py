"""Shows what happened in a run: tables for people, one JSON document for programs."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from optout_core.events import EventResult
from optout_core.masking import Untrusted, printable, show_value
from optout_core.numbers import Number
from optout_core.reasons import Reason
from optout_core.reports import ConsentEffect, RecipientOutcome
from sandbox.run import Result
from sandbox.watch import WatchedRecipient

#: More than this nobody reads on a terminal; --json has it all.
_MOST_ROWS = 40
_MOST_NUMBERS = 3
_MOST_ERRORS = 5

#: What the ledger did to a word; that it held back an opt-in is a reason of its own.
_EFFECTS = {
    ConsentEffect.ALREADY_APPLIED.value: "not sent: the list says so, or a newer word stands",
    ConsentEffect.ASSERTED_AGAIN.value: "called again, since the call before it might have acted later",
}
#: What it did to one that it knew under the same event id.
_AGAIN = "published twice under one id: sent once"
_COLOURS = {
    RecipientOutcome.REMOVED.value: "green",
    RecipientOutcome.ADDED.value: "green",
    RecipientOutcome.WAITING.value: "yellow",
    RecipientOutcome.DEAD_LETTERED.value: "red",
}


def as_document(result: Result, *, reveal: bool) -> dict[str, object]:
    """Give the report as one JSON document.

    Args:
        result: What happened.
        reveal: Whether numbers are shown in full.
    """
    show, show_text = (_number_in_full, _text_in_full) if reveal else (str, str)
    events: dict[str, object] = {}
    for name, event in result.watch.events.items():
        key, number = show_text(name), 1
        while key in events:
            # Two ids that hold different numbers look alike when they are masked.
            number += 1
            key = f"{show_text(name)}~{number}"
        events[key] = {"form": str(event.form), "result": event.result}
    return {
        "events": events,
        "recipients": [
            {
                "event": show_text(each.event),
                "sender": show(each.sender),
                "to": show(each.to),
                "outcome": each.outcome,
                "reason": each.reason,
                "attempts": each.attempts,
                "consent": each.effects,
            }
            for each in result.watch.recipients.values()
        ],
        "dead_letters": [
            {
                "reason": show_text(dead.reason),
                "description": show_text(dead.description),
                "recipients": [show(to) for to in dead.recipients],
                "properties": {
                    show_text(Untrusted(name)): value if reveal else show_value(value)
                    for name, value in dead.properties.items()
                },
            }
            for dead in result.dead_letters
        ],
        "requests": {"count": sum(result.collected.statuses.values()), "statuses": result.collected.statuses},
        "metrics": result.collected.metrics,
        "duration_s": round(result.duration, 3),
    }


def show(console: Console, result: Result, said: Counter[str], *, reveal: bool) -> None:
    """Print the report for a person, ending with one sentence that says how it went.

    Args:
        console: Where to.
        result: What happened.
        said: The errors that the function logged, and how often each came.
        reveal: Whether numbers are shown in full.
    """
    number = _number_in_full if reveal else str
    console.print("[bold]What became of each recipient[/]")
    console.print(_recipients(result, number))
    console.print("\n[bold]The dead-letter queue[/]" + ("" if result.dead_letters else " is empty"))
    for dead in result.dead_letters[:_MOST_ROWS]:
        shown = ", ".join(number(to) for to in dead.recipients[:_MOST_NUMBERS])
        shown += f" and {len(dead.recipients) - _MOST_NUMBERS} more" if len(dead.recipients) > _MOST_NUMBERS else ""
        line = f"  [red]{escape(str(dead.reason))}[/]  {escape(str(dead.event))}  {escape(shown)}"
        console.print(line, soft_wrap=True)
        console.print(Padding(f"[dim]{escape(str(dead.description))}[/]", (0, 0, 0, 4)))
    _tell_rest(console, len(result.dead_letters))
    console.print("\n[bold]What was measured[/]")
    console.print(_measurements(result))
    console.print()
    for line, count in said.most_common(_MOST_ERRORS):
        console.print(f"[yellow]The function said{f' {count} times' if count > 1 else ''}:[/] {escape(line)}")
    console.print(_sentence(result))


def _recipients(result: Result, number: Callable[[Number], str]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
    # On a narrow terminal ids and reasons go on in the next line: a code that is cut cannot be looked up.
    table.add_column(overflow="fold")
    for _ in ("number", "outcome"):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    by_event: dict[Untrusted, list[WatchedRecipient]] = {}
    for each in result.watch.recipients.values():
        by_event.setdefault(each.event, []).append(each)
    for name, event in result.watch.events.items():
        shown = escape(str(name))
        if name not in by_event:
            outcome = "waiting" if event.result is None else event.result
            reason = next((str(dead.reason) for dead in result.dead_letters if dead.event == name), "")
            table.add_row(shown, f"[dim]{event.form}[/]", _coloured(outcome), reason)
        for each in by_event.get(name, []):
            table.add_row(shown, escape(number(each.to)), _coloured(each.outcome), _why(each))
            shown = ""
        if table.row_count > _MOST_ROWS:
            table.add_row(f"… {len(result.watch.recipients):,} in all; --json shows every one")
            break
    return table


def _number_in_full(number: Number) -> str:
    return printable(number.text)


def _text_in_full(text: Untrusted) -> str:
    return printable(text.raw)


def _why(recipient: WatchedRecipient) -> str:
    tries = f"{recipient.attempts} tries" if recipient.attempts > 1 else ""
    next_try = f"next try at {recipient.next_try:%H:%M:%S} UTC" if recipient.next_try else ""
    effects = [
        _AGAIN if effect == ConsentEffect.ALREADY_APPLIED and recipient.published > 1 else _EFFECTS[effect]
        for effect in dict.fromkeys(recipient.effects)
        if effect in _EFFECTS
    ]
    return ", ".join(filter(None, (recipient.reason, tries, next_try, *effects)))


def _measurements(result: Result) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, metric in result.collected.metrics.items():
        points = metric["points"]
        shown = [_point(point) for point in (points if isinstance(points, list) else [])]
        table.add_row(name, "; ".join(shown) + f" [dim]{str(metric['unit']).strip('{}1')}[/]")
    return table


def _point(point: dict[str, Any]) -> str:
    attributes = " ".join(str(value) for value in point["attributes"].values() if value != "")
    if "count" in point:
        mean = f"mean of {_count(point['count'], 'value')}: {point['sum'] / point['count']:.3g}"
        return f"{attributes} {mean}".strip()
    return f"{attributes} {point['value']}".strip()


def _sentence(result: Result) -> str:
    watch = result.watch
    outcomes = Counter(each.outcome for each in watch.recipients.values())
    results = Counter(event.result for event in watch.events.values())
    stops, ignored = results[EventResult.RECORDED], results[EventResult.IGNORED]
    requests = sum(result.collected.statuses.values())
    counts = ", ".join(f"{outcomes[outcome.value]} {outcome.value.replace('_', '-')}" for outcome in RecipientOutcome)
    end = f"{_count(len(watch.events), 'event')}, {_count(len(watch.recipients), 'recipient')}: {counts}"
    end += f"; STOPs: {stops}" if stops else ""
    end += f"; ignored: {ignored}" if ignored else ""
    end += f"; {_count(len(result.dead_letters), 'dead letter')}"
    end += f"; {_count(requests, 'request')} to ACS in {result.duration:.1f} s. "
    refused = sum(each.reason == Reason.REQUEST_REFUSED for each in watch.recipients.values())
    if result.settled and refused:
        are, them = ("is a dead letter", "it") if refused == 1 else ("are dead letters", "them")
        return (
            f"[bold yellow]Done, but ACS refused us.[/] {end}{_count(refused, 'recipient')} {are} as RequestRefused,"
            f" and the list was not changed for {them}: check the endpoint and the key; nothing is lost."
        )
    if result.settled:
        return (
            f"[bold green]Done.[/] {end}ACS's list says what each person said last, or a dead letter says why not;"
            " nothing is lost."
        )
    if not result.queued:
        return (
            f"[bold red]Not done: some of it is in neither queue.[/] {end}Another function took it, or the broker"
            " dropped it as a duplicate of what it was sent before."
        )
    reason, check = "some did not settle in time", "the endpoint"
    if _ledger_failed(result):
        reason, check = "the ledger gave no answer", "CONSENT_LEDGER"
    elif requests > 0 and set(result.collected.statuses) <= {"none"}:
        reason = "ACS gave no answer"
    return (
        f"[bold yellow]Not done: {reason}.[/] {end}Nothing is lost: the queue holds {_count(result.queued, 'message')}"
        f" with a time for the next try. Check {check}, or give it longer with --timeout."
    )


def _ledger_failed(result: Result) -> bool:
    points = result.collected.metrics.get("optout.ledger.duration", {}).get("points")
    return isinstance(points, list) and any("failed" in point["attributes"].values() for point in points)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _tell_rest(console: Console, count: int) -> None:
    if count > _MOST_ROWS:
        console.print(f"… {count - _MOST_ROWS:,} more; --json shows every one")


def _coloured(outcome: str) -> str:
    return f"[{_COLOURS.get(outcome, 'dim')}]{outcome.replace('_', '-')}[/]"
