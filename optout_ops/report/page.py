"""The page: what happened, what waits, what was replayed, what to do next; needs no network, numbers masked. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from optout_core import __version__
from optout_core.masking import show
from optout_core.reasons import Reason, Replay
from optout_ops.health.findings import Finding, Health
from optout_ops.health.heat import HeatRow
from optout_ops.health.look import Look
from optout_ops.letters.description import meaning
from optout_ops.letters.filters import FOREIGN_REASON, NO_REASON
from optout_ops.replay.status import ReplayStatus
from optout_ops.report.chart import COLOURS, bars, colour
from optout_ops.report.runbook import read_advice
from optout_ops.report.style import STYLE
from optout_ops.wording import brief, count, duration, utc

#: Rows of a table; there may be thousands of publishers.
_ROWS = 20
#: Characters of a name in a table.
_NAME = 40
#: Names in a sentence.
_FEW = 5
#: What `_numbers` counts.
_COUNTED = ("15 min", "24 h", "Older", "All")
#: What works stands last, and says so in a word of its own: colours are not for everybody.
_WORST_FIRST = {Health.BAD: "bad", Health.UNKNOWN: "not known", Health.GOOD: "good"}


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
            *_headline(seen),
            f"<p>Seen at {utc(seen.now)} UTC. All times are UTC.</p>{_contents(seen)}</header><main>",
            *_waiting(seen),
            *_dead(seen),
            *_replays(report.replays),
            *_steps(report),
            f"</main><footer><p>Written by optout {_text(__version__)}. Phone numbers are masked.</p></footer>",
            "</body></html>\n",
        )
    )


def _headline(seen: Look) -> Iterator[str]:
    heat = seen.heat
    if heat.recent:
        yield _verdict(
            Health.BAD, "It is still happening", f"{count(heat.recent, 'dead letter')} in the last 15 minutes."
        )
    elif heat.total:
        text = f"No dead letter in the last 15 minutes; {heat.total:,} wait for somebody."
        yield _verdict(Health.UNKNOWN, "It has stopped", text)
    else:
        yield _verdict(Health.GOOD, "There are no dead letters", "")
    for finding in seen.findings():
        if finding.health is Health.BAD:
            yield _verdict(Health.BAD, _thing(finding), finding.text)


def _verdict(health: Health, what: str, text: str) -> str:
    return f'<p class="verdict {health}"><strong>{_text(what)}.</strong> {_text(text)}</p>'


def _contents(seen: Look) -> str:
    parts = [("waiting", "Waiting")]
    if seen.heat.total:
        parts += [("reasons", "By reason"), ("publishers", "By publisher")]
    parts += [("replayed", "Replayed"), ("steps", "Next steps")]
    links = "".join(f'<a href="#{name}">{text}</a>' for name, text in parts)
    return f"<nav>{links}</nav>"


def _waiting(seen: Look) -> Iterator[str]:
    backlog = seen.backlog
    facts = [
        ("Dead letters", f"{seen.heat.total:,}"),
        ("Last 15 minutes", f"{seen.heat.recent:,}"),
        ("Ready", f"{backlog.ready:,}"),
        ("Scheduled", f"{backlog.scheduled:,}"),
        ("Oldest opt-in", "none" if backlog.oldest is None else duration(seen.now - backlog.oldest)),
        ("Next dead letter by age or size", "none" if seen.hours_left is None else f"in {seen.hours_left:,.1f} h"),
        ("Unsettled STOPs", f"{seen.stops + backlog.stops:,}"),
    ]
    yield '<section id="waiting"><h2>What is waiting, and what works</h2><dl class="tiles">'
    yield from (f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    yield '</dl><dl class="findings">'
    for finding in sorted(seen.findings(), key=lambda each: list(_WORST_FIRST).index(each.health)):
        mark = _WORST_FIRST[finding.health]
        yield f'<dt>{_text(_thing(finding))}</dt><dd><b class="{finding.health}">{mark}</b> {_text(finding.text)}</dd>'
    yield "</dl></section>"


def _thing(finding: Finding) -> str:
    return finding.about.upper() if finding.about == "acs" else _sentence(finding.about)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _dead(seen: Look) -> Iterator[str]:
    heat = seen.heat
    if not heat.total:
        return
    rows = list(heat.sorted(heat.reasons))
    verdicts = {show(row.code): row.verdicts for row in seen.summary.rows()}
    yield '<section id="reasons"><h2>Dead letters by reason</h2>'
    yield bars(
        _merged(rows), heat.hours(), "Dead letters of each of the last 24 hours by reason, as in the table below"
    )
    yield from _table(
        "By reason; may it be replayed?",
        ("Reason", *_COUNTED, *(_sentence(each) for each in Replay)),
        (
            (_key(place, code or NO_REASON), *_numbers(row), *(verdicts.get(code, {}).get(each, 0) for each in Replay))
            for place, (code, row) in enumerate(rows[:_ROWS])
        ),
    )
    yield _left_out(len(rows), "reasons")
    if bursts := list(seen.bursts.lines()):
        yield f"<h3>Died together</h3><ul>{''.join(f'<li>{_text(line.strip())}</li>' for line in bursts[:_ROWS])}</ul>"
        yield _left_out(len(bursts), "lines")
    yield '</section><section id="publishers"><h2>Dead letters by publisher</h2>'
    sources = list(heat.sorted(heat.sources))
    yield bars(
        _merged(sources), heat.hours(), "Dead letters of each of the last 24 hours by publisher, as in the table below"
    )
    yield from _table(
        "By publisher",
        ("Publisher", *_COUNTED),
        (
            (_key(place, source or "(unreadable)"), *_numbers(row))
            for place, (source, row) in enumerate(sources[:_ROWS])
        ),
    )
    yield _left_out(len(sources), "publishers")
    yield "</section>"


def _left_out(all_of_them: int, things: str) -> str:
    return f"<p>{all_of_them - _ROWS:,} more {things} are not listed.</p>" if all_of_them > _ROWS else ""


def _replays(replays: Sequence[ReplayStatus]) -> Iterator[str]:
    yield '<section id="replayed"><h2>What was replayed</h2>'
    if not replays:
        yield "<p>The audit trail of this machine knows no replay.</p></section>"
        return
    yield from _table(
        "Recipients of the last replays, the newest first",
        ("Replay", "Ended", "Sent", "Applied", "Gone", "Not tried", "Retrying", "Back", "Began"),
        (
            (
                _text(each.tally.replay_id),
                _text((each.past.outcome if each.past else None) or "still runs, or was cut off"),
                each.tally.sent,
                "not known" if each.tally.applied is None else each.tally.applied,
                each.tally.gone,
                each.tally.untried,
                each.tally.retrying,
                each.tally.returned_recipients,
                _text(each.past.at[:16].replace("T", " ") if each.past else ""),
            )
            for each in replays
        ),
    )
    yield "<p>Gone: in neither queue any more; applied, or taken away by somebody.</p></section>"


def _steps(report: Report) -> Iterator[str]:
    heat = report.seen.heat
    yield '<section id="steps"><h2>Next steps</h2>'
    if not heat.total:
        yield "<p>Nothing is dead: nothing to replay.</p>"
    ours = {reason.value for reason in Reason}
    for code, row in heat.sorted(heat.reasons):
        if code not in ours:
            continue
        advice = read_advice(report.runbook, code)
        yield f"<h3>{code}: {count(row.total, 'dead letter')}</h3><p>{_text(_sentence(meaning(code)))}.</p>"
        if advice is not None:
            yield f"<p>{_text(advice.text)}</p><pre>{escape(advice.commands)}</pre>"
    if foreign := [(code, row.total) for code, row in heat.sorted(heat.reasons) if code not in ours]:
        number = sum(total for _, total in foreign)
        named = ", ".join(_text(brief(code, _NAME)) or NO_REASON for code, _ in foreign[:_FEW])
        more = f" and {len(foreign) - _FEW:,} more" if len(foreign) > _FEW else ""
        yield f"<h3>Of other programs: {count(number, 'dead letter')}</h3>"
        yield f"<p>{named}{more}: no reason of the function. Another program put these here; look what it did.</p>"
        chosen = [FOREIGN_REASON] * any(code for code, _ in foreign) + [NO_REASON] * any(
            not code for code, _ in foreign
        )
        commands = "\n".join(f"optout dlq list --reason '{each}'" for each in chosen)
        yield f"<pre>{escape(commands)}</pre>"
    yield "</section>"


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str | int]]) -> Iterator[str]:
    yield f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}">'
    yield f"<table><caption>{escape(caption)}</caption><thead><tr>"
    yield from (f'<th scope="col">{escape(each)}</th>' for each in head)
    yield "</tr></thead><tbody>"
    for first, *others in rows:
        yield f'<tr><th scope="row">{first}</th>{"".join(map(_cell, others))}</tr>'
    yield "</tbody></table></div>"


def _cell(value: str | int) -> str:
    if isinstance(value, str):
        return f"<td>{value}</td>"
    return f"<td>{value:,}</td>" if value else '<td class="nil">0</td>'


def _numbers(row: HeatRow) -> tuple[int, ...]:
    return row.recent, sum(row.per_hour), row.older, row.total


def _merged(rows: Sequence[tuple[str, HeatRow]]) -> list[tuple[str, HeatRow]]:
    if len(rows) <= COLOURS + 1:
        return list(rows)
    hours = [sum(each) for each in zip(*(row.per_hour for _, row in rows[COLOURS:]), strict=True)]
    return [*rows[:COLOURS], ("all others", HeatRow(per_hour=hours))]


def _key(place: int, name: str) -> str:
    return f'<span class="key" style="background:{colour(place)}"></span>{_text(brief(name, _NAME))}'


def _text(text: str) -> str:
    return escape(show(text))
