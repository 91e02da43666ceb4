"""What the project needs to be picked up says the same everywhere: licence, versions, targets, hooks, updates."""

import re
import tomllib
from subprocess import run

import pytest
import yaml

from optout_core import __version__
from tests.test_citations import ROOT, tracked

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()


def recipe(target: str) -> str:
    """Give the commands of a target."""
    (found,) = re.findall(rf"^{target}:.*\n((?:\t.*\n?)*)", MAKEFILE, re.MULTILINE)
    return found


def test_the_licence_is_the_one_that_the_package_names():
    assert PROJECT["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


def test_the_changelog_tells_of_what_comes_and_of_the_version_that_is():
    versions = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d{2}-\d{2})?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert versions[:2] == ["Unreleased", __version__]


def test_telemetry_on_azure_names_the_version_that_is_deployed():
    assert f"service.version={__version__}" in (ROOT / "infra/modules/function.bicep").read_text()


def test_make_help_names_every_target():
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    shown = run(["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607 - make is make

    assert [line.split()[0] for line in shown.splitlines()] == phony.split()
    assert all(len(line.split()) > 1 for line in shown.splitlines())


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_every_target_that_a_page_names_can_be_made(path):
    for target in set(re.findall(r"(?:^|`)make ([\w-]+)", path.read_text(), re.MULTILINE)):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_the_hooks_run_what_make_lint_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    hooked = {hook["entry"].removesuffix(" --force-exclude").removeprefix(".venv/bin/") for hook in hooks}

    assert hooked == set(re.findall(r"^\t\$\(BIN\)/(.+)$", recipe("lint"), re.MULTILINE))


@pytest.mark.xdist_group("kept-together")
def test_the_tests_of_a_group_run_on_one_worker(request):
    # pytest-xdist writes the group behind the name; a version that cannot spreads the group, and says nothing.
    is_grouped = getattr(request.config.option, "loadgroup", False)

    assert request.node.nodeid.endswith("@kept-together") == is_grouped


def test_every_folder_with_pins_is_kept_up_to_date():
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    folders = {("github-actions", "/")} | {
        (kind, f"/{path.parent.relative_to(ROOT).as_posix()}".removesuffix("."))
        for pattern, kind in {"requirements*.txt": "pip", "package-lock.json": "npm", "*.csproj": "nuget"}.items()
        for path in tracked(f":(glob)**/{pattern}")
    }

    assert {(update["package-ecosystem"], update["directory"]) for update in updates} == folders
