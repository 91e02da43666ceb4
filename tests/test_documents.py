"""What the documents say is what the code does: settings, samples, properties, metrics, links, locks."""

import json
import os
import re
import sys
import tomllib
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from subprocess import run

import pytest
from packaging.requirements import Requirement

from optout_core import properties
from optout_core.arrivals import Arrival
from optout_core.events import OptIn, decode
from optout_core.numbers import read_number
from optout_core.reasons import Reason
from optout_core.reports import ConsentEffect
from optout_core.settings import Settings
from tests.core.test_mistakes import BODIES

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "samples" / "README.md"]
PAGES += sorted((ROOT / "examples").glob("*.md"))
SETTINGS = {field.alias: field for field in Settings.model_fields.values()}
#: What the Functions host itself reads on a developer's machine.
HOST_SETTINGS = {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage", "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY"}


def tracked_files() -> list[str]:
    listing = run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607 - git is git
    return listing.stdout.splitlines()


def settings_of_readme() -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    return {name: (default, meaning) for name, default, meaning in rows}


def sample_settings() -> dict[str, dict[str, str]]:
    sample: dict[str, dict[str, str]] = json.loads((ROOT / "local.settings.sample.json").read_text())
    return sample


def test_the_readme_has_every_setting_with_its_meaning_and_no_other():
    assert {name: meaning for name, (_, meaning) in settings_of_readme().items()} == {
        name: field.description for name, field in SETTINGS.items()
    }


def test_the_defaults_of_the_readme_are_the_defaults_of_the_code():
    needed = {
        "ACS_ENDPOINT": "https://contoso.communication.azure.com",
        "ServiceBusConnection": "Endpoint=sb://x;SharedAccessKeyName=n;SharedAccessKey=k",
    }
    written = {
        name: default.strip("`") for name, (default, _) in settings_of_readme().items() if default.startswith("`")
    }

    assert Settings.from_environ(needed | written) == Settings.from_environ(needed)
    assert {name for name, (default, _) in settings_of_readme().items() if default == "required"} == {
        name for name, field in SETTINGS.items() if field.is_required()
    }


def test_the_sample_settings_have_every_setting_documented_and_are_valid():
    sample = sample_settings()

    assert set(sample["Values"]) == set(SETTINGS) | HOST_SETTINGS
    assert sample["About"] == {name: field.description for name, field in SETTINGS.items()}
    assert Settings.from_environ(sample["Values"]).acs_endpoint == "https://NAME.communication.azure.com"


def test_the_event_of_the_contract_page_is_one_that_we_accept():
    (example,) = re.findall(r"```json\n(.+?)```", (ROOT / "docs" / "events.md").read_text(), re.DOTALL)
    (event,) = decode(Arrival(body=example.encode(), enqueued_at=datetime(2026, 1, 24, tzinfo=UTC)))

    assert isinstance(event, OptIn)
    assert event.recipients == (read_number("+15555555551"),)


def test_what_the_readme_tells_to_paste_publishes_an_opt_in_that_is_removed(tmp_path):
    section = (ROOT / "README.md").read_text().partition("## Publish\n")[2]
    (pasted,) = re.findall(r"```sh\n(.+?)```", section.partition("\n## ")[0], re.DOTALL)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}

    ran = run(["sh", "-euc", pasted], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)  # noqa: S607 - whichever shell one has

    assert ran.returncode == 0, ran.stderr
    assert "1 recipient: 1 removed" in ran.stdout


def test_the_contract_page_names_every_property_we_send():
    names = {value for name, value in vars(properties).items() if name.isupper() and isinstance(value, str)}
    text = (ROOT / "docs" / "events.md").read_text()

    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_text_that_the_contract_page_quotes_of_a_dead_letter_is_one_that_a_mistake_brings():
    section = (ROOT / "docs" / "events.md").read_text().partition("## What goes wrong\n")[2].partition("\n## ")[0]
    columns = [row.split(" | ")[1] for row in re.findall(r"^\| .+ \|$", section, re.MULTILINE)]
    quoted = [quote for column in columns for quote in re.findall(r"(?:`` (.+?)``|(?<!`)`([^`]+)`)", column)]
    texts = [(double or single).removeprefix("…").strip() for double, single in quoted]
    said = [
        *(said for _, said in BODIES.values()),
        "a request beside a subject may be half an event, and that an opt-out",
    ]

    codes = {"data", "data_base64", "time", "UnsupportedEvent"}
    assert len(texts) >= 20
    assert [text for text in texts if text not in codes and not any(text in each for each in said)] == []


def test_the_metrics_page_names_every_instrument_and_no_other():
    source = (ROOT / "optout_core" / "adapters" / "telemetry.py").read_text()
    page = (ROOT / "docs" / "metrics.md").read_text()

    effects = {f"optout.consent.{effect.value}" for effect in ConsentEffect}
    assert set(re.findall(r'create_\w+\(\s*"([\w.]+)"', source)) | effects == set(
        re.findall(r"^\| `([\w.]+)` \|", page, re.MULTILINE)
    )


def test_the_runbook_has_a_section_for_every_reason():
    headings = re.findall(r"^#+ (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)

    assert [reason for reason in Reason if reason.value not in headings] == []


def test_the_samples_readme_names_every_sample():
    named = set(re.findall(r"`([\w.-]+\.json)`", (ROOT / "samples" / "README.md").read_text()))

    assert named == {path.name for path in (ROOT / "samples").rglob("*.json")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_locked_requirements_satisfy_what_the_project_declares():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    of_the_function = project["optional-dependencies"]["function"]
    extras = [Requirement(line) for lines in project["optional-dependencies"].values() for line in lines]
    for file, declared in (
        ("requirements.txt", [Requirement(line) for line in project["dependencies"] + of_the_function]),
        ("requirements-dev.txt", [Requirement(line) for line in project["dependencies"]] + extras),
    ):
        pins = [Requirement(line) for line in (ROOT / file).read_text().splitlines() if line[:1].isalpha()]
        versions = {(pin.name, str(pin.specifier).removeprefix("==")) for pin in pins}

        assert [need for need in declared if not any(n == need.name and v in need.specifier for n, v in versions)] == []
        assert all(str(pin.specifier).startswith("==") for pin in pins)


def test_the_package_that_is_deployed_holds_the_function_and_nothing_else():
    patterns = [line.rstrip("/") for line in (ROOT / ".funcignore").read_text().splitlines() if line]
    deployed = {
        path.split("/")[0]
        for path in tracked_files()
        if not any(fnmatch(path.split("/")[0], pattern) or fnmatch(path, pattern) for pattern in patterns)
    }

    assert deployed == {"function_app.py", "host.json", "optout_core", "requirements.txt"}
