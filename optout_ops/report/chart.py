"""Dead letters by hour as a picture: stacked bars in SVG, one colour for each of the most frequent rows. Pure."""

from collections.abc import Sequence
from datetime import datetime
from html import escape

from optout_ops.health.heat import HeatRow

#: Rows with a colour of their own; the page names the colours `--c0` to `--c5`, the last is for all others.
COLOURS = 5
#: A picture as wide as the page; on a phone the same with larger letters (style.py), for which there is room here.
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BELOW = 720, 180, 70, 12, 32
#: Hours from one named hour to the next.
_NAMED = 4


def colour(place: int) -> str:
    """Give the colour of the row at a place."""
    return f"var(--c{min(place, COLOURS)})"


def bars(named: Sequence[tuple[str, HeatRow]], hours: Sequence[datetime], title: str) -> str:
    """Draw rows as bars by hour; whatever the picture says stands in a table beside it too."""
    most = max((sum(row.per_hour[hour] for _, row in named) for hour in range(len(hours))), default=0) or 1
    step = (_WIDTH - _LEFT - _RIGHT) / len(hours)
    drawn = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + _BELOW}" role="img" aria-label="{escape(title, quote=True)}">',
        f'<line x1="{_LEFT}" y1="4" x2="{_WIDTH - _RIGHT}" y2="4" class="axis"/>',
        f'<line x1="{_LEFT}" y1="{_HEIGHT}" x2="{_WIDTH - _RIGHT}" y2="{_HEIGHT}" class="axis"/>',
        f'<text x="{_LEFT - 6}" y="18" text-anchor="end">{most:,}</text>',
        f'<text x="{_LEFT - 6}" y="{_HEIGHT}" text-anchor="end">0</text>',
    ]
    for number, hour in enumerate(hours):
        left, top = _LEFT + number * step, float(_HEIGHT)
        for place, (name, row) in enumerate(named):
            if count := row.per_hour[number]:
                height = count / most * (_HEIGHT - 4)
                top -= height
                told = escape(f"{hour:%H}:00, {name or '(none)'}: {count:,}")
                drawn.append(
                    f'<rect x="{left + 1:.1f}" y="{top:.1f}" width="{step - 2:.1f}" height="{height:.1f}"'
                    f' fill="{colour(place)}"><title>{told}</title></rect>'
                )
        if (len(hours) - 1 - number) % _NAMED == 0:
            drawn.append(f'<text x="{left + step / 2:.1f}" y="{_HEIGHT + 22}" text-anchor="middle">{hour:%H}:00</text>')
    return "".join((*drawn, "</svg>"))
