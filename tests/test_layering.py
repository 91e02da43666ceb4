"""Imports flow one way: every edge that exists is in these tables, and every edge in these tables exists.

Read with `ast`, so that an import inside a function or under TYPE_CHECKING counts like any other.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: The pure core: what each module may import of ours.
CORE = {
    "phone_numbers": set(),
    "reasons": set(),
    "errors": {"reasons"},
    "arrivals": set(),
    "contract": set(),
    "envelopes": {"arrivals", "contract", "errors"},
    "events": {"arrivals", "contract", "envelopes", "errors", "phone_numbers"},
    "batches": set(),
    "api": {"batches", "errors", "phone_numbers"},
    "consent": {"batches", "events", "phone_numbers", "reasons"},
    "settlement": {"api", "arrivals", "reasons"},
    "messages": {"api", "arrivals", "errors", "events", "phone_numbers", "reasons", "settlement"},
    "reports": {"arrivals", "events", "reasons", "settlement"},
    "settings": {"errors", "events", "phone_numbers", "settlement"},
    "processor": {
        "api",
        "arrivals",
        "batches",
        "consent",
        "errors",
        "events",
        "messages",
        "reasons",
        "reports",
        "settlement",
    },
}
SHELL = {
    "auth": {"errors"},
    "client": {"api", "batches", "errors", "phone_numbers"},
    "outbox": {"errors", "messages"},
    "metrics": {"arrivals", "errors", "phone_numbers", "reports"},
    "wiring": {
        "arrivals",
        "auth",
        "client",
        "consent",
        "messages",
        "metrics",
        "outbox",
        "processor",
        "reports",
        "settings",
    },
}
OURS = CORE | SHELL

#: Libraries, by the first two steps of their names where the first says little.
LIBRARIES = {
    "api": {"pydantic_core"},
    "contract": {"pydantic"},
    "events": {"pydantic"},
    "settings": {"pydantic"},
    "auth": {"azure.core", "azure.identity", "httpx", "pydantic"},
    "client": {"circuitbreaker", "httpx", "tenacity"},
    "outbox": {"azure.servicebus", "tenacity"},
    "metrics": {"opentelemetry"},
    "wiring": {"azure.core", "azure.servicebus", "httpx"},
}

#: What the core may use of the standard library: nothing in it waits, reads, writes, guesses or looks at a clock.
PURE = {
    "base64",
    "collections",
    "contextlib",
    "dataclasses",
    "datetime",
    "email",
    "enum",
    "hashlib",
    "http",
    "itertools",
    "json",
    "re",
    "string",
    "typing",
    "unicodedata",
}

#: What each folder beside the core may import of ours.
FOLDERS = {"optout_core": set(), "sandbox": {"optout_core"}, "optout_ops": {"optout_core"}}


def imports(path: Path, *, at_run_time: bool = False) -> Iterator[str]:
    """Give the full name of every module that a file imports; `from optout_core import x` imports `optout_core.x`."""
    tree = ast.parse(path.read_text())
    if at_run_time:
        tree.body = [node for node in tree.body if not _is_for_types(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            if node.module == "optout_core":
                yield from (f"optout_core.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def module(name: str) -> Path:
    return ROOT / "optout_core" / f"{name}.py"


def imports_of_ours(name: str) -> set[str]:
    return {found.split(".")[1] for found in imports(module(name)) if found.startswith("optout_core.")}


def libraries(name: str, *, at_run_time: bool = False) -> set[str]:
    every = imports(module(name), at_run_time=at_run_time)
    foreign = {found for found in every if found.split(".")[0] not in sys.stdlib_module_names}
    return {
        ".".join(found.split(".")[: 2 if found.startswith("azure.") else 1])
        for found in foreign
        if not found.startswith("optout_core.")
    }


def test_every_module_has_its_place_in_the_tables():
    modules = {path.stem for path in (ROOT / "optout_core").rglob("*.py")} - {"__init__"}

    assert modules == OURS.keys()
    assert not list(imports(module("__init__")))


@pytest.mark.parametrize("name", OURS)
def test_a_module_imports_of_ours_just_what_the_table_says(name):
    assert imports_of_ours(name) == OURS[name]


@pytest.mark.parametrize("name", OURS)
def test_a_module_imports_just_the_libraries_the_table_says(name):
    assert libraries(name) == LIBRARIES.get(name, set())


@pytest.mark.parametrize("name", CORE)
def test_the_core_imports_the_core_alone(name):
    assert CORE[name] <= CORE.keys()


def test_no_module_imports_one_that_imports_it():
    above: set[str] = set()
    while len(above) < len(OURS):
        ready = {name for name, below in OURS.items() if name not in above and below <= above}
        assert ready, f"a circle among {OURS.keys() - above}"
        above |= ready


@pytest.mark.parametrize("name", CORE)
def test_the_core_uses_nothing_that_waits_reads_writes_or_guesses(name):
    standard = {found.split(".")[0] for found in imports(module(name))} & sys.stdlib_module_names

    assert standard <= PURE


@pytest.mark.parametrize("name", CORE)
def test_the_core_looks_at_no_clock_and_opens_no_file(name):
    tree = ast.parse(module(name).read_text())
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}

    assert not called & {"datetime.now", "datetime.utcnow", "datetime.today", "open", "print", "input", "__import__"}


@pytest.mark.parametrize(
    ("library", "users"),
    [("httpx", {"auth", "client"}), ("azure.servicebus", {"outbox", "wiring"}), ("opentelemetry", {"metrics"})],
)
def test_a_library_that_does_io_has_its_few_users(library, users):
    assert {name for name in OURS if library in libraries(name, at_run_time=True)} == users


def test_the_function_is_one_call_into_the_wiring():
    assert set(imports(ROOT / "function_app.py")) == {"typing", "azure.functions", "optout_core.wiring"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_tools_use_the_core_and_nobody_uses_the_tools(folder):
    found = {name.split(".")[0] for path in (ROOT / folder).rglob("*.py") for name in imports(path)}

    assert found & FOLDERS.keys() - {folder} <= FOLDERS[folder]
    assert not found & {"tests", "benchmarks", "function_app"}
