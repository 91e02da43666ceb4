"""The numbers on the page about deployment follow from what it says they follow from."""

import re

from optout_core.settings import Settings
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

    series = sum(
        len(condition["dimensions"][0]["values"]) if condition.get("dimensions") else 1
        for alert in alerts.of_type("Microsoft.Insights/metricAlerts")
        for condition in alert["properties"]["criteria"]["allOf"]
    )

    assert f"{metric} metric rules, {series} time series" in PAGE
    assert f"{log} log rules" in PAGE


def test_every_variable_the_pipeline_reads_is_explained():
    workflow = "".join(path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml"))

    for name in set(re.findall(r"vars\.(\w+)", workflow)):
        assert f"`{name}`" in PAGE, name


def test_every_parameter_that_is_named_exists():
    parameters = read("template")["parameters"]

    for name in re.findall(r"`(\w+) = [^`]+`", PAGE):
        assert name in parameters, name


BYTES_OF_AN_EVENT = 485  # what the sandbox's broker counts for an event of one recipient


def test_the_hours_of_an_outage_follow_from_size_rate_and_age():
    (age,) = [Settings.model_fields["opt_in_max_age"].default.total_seconds() / 3600]
    section = PAGE.partition("## How long an outage may last")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\d,]+) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)

    assert len(rows) == 5
    for rate, standard, premium in rows:
        for shown, megabytes in ((standard, 5120), (premium, 81920)):
            hours = min(age, megabytes * 2**20 / BYTES_OF_AN_EVENT / int(rate.replace(",", "")) / 3600)
            expected = f"{hours:.0f} h" if hours >= 10 else f"{hours:.1f} h"
            assert shown in {expected, "\N{EN DASH}"}, (rate, megabytes)
    assert f"({age:.0f} h)" in section


def test_the_instances_of_a_region_that_refuses_few_make_as_many_calls():
    prod, concurrency = read("prod"), Settings.model_fields["max_concurrent_requests"].default
    calls = prod["maximumInstanceCount"] * concurrency

    assert f"40 instances \N{MULTIPLICATION SIGN} {calls // 40} are the {calls} calls of" in " ".join(PAGE.split())
