"""What importing the function costs, the part of a cold start that is ours."""

import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ours import app_settings

ROOT = Path(__file__).parent.parent
_CLOCK = "from time import process_time as now; start = now(); import function_app; print(now() - start)"
#: What `python -X importtime` prints of one module: its own microseconds, those with what it imports, and its name.
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)")
_HEAVIEST = 8


@dataclass(frozen=True, slots=True)
class Imports:
    """The cost of `import function_app`.

    Attributes:
        seconds: Of processor time; the median over fresh processes, start of the interpreter excluded.
        modules: How many were imported.
        heaviest: The packages that took longest, in milliseconds: all their modules, what these import not counted.
    """

    seconds: float
    modules: int
    heaviest: tuple[tuple[str, float], ...]


def imports(processes: int) -> Imports:
    """Measure it."""
    seconds = [float(_run("-c", _CLOCK).stdout) for _ in range(processes)]
    bare = {name for _, name in _LINE.findall(_run("-X", "importtime", "-c", "").stderr)}
    cost: Counter[str] = Counter()
    modules = 0
    for own, name in _LINE.findall(_run("-X", "importtime", "-c", "import function_app").stderr):
        if name not in bare:
            modules += 1
            cost[".".join(name.split(".")[: 2 if name.startswith(("azure.", "opentelemetry.")) else 1])] += int(own)
    heaviest = tuple((name, own / 1000) for name, own in cost.most_common(_HEAVIEST))
    return Imports(statistics.median(seconds), modules, heaviest)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # A wrong setting stops the import; none of these leads anywhere.
    environ = os.environ | app_settings("http://127.0.0.1:1")
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)  # noqa: S603 - ours
