"""What only Azure can prove is written down, with the command that proves it and a way out."""

import re

import pytest

from tests.infra.sources import INFRA, ROOT, TEMPLATES

PAGE = (ROOT / "docs/first-deployment.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| assumed ")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:60])
def test_an_assumption_says_how_to_prove_it_and_what_to_do_otherwise(row):
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("| "))]

    assert len(cells) == 3
    assert all(len(cell) > 15 for cell in cells)


@pytest.mark.parametrize(
    "open_question",
    [
        "Communication and Email Service Owner",  # role sufficiency
        "rights on one queue are enough to scale",
        "`maximumInstanceCount` below 40",
        "whole messages arrive, in batches",
        "cannot decode",
        "a released message",
        "always sets a MessageId",
        "is a duplicate",
        "unsettled at once",
        "a deployment stack manages the modules in the group of the ACS resource",
        "Event Grid waits until its right counts",
    ],
)
def test_an_open_question_of_the_reviews_is_on_the_page(open_question):
    assert open_question in PAGE


def test_what_is_named_there_exists():
    parameters = (INFRA / "main.bicep").read_text()
    alerts = "".join(path.read_text() for path in TEMPLATES)

    for name in ("communicationRoleId", "deleteLock", "consentLedger", "maximumInstanceCount", "receiveTexts"):
        assert f"param {name} " in parameters
        assert f"`{name}" in PAGE
    for name in ("listener-errors", "listener-floods", "telemetry-silent", "completed-unseen", "dead-letters-burst"):
        assert f"name: '{name}'" in alerts
        assert f"`{name}`" in PAGE
    for path in re.findall(r"infra/[\w./-]+\.(?:sql|py|bicep|json)", PAGE):
        assert (ROOT / path).exists(), path
