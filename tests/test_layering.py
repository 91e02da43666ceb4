"""Imports flow one way: what lies directly in `optout_core` is pure, and only `adapters` talk to the world.

Nothing here lists modules: a new file falls under the rule of the folder it lies in. Imports are read with `ast`, so
that one inside a function or under TYPE_CHECKING counts like any other.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "optout_core"

#: What pure modules may use of the standard library: nothing in it waits, reads, writes, guesses or looks at a clock.
PURE = {
    "base64",
    "binascii",
    "collections",
    "contextlib",
    "dataclasses",
    "datetime",
    "decimal",
    "email",
    "enum",
    "functools",
    "hashlib",
    "http",
    "ipaddress",
    "itertools",
    "json",
    "operator",
    "re",
    "string",
    "struct",
    "typing",
    "unicodedata",
    "uuid",
}
#: The libraries that a pure module may use.
PURE_LIBRARIES = {"msgspec", "pydantic", "pydantic_core", "typing_extensions"}

#: A library that does I/O, or is slow to import, and who may use it at run time; a folder stands for its files.
USERS = {
    "aiohttp": ("optout_core/adapters/http.py", "sandbox/endpoint", "sandbox/run.py"),
    "aiolimiter": ("optout_ops/queues",),
    "azure.identity": ("optout_core/adapters", "optout_ops/queues"),
    "azure.servicebus": ("optout_core/adapters", "optout_ops/queues", "sandbox"),
    "azurefunctions": ("optout_core/adapters/trigger.py", "sandbox"),
    "httpx": (),
    "opentelemetry": (
        "optout_core/adapters/azure_monitor.py",
        "optout_core/adapters/telemetry.py",
        "sandbox/telemetry.py",
    ),
    "rich": ("optout_ops/cli", "sandbox"),
    "typer": ("optout_ops/cli", "optout_ops/__main__.py", "optout_ops/machine.py", "sandbox"),
}

#: What each folder may import of the others.
FOLDERS = {
    "optout_core": set(),
    "servicebus_sandbox": set(),
    "optout_ops": {"optout_core"},
    "sandbox": {"optout_core", "servicebus_sandbox"},
}


def modules(package: str) -> list[Path]:
    """Give the files of a package, without those of its tests."""
    return [path for path in sorted((ROOT / package).rglob("*.py")) if "tests" not in path.relative_to(ROOT).parts]


def name_of(path: Path) -> str:
    """Give the name under which a file is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, *, at_run_time: bool = False) -> Iterator[str]:
    """Give the full name of everything that a file imports; `from a import b` imports both `a` and `a.b`."""
    tree = ast.parse(path.read_text())
    if at_run_time:
        tree.body = [node for node in tree.body if not _is_for_types(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def inner_imports(package: str) -> dict[str, set[str]]:
    """Give for each module of a package those that it imports of the same package."""
    names = {name_of(path) for path in modules(package)}
    return {name_of(path): names & set(imports(path)) - {name_of(path)} for path in modules(package)}


def circle(below: dict[str, set[str]]) -> set[str]:
    """Give the names that stand in a circle, or above one."""
    rest = dict(below)
    while ready := [name for name, imported in rest.items() if not imported & rest.keys()]:
        for name in ready:
            del rest[name]
    return set(rest)


PURE_MODULES = [pytest.param(path, id=path.stem) for path in sorted(CORE.glob("*.py"))]


@pytest.mark.parametrize("path", PURE_MODULES)
def test_what_lies_directly_in_the_core_imports_only_what_is_pure(path):
    found = set(imports(path))
    standard = {name.split(".")[0] for name in found} & sys.stdlib_module_names
    libraries = {name.split(".")[0] for name in found} - sys.stdlib_module_names - {"optout_core"}

    assert standard <= PURE
    assert libraries <= PURE_LIBRARIES
    assert not [name for name in found if name.startswith("optout_core.adapters")]


@pytest.mark.parametrize("path", PURE_MODULES)
def test_what_lies_directly_in_the_core_looks_at_no_clock_and_opens_no_file(path):
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}

    assert not called & {"datetime.now", "datetime.utcnow", "datetime.today", "open", "print", "input", "__import__"}


@pytest.mark.parametrize("package", ["optout_core", "optout_ops", "sandbox", "servicebus_sandbox"])
def test_no_module_imports_one_that_imports_it(package):
    assert not circle(inner_imports(package))


def rooms(package: str) -> dict[str, set[str]]:
    """Give for each folder of a package, and for each module beside the folders, those that it imports."""

    def room(name: str) -> str:
        return ".".join(name.split(".")[:2])

    below: dict[str, set[str]] = {}
    for name, imported in inner_imports(package).items():
        below.setdefault(room(name), set()).update(map(room, imported))
    return {name: imported - {name, package} for name, imported in below.items() if name != package}


@pytest.mark.parametrize("package", ["optout_ops"])
def test_no_room_imports_one_that_imports_it(package):
    assert not circle(rooms(package))


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == {"a", "b", "c"}


@pytest.mark.parametrize("library", USERS)
def test_a_library_that_does_io_is_used_where_it_belongs(library):
    users = {
        path.relative_to(ROOT).as_posix()
        for package in FOLDERS
        for path in modules(package)
        if any(f"{name}.".startswith(f"{library}.") for name in imports(path, at_run_time=True))
    }

    assert not [user for user in users if not user.startswith(USERS[library])]


def test_the_function_is_one_call_into_the_service():
    ours = {name for name in imports(ROOT / "function_app.py") if name.split(".")[0] in FOLDERS}

    assert ours <= {
        "optout_core.adapters.service",
        "optout_core.adapters.service.Service",
        "optout_core.adapters.trigger",
        "optout_core.adapters.trigger.WholeMessage",
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_tools_use_the_core_and_nobody_uses_the_tools(folder):
    found = {name.split(".")[0] for path in modules(folder) for name in imports(path)}

    assert found & FOLDERS.keys() - {folder} <= FOLDERS[folder]
    assert not found & {"tests", "benchmarks", "function_app"}


def test_only_the_entry_imports_the_commands():
    users = {
        path.stem
        for path in modules("optout_ops")
        if "cli" not in path.parts and any(name.startswith("optout_ops.cli") for name in imports(path))
    }

    assert users <= {"__main__"}
