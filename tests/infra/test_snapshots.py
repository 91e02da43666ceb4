"""The snapshots are those of the templates, and the compiler has nothing to say about any file."""

import os
import re

import pytest

from tests.infra import compiler as bicep
from tests.infra import snapshots
from tests.infra.sources import INFRA, PARAMETER_FILES, ROOT, TEMPLATES


def test_the_snapshots_are_of_these_sources():
    committed, now = snapshots.read("sources"), snapshots.sources()

    changed = sorted(name for name in committed | now if committed.get(name) != now.get(name))
    assert changed == [], "run `make snapshots`, look at the difference, and commit it"


def test_the_snapshots_are_what_the_compiler_evaluates(compiler):
    for name, content in snapshots.make(compiler).items():
        assert (snapshots.FOLDER / f"{name}.json").read_text() == snapshots.written(content), name


def test_every_file_the_compiler_reads_has_its_hash(compiler):
    read = {str(path.relative_to(ROOT)) for path in compiler.references(INFRA / "main.bicep")}

    assert read <= set(snapshots.read("sources"))


@pytest.mark.parametrize("path", [*TEMPLATES, *PARAMETER_FILES], ids=lambda path: path.name)
def test_the_compiler_and_its_linter_are_silent(path, compiler):
    assert compiler.diagnostics(path) == []


@pytest.mark.parametrize("path", [*TEMPLATES, *PARAMETER_FILES], ids=lambda path: path.name)
def test_a_file_is_formatted(path, compiler):
    assert compiler.formatted(path).rstrip("\n") == path.read_text().rstrip("\n")


def test_the_pipelines_use_the_compiler_of_the_tests(compiler_program):
    (said,) = re.findall(r"version (\d+\.\d+\.\d+)", bicep.version(compiler_program))
    workflows = "".join(path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml"))

    assert set(re.findall(r"az bicep install --version v(\S+)", workflows)) == {said}


def test_a_compiler_that_is_named_and_not_there_is_an_error_and_no_skip(monkeypatch):
    monkeypatch.setenv("BICEP", "/nowhere/bicep")

    with pytest.raises(FileNotFoundError, match="/nowhere/bicep"):
        bicep.find()


def test_without_a_compiler_the_reason_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.delenv("BICEP", raising=False)
    monkeypatch.setattr(bicep, "ROOT", tmp_path / "a" / "b")
    monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path), "PATH": ""})

    assert bicep.find() == (None, "no Bicep compiler: set BICEP, or run `az bicep install`")


def test_nothing_of_the_snapshots_region_group_or_subscription_is_in_a_template():
    for path in [*TEMPLATES, *PARAMETER_FILES]:
        assert not any(value in path.read_text() for value in bicep.DEPLOYMENT.values() if value != "main"), path.name


def test_every_resource_takes_the_region_of_the_deployment_or_is_global():
    for name in ("everything", "required"):
        for resource in snapshots.deployment(name).resources:
            assert resource.get("location", "global") in {"nowhere", "global"}, resource["id"]
