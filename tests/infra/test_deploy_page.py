"""The numbers on the page about deployment follow from what it says they follow from."""

import re

from tests.infra.snapshots import deployment, read
from tests.infra.sources import ROOT

PAGE = (ROOT / "docs/deploy.md").read_text()
CAPACITY = (ROOT / "docs/capacity.md").read_text()
LEAST_BILLED = 1.0


def test_the_price_of_the_function_is_its_own_arithmetic():
    (seconds,) = map(float, re.findall(r"^\| 100 events of 1, 1 sender \| 1 \| ([\d.]+) s \|", CAPACITY, re.MULTILINE))
    gigabyte_seconds = 1_000_000 / 100 * max(seconds, LEAST_BILLED) * 2

    assert f"{gigabyte_seconds:,.0f} GB-s; " in PAGE
    assert f"$0.000026 | ${gigabyte_seconds * 0.000026:.2f}" in PAGE
    assert f"| ${1_000_000 * LEAST_BILLED * 2 * 0.000026 + 0.40:.2f} |" in PAGE


def test_the_page_counts_the_alert_rules_that_there_are():
    alerts = deployment("everything")
    metric, log = (
        len(alerts.of_type(f"Microsoft.Insights/{kind}")) for kind in ("metricAlerts", "scheduledQueryRules")
    )

    assert f"{metric} metric rules" in PAGE
    assert f"{log} log rules" in PAGE


def test_every_variable_the_pipeline_reads_is_explained():
    workflow = "".join(path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml"))

    for name in set(re.findall(r"vars\.(\w+)", workflow)):
        assert f"`{name}`" in PAGE, name


def test_every_parameter_that_is_named_exists():
    parameters = read("template")["parameters"]

    for name in re.findall(r"`(\w+) = [^`]+`", PAGE):
        assert name in parameters, name
