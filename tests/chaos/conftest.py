"""Which seeds are run: a set that has each kind of trouble once, or those that CHAOS_SEEDS names."""

import os
import re

from tests.chaos.plan import Kind


def seeds():
    """Read CHAOS_SEEDS, such as `17` or `1-40,99`."""
    chosen = []
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", os.environ.get("CHAOS_SEEDS", f"0-{len(Kind) - 1}")):
        chosen += range(int(first), int(last or first) + 1)
    return chosen


def pytest_generate_tests(metafunc):
    if "chaos_seed" in metafunc.fixturenames:
        metafunc.parametrize("chaos_seed", seeds())
