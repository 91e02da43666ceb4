"""Measure what importing the function costs, the part of a cold start that is ours.

    python -m benchmarks.imports [PROCESSES]

Prints the median time of `import function_app` over fresh processes, start of the interpreter excluded, then the
packages that took longest: all their modules together, what they import in turn not counted.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: A wrong setting stops the import; none of these leads anywhere.
SETTINGS = {
    "ACS_ENDPOINT": "http://127.0.0.1:1",
    "ACS_ACCESS_KEY": "pw==",
    "ServiceBusConnection": "Endpoint=sb://n;SharedAccessKeyName=n;SharedAccessKey=k",
}
CLOCK = "from time import perf_counter as now; start = now(); import function_app; print(now() - start)"

#: What `python -X importtime` prints of one module: its own microseconds, those with what it imports, and its name.
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)")
_HEAVIEST = 12


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a fresh process."""
    command, environ = [sys.executable, *arguments], os.environ | SETTINGS
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)  # noqa: S603 - ours


def main(processes: int) -> None:
    """Print the times."""
    seconds = [float(run("-c", CLOCK).stdout) for _ in range(processes)]
    print(f"import function_app: median {statistics.median(seconds) * 1000:.0f} ms, best {min(seconds) * 1000:.0f} ms")

    bare = {name for _, name in _LINE.findall(run("-X", "importtime", "-c", "").stderr)}
    cost: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    for own, name in _LINE.findall(run("-X", "importtime", "-c", "import function_app").stderr):
        if name not in bare:
            package = ".".join(name.split(".")[: 2 if name.startswith(("azure.", "opentelemetry.")) else 1])
            cost[package] += int(own)
            modules[package] += 1
    print(f"{sum(modules.values())} modules; heaviest packages:")
    for package, own in cost.most_common(_HEAVIEST):
        print(f"  {package:<28} {own / 1000:>6.1f} ms {modules[package]:>5} modules")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
