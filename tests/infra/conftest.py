"""The compiler, one process for all tests that ask it; without one they are skipped and say why."""

from collections.abc import Iterator

import pytest

from tests.infra import compiler as bicep
from tests.infra.snapshots import VARIABLES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker run all that needs the compiler: each process takes 300 MB."""
    for item in items:
        if "compiler" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("bicep"))


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
