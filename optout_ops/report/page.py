"""The page: what happened, what waits, what was replayed, what to do next; needs no network, numbers masked. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from optout_core import __version__
from optout_core.masking import show
from optout_core.reasons import Replay
from optout_ops.health.findings import Health
from optout_ops.health.heat import HeatRow
from optout_ops.health.look import Look
from optout_ops.letters.description import meaning
from optout_ops.replay.status import ReplayStatus
from optout_ops.report.chart import COLOURS, bars, colour
from optout_ops.report.runbook import read_advice
from optout_ops.report.style import STYLE
from optout_ops.wording import brief, duration, utc

#: Rows of a table; there may be thousands of publishers.
_ROWS = 20
#: Characters of a name in a table.
_NAME = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the page tells of.

    Attributes:
        namespace: Where it was seen.
        seen: The look.
        replays: The last replays, the newest first.
        runbook: The text of docs/runbook.md, or "" where it is not at hand.
    """

    namespace: str
    seen: Look
    replays: Sequence[ReplayStatus]
    runbook: str


def render(report: Report) -> str:
    """Write the page."""
    seen = report.seen
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>Opt-ins: {_text(report.namespace)}, {utc(seen.now)} UTC</title>",
            f"<style>{STYLE}</style></head><body>",
            f"<header><h1>SMS opt-ins: {_text(report.namespace)}</h1>",
            f"<p>Seen at {utc(seen.now)} UTC. {_headline(seen)}</p></header><main>",
            *_waiting(seen),
            *_dead(seen),
            *_replays(report.replays),
            *_steps(report),
            f"</main><footer><p>Written by optout {_text(__version__)}. Phone numbers are masked.</p></footer>",
            "</body></html>\n",
        )
    )


def _headline(seen: Look) -> str:
    if not seen.heat.total:
        return "There are no dead letters."
    going_on = f"{seen.heat.recent:,} in the last 15 minutes: it is still happening"
    return f"{seen.heat.total:,} dead letters; {going_on if seen.heat.recent else 'none in the last 15 minutes'}."


def _waiting(seen: Look) -> Iterator[str]:
    backlog = seen.backlog
    facts = [
        ("Ready", f"{backlog.ready:,}"),
        ("Scheduled", f"{backlog.scheduled:,}"),
        ("Oldest opt-in", "none" if backlog.oldest is None else f"{duration(seen.now - backlog.oldest)} old"),
        ("First dead letter in", "not in sight" if seen.hours_left is None else f"{seen.hours_left:,.1f} h"),
        ("STOPs that are unsettled", f"{seen.stops + backlog.stops:,}"),
    ]
    yield "<section><h2>What is waiting</h2><dl>"
    yield from (f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
    for finding in seen.findings():
        mark = {Health.GOOD: "good", Health.BAD: "bad", Health.UNKNOWN: "unknown"}[finding.health]
        yield f'<dt>{_text(finding.about.capitalize())}</dt><dd><b class="{mark}">{mark}</b> {_text(finding.text)}</dd>'
    yield "</dl></section>"


def _dead(seen: Look) -> Iterator[str]:
    heat = seen.heat
    if not heat.total:
        return
    rows = list(heat.sorted(heat.reasons))
    yield "<section><h2>Dead letters by reason</h2>"
    yield bars(_merged(rows), heat.hours(), "Dead letters of the last 24 hours by reason, as in the table below")
    verdicts = {show(row.code): row.verdicts for row in seen.summary.rows()}
    yield from _table(
        "By reason",
        ("Reason", "15 min", "24 h", "Older", "All", *map(str, Replay)),
        (
            (
                _key(place, code or "(none)"),
                *_numbers(row),
                *(f"{verdicts.get(code, {}).get(advice, 0):,}" for advice in Replay),
            )
            for place, (code, row) in enumerate(rows[:_ROWS])
        ),
    )
    yield "</section><section><h2>Dead letters by publisher</h2>"
    sources = list(heat.sorted(heat.sources))
    yield bars(_merged(sources), heat.hours(), "Dead letters of the last 24 hours by publisher, as in the table below")
    yield from _table(
        "By publisher",
        ("Publisher", "15 min", "24 h", "Older", "All"),
        (
            (_key(place, source or "(unreadable)"), *_numbers(row))
            for place, (source, row) in enumerate(sources[:_ROWS])
        ),
    )
    if len(sources) > _ROWS:
        yield f"<p>{len(sources) - _ROWS:,} more publishers are not listed.</p>"
    if bursts := list(seen.bursts.lines()):
        yield f"<h2>Died together</h2><ul>{''.join(f'<li>{_text(line.strip())}</li>' for line in bursts[:_ROWS])}</ul>"
    yield "</section>"


def _replays(replays: Sequence[ReplayStatus]) -> Iterator[str]:
    yield "<section><h2>What was replayed</h2>"
    if not replays:
        yield "<p>The audit trail of this machine knows no replay.</p></section>"
        return
    yield from _table(
        "Replays, the newest first; recipients",
        ("Replay", "Began", "Sent", "Applied", "Gone", "Not tried", "Retrying", "Back", "Ended"),
        (
            (
                _text(each.tally.replay_id),
                _text(each.past.at[:19] if each.past else ""),
                f"{each.tally.sent:,}",
                "not known" if each.tally.applied is None else f"{each.tally.applied:,}",
                f"{each.tally.gone:,}",
                f"{each.tally.untried:,}",
                f"{each.tally.retrying:,}",
                f"{each.tally.returned_recipients:,}",
                _text((each.past.outcome if each.past else None) or "still runs, or was cut off"),
            )
            for each in replays
        ),
    )
    yield "<p>Gone: in neither queue any more; applied, or taken away by somebody.</p></section>"


def _steps(report: Report) -> Iterator[str]:
    yield "<section><h2>Next steps</h2>"
    codes = [code for code, _ in report.seen.heat.sorted(report.seen.heat.reasons)]
    if not codes:
        yield "<p>Nothing to do.</p>"
    for code in codes[:_ROWS]:
        advice = read_advice(report.runbook, code) if code else None
        yield f"<h3>{_text(brief(code, _NAME)) or '(none)'}</h3><p>{_text(meaning(code)).capitalize()}.</p>"
        if advice is not None:
            yield f'<p>{_text(advice.text)}</p><pre tabindex="0">{escape(advice.commands)}</pre>'
    yield "</section>"


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}">'
    yield f"<table><caption>{escape(caption)}</caption><thead><tr>"
    yield from (f'<th scope="col">{escape(each)}</th>' for each in head)
    yield "</tr></thead><tbody>"
    for first, *others in rows:
        yield f'<tr><th scope="row">{first}</th>{"".join(f"<td>{each}</td>" for each in others)}</tr>'
    yield "</tbody></table></div>"


def _numbers(row: HeatRow) -> tuple[str, ...]:
    return f"{row.recent:,}", f"{sum(row.per_hour):,}", f"{row.older:,}", f"{row.total:,}"


def _merged(rows: Sequence[tuple[str, HeatRow]]) -> list[tuple[str, HeatRow]]:
    if len(rows) <= COLOURS + 1:
        return list(rows)
    hours = [sum(each) for each in zip(*(row.per_hour for _, row in rows[COLOURS:]), strict=True)]
    return [*rows[:COLOURS], ("all others", HeatRow(per_hour=hours))]


def _key(place: int, name: str) -> str:
    return f'<span class="key" style="background:{colour(place)}"></span>{_text(brief(name, _NAME))}'


def _text(text: str) -> str:
    return escape(show(text))
