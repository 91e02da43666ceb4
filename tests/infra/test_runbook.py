"""The runbook has a section for whatever can wake somebody up, and its advice is the code's."""

import re

import pytest

from optout_core.reasons import Reason
from tests.infra.snapshots import deployment
from tests.infra.sources import ROOT

RUNBOOK = (ROOT / "docs/runbook.md").read_text()
DEPLOY = (ROOT / "docs/deploy.md").read_text()
METRICS = (ROOT / "docs/metrics.md").read_text()
SECURITY = (ROOT / "docs/security.md").read_text()
EVENTS = (ROOT / "docs/events.md").read_text()
ALERTS = {
    alert["name"].partition("-everything-")[0]
    for kind in ("Microsoft.Insights/metricAlerts", "Microsoft.Insights/scheduledQueryRules")
    for alert in deployment("everything").of_type(kind)
}
#: The commands of the operators' tool that the runbook may name.
COMMANDS = {
    *("check", "doctor", "dlq edit", "dlq export", "dlq import", "dlq list", "dlq plan", "dlq purge", "dlq replay"),
    "dlq show",
    *("dlq status", "dlq summary"),
    *("consent migrate", "consent show", "consent verify"),
    *("find", "replays", "report", "send", "status"),
}
OPTIONS = {"--ending", "--reveal"} | {
    "--fixed",
    "--from",
    "--limit",
    "--number",
    "--output",
    "--properties",
    "--reason",
    "--since",
    "--until",
}


def _sections(page: str) -> dict[str, str]:
    parts = re.split(r"^#{2,3} (.+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


SECTIONS = _sections(RUNBOOK)


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_a_reason_has_a_section_with_the_advice_of_the_code(reason: Reason):
    section = SECTIONS[reason.value]

    assert re.search(rf"\*\*Replay: {reason.replay.value}[.*,]", section)
    assert "```sh\n" in section


def test_there_is_no_section_for_a_reason_that_does_not_exist():
    assert set(SECTIONS) == {reason.value for reason in Reason} | ALERTS | {"Alerts", "Reasons"}


def test_what_must_never_be_replayed_has_no_command_that_replays_it():
    for reason in Reason:
        if reason.replay == "never":
            assert "dlq replay" not in SECTIONS[reason.value]
            assert "dlq plan" not in SECTIONS[reason.value]


def test_every_command_is_one_the_tool_has():
    commands = re.findall(r"(?:^|`)optout ((?:dlq |consent )?\w+)([^`\n]*)", RUNBOOK, re.MULTILINE)

    assert {command for command, _ in commands} <= COMMANDS
    assert {option for _, rest in commands for option in re.findall(r"--[a-z-]+", rest)} <= OPTIONS


def test_a_command_about_a_reason_names_that_reason():
    for reason in Reason:
        named = re.findall(r"--reason (\w+)", SECTIONS[reason.value])

        assert set(named) <= {reason.value}


@pytest.mark.parametrize("page", [RUNBOOK, DEPLOY], ids=["runbook.md", "deploy.md"])
def test_every_link_leads_somewhere(page: str):
    anchors = {
        name: {
            re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        }
        for name, text in {
            "runbook.md": RUNBOOK,
            "deploy.md": DEPLOY,
            "events.md": EVENTS,
            "security.md": SECURITY,
            "metrics.md": METRICS,
            "": page,
        }.items()
    }

    for target in re.findall(r"\]\(([^)]+)\)", page):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        assert path in anchors or (ROOT / "docs" / path).exists(), target
        assert not anchor or anchor in anchors[path], target
