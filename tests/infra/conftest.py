"""The compiler, one process for all tests that ask it; without one they are skipped and say why."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.infra import compiler as bicep
from tests.infra.snapshots import ENVIRONMENTS, VARIABLES
from tests.infra.sources import INFRA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker run all that needs the compiler: each process takes 500 MB and is slow until it is warm."""
    for item in items:
        if "compiler_program" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("bicep"))
            item.add_marker(pytest.mark.once)


@pytest.fixture(scope="session")
def compiler_program() -> str:
    """Give the path of the compiler."""
    program, reason = bicep.find()
    if program is None:
        pytest.skip(reason)
    return program


@pytest.fixture(scope="session")
def compiler(compiler_program: str) -> Iterator[bicep.Compiler]:
    """Start the compiler with every variable that the parameter files read."""
    with bicep.Compiler(compiler_program, VARIABLES) as running:
        yield running


@pytest.fixture
def parameter_file(tmp_path: Path) -> Callable[..., Path]:
    """Give a way to write a parameter file: one of environments/ with some lines more, or instead."""

    def write(name: str, *lines: str) -> Path:
        source = (ENVIRONMENTS / f"{name}.bicepparam").read_text()
        source = source.replace("'../../../infra/main.bicep'", f"'{os.path.relpath(INFRA / 'main.bicep', tmp_path)}'")
        for line in lines:
            start = line.partition("=")[0]
            kept = [each for each in source.split("\nparam ") if not f"param {each}".startswith(start)]
            source = "\nparam ".join(kept) + f"\n{line}\n"
        path = tmp_path / f"{name}.bicepparam"
        path.write_text(source)
        return path

    return write
