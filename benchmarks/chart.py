"""Bars on a logarithmic scale, as SVG."""

from collections.abc import Mapping
from html import escape
from math import ceil, floor, log10

_LEFT, _BAR, _GAP, _WIDTH, _TOP = 270, 22, 10, 760, 50
_STYLE = "font-family='sans-serif' font-size='13'"


def bars(title: str, values: Mapping[str, float], ours: str) -> str:
    """Draw one bar for each value.

    Args:
        title: With the unit.
        values: By name, each above 0.
        ours: How the names begin whose bars stand out.
    """
    low = floor(log10(min(values.values())))
    high = max(low + 1, ceil(log10(max(values.values()))))
    height = _TOP + len(values) * (_BAR + _GAP) + 30

    def place(value: float) -> float:
        return _LEFT + (log10(value) - low) / (high - low) * (_WIDTH - _LEFT - 70)

    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' role='img' {_STYLE}>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{_WIDTH}' height='{height}' fill='white'/>",
        f"<text x='10' y='24' font-size='15'>{escape(title)}</text>",
    ]
    for power in range(low, high + 1):
        x = place(10**power)
        lines.append(f"<line x1='{x:.0f}' y1='{_TOP - 10}' x2='{x:.0f}' y2='{height - 25}' stroke='#ddd'/>")
        lines.append(
            f"<text x='{x:.0f}' y='{height - 8}' text-anchor='middle' fill='#555'>{_short(10.0**power)}</text>"
        )
    for number, (name, value) in enumerate(values.items()):
        y, end = _TOP + number * (_BAR + _GAP), place(value)
        colour = "#0b6e4f" if name.startswith(ours) else "#9aa5b1"
        lines.append(f"<text x='{_LEFT - 8}' y='{y + 16}' text-anchor='end'>{escape(name)}</text>")
        lines.append(f"<rect x='{_LEFT}' y='{y}' width='{end - _LEFT:.0f}' height='{_BAR}' fill='{colour}'/>")
        lines.append(f"<text x='{end + 6:.0f}' y='{y + 16}'>{_short(value)}</text>")
    return "\n".join([*lines, "</svg>", ""])


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits stand before the point
