"""What an opt-in costs beside the floor stays within bounds so wide that only a fault crosses them: ratios, no times.

The figures themselves, and how near they are to the goals, stand in docs/performance.md.
"""

import pytest

from benchmarks import comparisons
from benchmarks.endpoint import serving
from benchmarks.results import KINDS
from benchmarks.rounds import cpu, ratio, wall_ratio
from benchmarks.scale import TINY


@pytest.fixture
async def subjects():
    with serving() as urls:
        async with comparisons.connected(urls) as connected:
            yield connected


async def test_processor_time_stays_near_the_floor_whatever_becomes_of_the_recipients(subjects):
    samples = await comparisons.processor_time(subjects, TINY)

    assert ratio(samples, "single at 0 ms", "floor at 0 ms") < 100
    assert ratio(samples, "hundred at 0 ms", "floor at 0 ms") < 40
    for kind in KINDS:
        for ending in ("failing", "rejecting"):
            assert ratio(samples, f"{kind} at {ending}", f"{kind} at 0 ms") < 10


async def test_ours_is_many_times_faster_than_a_request_for_each_message(subjects):
    samples = await comparisons.wall_time(subjects, TINY)

    assert wall_ratio(samples, "sample", "ours") > 20
    assert wall_ratio(samples, "shared", "ours") > 4


async def test_the_way_in_costs_no_more_than_the_rest_and_does_not_grow_with_the_batch(subjects):
    samples = await comparisons.way_in(subjects, TINY)

    assert ratio(samples, "whole of 1000", "core of 1000") < 5
    assert cpu(samples, "whole of 1000") < 3 * cpu(samples, "whole of 100")
