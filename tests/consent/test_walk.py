"""Every order of the steps of two words, with the real processor and the real statements: the newest word stands.

That is half a million states in a minute of processor time. `CONSENT_WALK=full` walks through four million more, in
eight minutes: every kind of failure at once, three instances, three words with a fault. How it walks, and what is taken
together, is said in tests/consent/walk.py.
"""

import os
from itertools import product

import pytest

from tests.consent.walk import Walk
from tests.consent.world import KINDS


def histories(size, *moments):
    """Give all words of all kinds at these moments, but for those that cannot contradict each other or ACS's list."""
    for kinds, times in product(product(KINDS, repeat=size), moments):
        are_texted = any(KINDS[kind][1] for kind in kinds)
        if len({KINDS[kind][0] for kind in kinds}) == 2 or (size == 2 and are_texted):
            yield tuple(zip(kinds, times, strict=True))


TWO = list(histories(2, (1, 2), (1, 1)))
THREE = list(histories(3, (1, 2, 3), (1, 2, 2)))
#: Faults, time-outs and copies.
USUAL = [
    ((1, 1, 0), {}, TWO),
    ((1, 0, 1), {}, TWO),
    ((0, 1, 0), {"answers_first": True}, TWO),
    ((1, 0, 0), {"stops_everywhere": True}, TWO),
    ((0, 0, 0), {}, THREE),
]
FULL = [
    ((1, 1, 1), {}, TWO),
    ((1, 1, 0), {"answers_first": True}, TWO),
    ((1, 1, 0), {"stops_everywhere": True}, TWO),
    ((1, 1, 0), {"slots": 3}, TWO),
    ((1, 0, 0), {}, THREE),
    ((0, 1, 0), {}, THREE),
]
CHOSEN = FULL if os.environ.get("CONSENT_WALK") == "full" else USUAL
WALKS = [(said, budget, how) for budget, how, every in CHOSEN for said in every]


def _name(walk):
    said, budget, how = walk
    return "-".join([*(f"{kind}@{at}" for kind, at in said), "{}f{}t{}c".format(*budget), *map(str, how)])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("walk", WALKS, ids=_name)
def test_in_whatever_order_the_newest_word_stands(walk):
    said, budget, how = walk

    assert Walk(said, budget, **how).explore().wrong is None
