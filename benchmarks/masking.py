"""What it costs to read and to show text that was made to cost much: ten times the text must cost ten times as much.

python -m benchmarks masking
"""

from collections.abc import Callable
from time import perf_counter

from optout_core.keywords import Keywords
from optout_core.masking import mask_body, show
from optout_core.numbers import read_number

#: Repeated, each leads the patterns far before it disappoints them.
TEXTS = {
    "digits": "1",
    "digits and blanks": "1 ",
    "digits and invisible marks": "1\u200b",
    "six digits, never seven": "123456a",
    "a digit, then 1,000 invisible marks": "1" + "\u200b" * 1000,
    "brackets": "(",
    "percent-encoded blanks": "%20",
    "base64": "A",
    "base64, often": "AAAAAAAAAAAAA(",
    "almost a date": "2026-01-2",
    "almost an address": "1.2.3.",
    "almost a UUID": "12345678-1234-1234-1234-",
    "hexadecimal": "0123456789abcdef",
    "JSON escapes": "\\u0031",
}
SIZES = (20_000, 200_000)
WAYS: dict[str, Callable[[str], object]] = {
    "show": show,
    "mask_body": lambda text: mask_body(text.encode()),
    "read_number": read_number,
    "mean_stop": Keywords().mean_stop,
}


def milliseconds(way: Callable[[str], object], text: str) -> float:
    """Measure one call, the best of three."""

    def once() -> float:
        start = perf_counter()
        way(text)
        return (perf_counter() - start) * 1000

    return min(once() for _ in range(3))


def main() -> None:
    """Measure texts that were made to be slow to mask."""
    print(f"{'':<38}{'characters':>10}", *(f"{name:>12}" for name in WAYS))
    for name, part in TEXTS.items():
        for size in SIZES:
            text = (part * (size // len(part) + 1))[:size]
            print(f"{name:<38}{size:>10,}", *(f"{milliseconds(way, text):>12.1f}" for way in WAYS.values()))
