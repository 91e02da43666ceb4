"""Measures several things in turn, so that what disturbs the machine disturbs all of them alike."""

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

#: The work of one round, made ready before the clock starts.
Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that is measured.

    Attributes:
        name: Of the thing.
        units: What one round does, in recipients, messages or whatever is counted.
        prepare: Makes the work of a round ready.
    """

    name: str
    units: int
    prepare: Callable[[], Work]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one unit took in one round.

    Attributes:
        cpu: Microseconds of this process's processor time.
        wall: Microseconds that passed.
    """

    cpu: float
    wall: float


#: The samples of each case, by its name, one for each round.
Samples = Mapping[str, Sequence[Sample]]


async def interleaved(cases: Sequence[Case], rounds: int) -> Samples:
    """Measure every case once a round; a first round, which warms up, is not counted."""
    samples: dict[str, list[Sample]] = {case.name: [] for case in cases}
    for number in range(rounds + 1):
        for case in cases:
            sample = await _once(case)
            if number:
                samples[case.name].append(sample)
    return samples


def cpu(samples: Samples, name: str) -> float:
    """Give the median processor time of a unit in microseconds."""
    return statistics.median(sample.cpu for sample in samples[name])


def wall(samples: Samples, name: str) -> float:
    """Give the median time of a unit in microseconds."""
    return statistics.median(sample.wall for sample in samples[name])


def ratio(samples: Samples, over: str, under: str) -> float:
    """Give the median of the rounds' ratios of processor time: neighbours in time share what disturbs them."""
    return statistics.median(one.cpu / other.cpu for one, other in zip(samples[over], samples[under], strict=True))


def difference(samples: Samples, more: str, less: str) -> float:
    """Give the median of the rounds' differences of processor time, in microseconds."""
    return statistics.median(one.cpu - other.cpu for one, other in zip(samples[more], samples[less], strict=True))


def wall_ratio(samples: Samples, over: str, under: str) -> float:
    """Give the same of the time that passed."""
    return statistics.median(one.wall / other.wall for one, other in zip(samples[over], samples[under], strict=True))


async def _once(case: Case) -> Sample:
    work = case.prepare()
    # What the case before left behind is not this one's.
    gc.collect()
    used, started = time.process_time(), time.perf_counter()
    await work()
    passed, used = time.perf_counter() - started, time.process_time() - used
    return Sample(cpu=used / case.units * 1e6, wall=passed / case.units * 1e6)
