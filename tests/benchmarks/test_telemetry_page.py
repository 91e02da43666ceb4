"""The section that `python -m benchmarks telemetry` writes says what was measured, and what follows from it."""

import re

import pytest

from benchmarks import telemetry
from benchmarks.capacity import Model
from benchmarks.telemetry import SHAPES, TRAFFIC, Cost, day
from optout_core.adapters import telemetry as ours
from tests.infra.sources import ROOT

_, _, SECTION = (ROOT / "docs/metrics.md").read_text().partition(telemetry.HEADING)


def _measured() -> Cost:
    """Give the figures that stand on the page."""
    rows = {
        what: float(size.replace(",", ""))
        for what, size in re.findall(r"^\| (.+) \| ([\d,]+) \|$", SECTION, re.MULTILINE)
    }
    (collection,) = re.findall(r"export metrics once takes ([\d.,]+)\s+ms", SECTION)
    return Cost(
        line=rows["the line of an invocation"],
        dead=rows["the line of an event with a dead letter"],
        spans={name: rows[f"spans of an invocation, on average: {name}"] for name in SHAPES},
        metrics=rows["all metrics of a process, once a minute"],
        collection=float(collection.replace(",", "")),
    )


def _model() -> Model:
    (found,) = re.findall(r"\(of ([\d,.]+)\s+µs\s+and\s+([\d,.]+)\s+µs\s+a\s+message\)", SECTION)
    message, many = (float(each.replace(",", "")) / 1e6 for each in found)
    return Model(message=message, many=many)


def test_the_page_reckons_as_it_says():
    _, _, rest = SECTION.partition("\n\n")  # where and when it was measured
    written = "\n".join(telemetry.lines_of(_measured(), _model()))
    _, _, expected = written.partition("\n\n")

    assert rest.partition("\n\n")[2].split() == expected.partition("\n\n")[2].split()


@pytest.mark.parametrize("traffic", TRAFFIC, ids=lambda traffic: traffic.name)
def test_telemetry_costs_a_fifth_of_the_function_at_most(traffic):
    assert day(traffic, _measured(), _model()).share <= telemetry.GOAL


def test_collecting_at_the_end_of_each_invocation_would_take_longer_than_a_millisecond():
    assert _measured().collection > 1


def test_what_waits_in_lines_is_limited_as_the_page_says():
    assert (telemetry.BURST, 60 / telemetry.LINES_A_MINUTE) == (ours._LINES, ours._LINE_SECONDS)


def test_a_day_grows_with_what_is_sent_and_with_how_often():
    model = Model(message=100e-6, many=1e-3)
    small = Cost(line=1000, dead=1000, spans=dict.fromkeys(SHAPES, 1000.0), metrics=0)
    large = Cost(line=2000, dead=1000, spans=dict.fromkeys(SHAPES, 2000.0), metrics=0)
    once, often = TRAFFIC[2], TRAFFIC[6]

    assert day(once, large, model).gigabytes > day(once, small, model).gigabytes
    assert day(often, small, model).gigabytes == pytest.approx(100 * day(once, small, model).gigabytes)
    # 10 invocations a second, of 3,100 bytes each.
    assert day(once, small, model).gigabytes == pytest.approx(10 * 3100 * 86_400 / 1e9)
