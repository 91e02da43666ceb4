"""Imports flow one way: the pure part knows no I/O, and each foreign library has few users."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "optout_ops"
PURE = {
    "exits",
    "dead_letters",
    "wording",
    "verdicts",
    "filters",
    "plans",
    "replays",
    "ramps",
    "tallies",
    "runs",
    "summaries",
    "publications",
    "archive",
    "checks",
    "findings",
}
MAY_IMPORT = {
    "azure": {"queues", "taking", "namespace"},
    "httpx": {"acs"},
    "typer": {"machine", "__main__"},
    "rich": set(),
    "aiolimiter": {"pacing"},
    "asyncio": {"queues", "machine", "orders", "replaying", "watching"},
    "os": {"__main__", "audit", "machine"},
}


def imports(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


MODULES = {file.stem: set(imports(file)) for file in PACKAGE.glob("*.py")}


@pytest.mark.parametrize("name", sorted(PURE))
def test_what_is_pure_imports_only_what_is_pure(name):
    ours = {each.split(".")[1] for each in MODULES[name] if each.startswith("optout_ops.")}

    assert ours <= PURE


@pytest.mark.parametrize("library", sorted(MAY_IMPORT))
def test_a_library_is_used_where_it_belongs_and_nowhere_else(library):
    users = {name for name, imported in MODULES.items() if library in {each.split(".")[0] for each in imported}}

    assert users == MAY_IMPORT[library]


def test_nothing_but_the_entry_imports_the_commands():
    assert {name for name, imported in MODULES.items() if any(".cli" in each for each in imported)} == {"__main__"}


def test_the_tool_does_not_need_the_sandbox():
    every = [each for file in PACKAGE.rglob("*.py") for each in imports(file)]

    assert not [each for each in every if each.split(".")[0] in ("sandbox", "tests", "function_app")]
