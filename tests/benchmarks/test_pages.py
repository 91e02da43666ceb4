"""The pages that `make bench` writes say what was measured, and what follows from it by their own arithmetic."""

import json
import xml.etree.ElementTree as ET

import pytest

from benchmarks import capacity, chart, page
from benchmarks.capacity import Model
from benchmarks.growth import Growth
from benchmarks.imports import Imports
from benchmarks.ledger import LedgerCost
from benchmarks.results import Results, goals
from benchmarks.rounds import Sample, Samples, ratio
from benchmarks.scale import ORDINARY
from tests.infra.sources import ROOT

MODEL = Model(message=100e-6, many=1e-3)


class Everything(dict):
    """Samples that have every case, each at one cost."""

    def __missing__(self, name):
        return [Sample(cpu=100.0 if "whole" in name else 50.0, wall=1000.0)] * 3


@pytest.fixture
def results():
    same: Samples = Everything()
    stages = {size: {"plan": 1.0, "request": 2.0} for size in (1, 100)}
    return Results(
        scale=ORDINARY,
        cpu=same,
        wall=same,
        way_in=same,
        stages=stages,
        growth=[Growth(recipients, 10.0, 5.0, 20.0) for recipients in (1_000, 10_000, 100_000)],
        large=Growth(180_000, 10.0, 5.0, 20.0),
        imports=Imports(0.25, 400, (("pydantic", 50.0),)),
        hosted={100: 3500.0, 1000: 2999.0},
        ledgers=[LedgerCost(database="PostgreSQL", recipients=10_000, admit=100.0, record=150.0, cpu=14.0)],
    )


def test_the_page_says_of_each_goal_whether_it_is_met(results, tmp_path):
    page.write(results, tmp_path / "performance.md")
    text = (tmp_path / "performance.md").read_text()
    rows = [line for line in text.splitlines() if line.endswith(("| yes |", "| **no** |"))]

    assert [row.endswith("| yes |") for row in rows] == [goal.is_met for goal in goals(results)]
    assert {"yes", "**no**"} == {row.split("|")[-2].strip() for row in rows}
    assert "| import of `function_app`, processor time | 0.25 s | ≤ 0.3 s | yes |" in rows
    assert (
        "| host, function and broker in the sandbox, batches of 100 | 3,500 events/s | ≥ 3,000 events/s | yes |" in rows
    )
    assert "![Processor time of a recipient](performance.svg)" in text
    assert ET.parse(tmp_path / "performance.svg").getroot().tag.endswith("svg")  # noqa: S314 - we wrote it


def test_memory_that_the_system_does_not_tell_is_no_goal_and_no_figure(results, tmp_path):
    growth = [Growth(1_000, 10.0, 5.0, None), Growth(10_000, 10.0, 5.0, None)]
    untold = Results(**{name: getattr(results, name) for name in results.__slots__} | {"growth": growth})
    page.write(untold, tmp_path / "performance.md")

    assert not [goal for goal in goals(untold) if goal.unit == "MB"]
    assert "| 10,000 | 10.0 | not measured | 5 ms |" in (tmp_path / "performance.md").read_text()


def test_the_bar_of_more_is_longer_and_no_bar_leaves_the_picture():
    drawing = ET.fromstring(chart.bars("µs & more", {"floor": 3.4, "ours": 79.0, "sample": 41_000.0}, "ours"))  # noqa: S314 - ours
    bars = list(drawing.iter("{http://www.w3.org/2000/svg}rect"))[1:]
    widths = [float(bar.get("width", "0")) for bar in bars]

    assert widths == sorted(widths)
    assert widths[0] > 0
    assert all(float(bar.get("x", "0")) + width < 700 for bar, width in zip(bars, widths, strict=True))


def test_a_ratio_compares_neighbours_in_time():
    disturbed = {
        "over": [Sample(20, 1), Sample(200, 1), Sample(30, 1)],
        "under": [Sample(10, 1), Sample(100, 1), Sample(10, 1)],
    }

    assert ratio(disturbed, "over", "under") == 2


@pytest.mark.parametrize(
    ("batch", "recipients", "senders", "waits"),
    [(10, 1, 1, 1), (100, 1, 1, 1), (100, 1, 100, 7), (1000, 1, 1, 1), (100, 100, 1, 8), (40, 100, 1, 3)],
)
def test_an_invocation_waits_once_for_each_round_of_calls_of_each_slice(batch, recipients, senders, waits):
    beside = MODEL.seconds(batch, recipients, senders) - waits * capacity.LATENCY

    assert beside == pytest.approx(capacity.AROUND + batch * MODEL.cost(recipients))


@pytest.mark.parametrize("events", [1, 10, 500, 1_000, 100_000])
def test_the_instances_keep_up_and_one_less_would_not(events):
    instances = MODEL.instances(events, 100)

    assert instances * MODEL.rate(100) >= events
    assert (instances - 1) * MODEL.rate(100) < events


def test_the_batch_is_bounded_by_memory_where_messages_are_light_and_by_the_loop_where_they_are_heavy():
    assert capacity.batch_size(conversion=10) == 300
    assert capacity.batch_size(conversion=200) == 200
    assert capacity.batch_size(conversion=10_000) == 100


def test_the_capacity_page_is_about_the_batch_the_price_and_the_memory_that_are_deployed(results, tmp_path):
    capacity.write(results, tmp_path / "capacity.md")
    host = json.loads((ROOT / "host.json").read_text())["extensions"]["serviceBus"]["maxMessageBatchSize"]
    deploy = (ROOT / "docs/deploy.md").read_text()

    for text in ((tmp_path / "capacity.md").read_text(), (ROOT / "docs/capacity.md").read_text()):
        assert f"(`maxMessageBatchSize`, {host})" in " ".join(text.split())
    assert f"${capacity.GB_SECOND:f} a GB-second and ${capacity.EXECUTION * 1e6:.2f} a million executions" in deploy
    assert f"instanceMemoryMB int = {capacity.MEMORY * 1024}" in (ROOT / "infra/main.bicep").read_text()
