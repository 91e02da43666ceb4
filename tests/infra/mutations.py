"""Break the templates in some hundred ways and say which of them nobody would notice.

    python -m tests.infra.mutations [--rules] [--only TEXT]      (or `make mutations`)

Each mutant is one change to one file, in a copy. It is caught when the compiler or its linter complains, when what
would be deployed differs from the committed snapshots, or when the order does. With --rules the snapshots of the copy
are written anew first and the tests run: so it is caught by a rule on values or not at all; half a minute each.

Exit codes: 0 all are caught, 1 some survive, 2 no compiler.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.infra import compiler, snapshots
from tests.infra.sources import ROOT, TEMPLATES


@dataclass(frozen=True)
class Mutant:
    """One change: which file, and what stands where instead of what."""

    file: str
    old: str
    new: str
    at: int

    def __str__(self) -> str:
        line = (ROOT / self.file).read_text()[: self.at].count("\n") + 1
        return f"{self.file}:{line}: {self.old.strip()!r} -> {self.new.strip()!r}"

    def apply(self, root: Path) -> None:
        """Change the file of a copy."""
        text = (root / self.file).read_text()
        (root / self.file).write_text(text[: self.at] + self.new + text[self.at + len(self.old) :])


#: The twelve of the review before launch, of which only three did not compile.
REVIEWED = [
    ("infra/modules/storage.bicep", "allowBlobPublicAccess:", "allowBlobPublicAcess:"),
    ("infra/modules/function.bicep", "Microsoft.Web/sites@2025-03-01", "Microsoft.Web/sites@2099-01-01"),
    ("infra/modules/alerts.bicep", "windowSize: alert.window", "windowSize: 'PT7M'"),
    ("infra/modules/alerts.bicep", "| project timestamp, reason", "| projekt timestamp, reason"),
    ("infra/modules/alerts.bicep", "bin(timestamp, 5m)", "binn(timestamp, 5m)"),
    ("infra/workbook.json", "bin(timestamp, ", "bin(timestamp "),
    ("infra/modules/network.bicep", "'Microsoft.App/environments'", "'Microsoft.Web/serverFarms'"),
    ("infra/modules/function-roles.bicep", "090c5cfd", "090c5cfe"),
    ("infra/modules/messaging.bicep", "minimumTlsVersion: '1.2'", "minimumTlsVersion: 'TLS1_2'"),
    ("infra/queues.json", '"lockDuration": "PT5M"', '"lockDuration": "PT6M"'),
    ("infra/modules/function.bicep", "type: 'UserAssignedIdentity'", "type: 'UserAssigned'"),
    ("infra/modules/event-grid.bicep", "'NumberNotIn'", "'NumberNotInn'"),
]

#: What is written one way on purpose, in each template: pattern, and what it becomes.
_KINDS = [
    (r"(?<=: )true$", "false"),
    (r"(?<=: )false$", "true"),
    (r"'Enabled'", "'Disabled'"),
    (r"'Disabled'", "'Enabled'"),
    (r"(?<=: )\d+$", "7777"),
    (r"(?<=@)\d{4}-\d\d-\d\d(?=')", "2099-01-01"),
    (r"(?<=-)[0-9a-f]{12}(?=')", "0123456789ab"),
    (r"(?<=[^|]: ')[A-Z][A-Za-z]+(?='$)", "Nope"),
    (r"(?<=: ')PT\d+[MH](?='$)", "PT7M"),
    (r"(?<== )if \(\w+\) (?=\{)", ""),
    (r"(?<=principalId: )\w+$", "'somebody'"),
    (r"(?<=scope: )namespace::\w+$", "namespace"),
    (r"(?<=scope: )(acs|storage|workspace|server)$", "namespace"),
]


def mutants() -> list[Mutant]:
    """Give the twelve, and every change of those kinds that a template offers."""
    found = [Mutant(file, old, new, (ROOT / file).read_text().index(old)) for file, old, new in REVIEWED]
    for path in TEMPLATES:
        text, file = path.read_text(), str(path.relative_to(ROOT))
        for pattern, new in _KINDS:
            found += [Mutant(file, match[0], new, match.start()) for match in re.finditer(pattern, text, re.MULTILINE)]
    unlike = {(each.file, each.at): each for each in found if not _is_said_only(each)}
    return list(unlike.values())


def _is_said_only(mutant: Mutant) -> bool:
    # A default that the parameter files of the snapshots always give, and the metadata, deploy nothing.
    text = (ROOT / mutant.file).read_text()
    line = text[text.rfind("\n", 0, mutant.at) + 1 :].partition("\n")[0]
    return line.startswith(("metadata ", "@description"))


def _copy() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="mutant-"))
    command = ["git", "ls-files", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listing.stdout.rstrip("\0").split("\0"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
        (folder / name).chmod((ROOT / name).stat().st_mode)
    return folder


def _seen_by_the_compiler(running: compiler.Compiler, root: Path, committed: dict[str, Any]) -> str:
    """Say what shows that a copy is changed; nothing when it does not show."""
    said = running.diagnostics(root / "infra/main.bicep")
    if said:
        return f"the compiler: {said[0][:100]}"
    try:
        for name in (path.stem for path in sorted(snapshots.ENVIRONMENTS.glob("*.bicepparam"))):
            made = running.snapshot(root / f"tests/infra/environments/{name}.bicepparam")
            if snapshots.written(snapshots.readable(made)) != snapshots.written(committed[name]):
                return f"the snapshot {name}"
    except compiler.CompilationError as error:
        return f"the compiler: {str(error)[:100]}"
    main = running.template(root / "infra/main.bicep")
    if any(main[part] != committed["template"][part] for part in committed["template"]):
        return "the contract"
    graphs = {path.stem: running.graph(root / path.relative_to(ROOT)) for path in TEMPLATES}
    return "the order" if {name: graph for name, graph in graphs.items() if graph} != committed["graph"] else ""


def _seen_by_a_rule(running: compiler.Compiler, program: str, root: Path) -> str:
    """Say which test fails once the snapshots of a copy are made anew; nothing when none does."""
    said = running.diagnostics(root / "infra/main.bicep")
    if said:
        return f"the compiler: {said[0][:100]}"
    try:
        files = {name: snapshots.written(content) for name, content in snapshots.make(running, root).items()}
    except compiler.CompilationError as error:
        return f"the compiler: {str(error)[:100]}"
    for name, content in {**files, "sources": snapshots.written(snapshots.sources(root))}.items():
        (root / f"tests/infra/snapshots/{name}.json").write_text(content)
    # What needs no compiler is quick, and sees nearly all: the rest runs only for what that lets pass.
    return _failed(root, _WITHOUT_A_COMPILER) or _failed(root, {"BICEP": str(Path(program).resolve())})


_WITHOUT_A_COMPILER = {"BICEP": "", "HOME": "/nonexistent", "PATH": "/usr/local/bin:/usr/bin:/bin"}


def _failed(root: Path, environ: dict[str, str]) -> str:
    tests = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/infra"]
    # What runs commands and reads workflows looks at no template.
    tests += [f"--ignore=tests/infra/test_{name}.py" for name in ("tools", "workflows", "taking_away")]
    ran = subprocess.run(tests, cwd=root, env=os.environ | environ, capture_output=True, text=True, check=False)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, re.MULTILINE)
    if ran.returncode and not failed:
        raise RuntimeError(f"the tests did not run: {ran.stdout[-500:]}{ran.stderr[-500:]}")
    return failed[0] if failed else ""


def _verdicts(program: str, chosen: list[Mutant], *, rules: bool) -> Iterator[tuple[Mutant, str]]:
    committed = {path.stem: snapshots.read(path.stem) for path in snapshots.FOLDER.glob("*.json")}
    root = _copy()
    originals = {mutant.file: (root / mutant.file).read_text() for mutant in chosen}

    def seen(running: compiler.Compiler) -> str:
        if rules:
            return _seen_by_a_rule(running, program, root)
        return _seen_by_the_compiler(running, root, committed)

    try:
        with compiler.Compiler(program, snapshots.VARIABLES) as running:
            for mutant in chosen:
                mutant.apply(root)
                if mutant.file.endswith(".bicep"):
                    yield mutant, seen(running)
                else:  # a running compiler keeps what it loaded as data
                    with compiler.Compiler(program, snapshots.VARIABLES) as fresh:
                        yield mutant, seen(fresh)
                (root / mutant.file).write_text(originals[mutant.file])
    finally:
        shutil.rmtree(root)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--rules", action="store_true", help="write the snapshots of each mutant anew, then run the tests"
    )
    parser.add_argument("--only", default="", help="mutants whose line holds this text; 'reviewed' for the twelve")
    options = parser.parse_args(arguments)
    program, reason = compiler.find()
    if program is None:
        sys.stderr.write(f"{reason}\n")
        return 2
    every = mutants()
    chosen = every[: len(REVIEWED)] if options.only == "reviewed" else [m for m in every if options.only in str(m)]
    survived = 0
    for mutant, seen in _verdicts(program, chosen, rules=options.rules):
        survived += not seen
        sys.stdout.write(f"{seen or 'NOBODY'}\t{mutant}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(chosen)} mutants, {len(chosen) - survived} caught, {survived} survive\n")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
