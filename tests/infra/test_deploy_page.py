"""The numbers on the page about deployment follow from what it says they follow from."""

import json
import re
from math import ceil

import pytest

from optout_core.settings import Settings
from tests.infra.bicep_tree import INFRA, ROOT, read

PAGE = (ROOT / "docs/deploy.md").read_text()
IN_FLIGHT = Settings.model_fields["max_concurrent_requests"].default
LATENCY, PER_MESSAGE = 0.35, 0.005
LEAST_BILLED = 1.0
ROWS = re.findall(r"^\| (\d+) events, (\d+) senders? \| (\d+) \| ([\d.]+) s \| (.+) \|$", PAGE, re.MULTILINE)


def test_the_assumptions_stand_on_the_page():
    assert f"*L* = {LATENCY} s" in PAGE
    assert f"*c* = {PER_MESSAGE * 1000:.0f} ms" in PAGE
    assert len(ROWS) == 4


@pytest.mark.parametrize(("batch", "senders", "calls", "seconds", "rates"), ROWS)
def test_the_capacity_table_is_its_own_arithmetic(batch, senders, calls, seconds, rates):
    expected_calls = int(senders) * ceil(int(batch) / int(senders) / 100)
    expected_seconds = ceil(expected_calls / IN_FLIGHT) * LATENCY + int(batch) * PER_MESSAGE

    assert int(calls) == expected_calls
    assert float(seconds) == pytest.approx(expected_seconds)
    found = [int(rate) for rate in re.findall(r"(\d+)/s", rates)]
    assert found == [round(instances * int(batch) / expected_seconds) for instances in (1, 2, 10, 40)]


def test_the_batch_is_that_of_the_host():
    host = json.loads((ROOT / "host.json").read_text())

    assert f"`maxMessageBatchSize`, {host['extensions']['serviceBus']['maxMessageBatchSize']}" in PAGE


def test_the_price_of_the_function_is_its_own_arithmetic():
    (seconds,) = [float(row[3]) for row in ROWS if row[:2] == ("100", "1")]
    gigabyte_seconds = 1_000_000 / 100 * max(seconds, LEAST_BILLED) * 2

    assert f"{gigabyte_seconds:,.0f} GB-s; " in PAGE
    assert f"$0.000026 | ${gigabyte_seconds * 0.000026:.2f}" in PAGE
    assert f"| ${1_000_000 * LEAST_BILLED * 2 * 0.000026 + 0.40:.2f} |" in PAGE


def test_the_page_counts_the_alert_rules_that_there_are():
    alerts = read(INFRA / "modules/alerts.bicep")
    metric, log = (len(alerts.variable(kind)) for kind in ("metricAlerts", "logAlerts"))

    assert f"{metric} metric rules" in PAGE
    assert f"{log} log rules" in PAGE


def test_every_variable_the_pipeline_reads_is_explained():
    workflow = "".join(path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml"))

    for name in set(re.findall(r"vars\.(\w+)", workflow)):
        assert f"`{name}`" in PAGE, name


def test_every_parameter_that_is_named_exists():
    parameters = read(INFRA / "main.bicep").parameters

    for name in re.findall(r"`(\w+) = [^`]+`", PAGE):
        assert name in parameters, name
