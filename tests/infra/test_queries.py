"""Every query that is deployed or written down is one that Kusto's own parser takes."""

import json
import re
import runpy
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.foreign.conftest import install, node
from tests.infra.snapshots import deployment
from tests.infra.sources import INFRA, ROOT

__all__ = ["install", "node"]  # fixtures

SUITE = Path(__file__).with_name("kusto")
#: What a page leaves for the reader to fill in.
PLACEHOLDERS = {"since": "2026-01-23T10:00:00Z", "trace": "0" * 32, "event": "smoke-a"}

Parse = Callable[[Mapping[str, str]], dict[str, list[str]]]


@pytest.fixture(scope="module")
def parse(node: str, install: Callable[[Path], None]) -> Parse:
    """Give what asks Kusto's parser about queries by their names."""
    install(SUITE)

    def ask(queries: Mapping[str, str]) -> dict[str, list[str]]:
        command = [node, "check.js"]
        ran = subprocess.run(command, cwd=SUITE, input=json.dumps(queries), capture_output=True, text=True, check=True)
        answers: dict[str, list[str]] = json.loads(ran.stdout)
        return answers

    return ask


def _of_alerts(name: str) -> dict[str, str]:
    rules = deployment(name).of_type("Microsoft.Insights/scheduledQueryRules")
    return {rule["name"]: rule["properties"]["criteria"]["allOf"][0]["query"] for rule in rules}


def _of_the_workbook() -> dict[str, str]:
    items = deployment("everything").only("Microsoft.Insights/workbooks")["properties"]["serializedData"]["items"]
    # A parameter of the page is filled in before the query is sent.
    return {
        f"workbook: {item['name']}": re.sub(r"\{\w+(:\w+)?\}", "1h", item["content"]["query"])
        for item in items
        if item["type"] == 3
    }


def _of_pages() -> dict[str, str]:
    queries = {}
    for name in ("runbook", "first-deployment", "security"):
        page = (ROOT / f"docs/{name}.md").read_text()
        found = re.findall(r"--analytics-query[\s\\]+\"([^\"]+)\"", page)
        found += [
            each.replace("\\|", "|") for each in re.findall(r"`((?:traces|AzureMetrics|AZMS\w+|ACS\w+) .+?)`", page)
        ]
        queries |= {f"{name} {number}": query for number, query in enumerate(found)}
    return queries


SMOKE = runpy.run_path(str(INFRA / "smoke.py"))["QUERY"].format(**PLACEHOLDERS)
QUERIES = {**_of_alerts("everything"), **_of_alerts("required"), **_of_the_workbook(), **_of_pages(), "smoke": SMOKE}


def test_every_query_is_looked_at():
    assert len(_of_alerts("everything")) == len(_of_alerts("required")) == 15
    assert len(_of_the_workbook()) == 12
    assert len(_of_pages()) >= 6


@pytest.mark.once
@pytest.mark.timeout(300)
def test_kustos_own_parser_takes_every_query(parse):
    assert {name: said for name, said in parse(QUERIES).items() if said} == {}


BROKEN = {
    "an operator": "customMetrics | projekt timestamp",
    "a function": "traces | summarize count() by binn(timestamp, 5m)",
    "a column": "traces | where nosuch == 1",
    "a table": "customMetric | count",
    "a comma": "traces | project timestamp message",
    "a keyword as a name": "customMetrics | summarize sum(valueSum) by bin(timestamp, 5m), kind = strcat(name, name)",
    "a bracket": "traces | where (message has 'a'",
    "a quote": "traces | where message has 'a",
    "a unit": "traces | where timestamp > ago(1x)",
}


@pytest.mark.once
@pytest.mark.timeout(300)
def test_a_broken_query_is_refused(parse):
    answers = parse(BROKEN)

    assert [name for name in BROKEN if not answers[name]] == []
