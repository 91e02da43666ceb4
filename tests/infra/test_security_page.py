"""Each line of the threat model names the test that holds it, or says that nobody does."""

import re

import pytest

from tests.infra.sources import ROOT

PAGE = (ROOT / "docs/security.md").read_text()
ROWS = [
    line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| who | ", "| who keeps"))
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:50])
def test_a_threat_has_a_test_that_exists(row):
    held_by = row.rstrip(" |").rpartition("| ")[2]
    named = re.fullmatch(r"`((?:ops/)?\w+\.py)::(\w+)`", held_by)

    if named is None:
        assert held_by == "nobody"
        return
    folder = ROOT / "tests" if "/" in named[1] else ROOT / "tests/infra"
    assert f"def {named[2]}(" in (folder / named[1]).read_text()


def test_everybody_who_may_publish_replay_read_or_deploy_is_looked_at():
    assert re.findall(r"^## (.+)$", PAGE, re.MULTILINE) == [
        "Who can publish",
        "Who can replay",
        "Who can read",
        "Who did read",
        "How long numbers are kept",
        "Who can deploy",
    ]
    assert len(ROWS) > 30
