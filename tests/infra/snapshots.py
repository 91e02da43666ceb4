"""What would be deployed, evaluated by the compiler and committed as JSON, so that tests read it without a compiler.

    python -m tests.infra.snapshots     (or `make snapshots`) writes snapshots/ anew

A snapshot shows a change and does not say whether it is right: the rules on its values are in the tests beside it. It
has no conditions, existing resources or order; `graph.json` has the order, `required.json` what the conditions leave
out. What only a deployment knows stays an expression in brackets.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.infra import compiler
from tests.infra.sources import INFRA, PARAMETER_FILES, ROOT, TEMPLATES

FOLDER = Path(__file__).with_name("snapshots")
ENVIRONMENTS = Path(__file__).with_name("environments")

#: What the parameter files read while they are compiled. All of it: nothing comes from who runs this.
VARIABLES = {
    "COMMUNICATION_SERVICE_ID": "/subscriptions/00000000-0000-0000-0000-0000000000ac/resourceGroups/rg-acs"
    "/providers/Microsoft.Communication/communicationServices/acs-of-the-snapshot",
    "ALERT_EMAIL_ADDRESSES": "one@example.com, two@example.com",
    "PAGER_ACTION_GROUP_ID": "",
    "RUNBOOK_URL": "https://example.com/docs/runbook.md",
    "OPERATORS_GROUP_ID": "00000000-0000-0000-0000-0000000000f0",
    "PUBLISHER_IDS": "00000000-0000-0000-0000-0000000000f1, 00000000-0000-0000-0000-0000000000f2",
    "ALLOWED_SENDERS": "+18005550100, +18005550101",
    "SMOKE_TESTER_ID": "00000000-0000-0000-0000-0000000000f4",
    "LEDGER_ADMINISTRATORS_ID": "00000000-0000-0000-0000-0000000000f3",
    "LEDGER_ADMINISTRATORS_NAME": "ledger administrators",
}

Resource = dict[str, Any]


@dataclass(frozen=True)
class Deployment:
    """What one parameter file would deploy."""

    resources: tuple[Resource, ...]

    def of_type(self, kind: str) -> list[Resource]:
        """Give the resources of one type."""
        return [resource for resource in self.resources if resource["type"] == kind]

    def only(self, kind: str, name: str = "") -> Resource:
        """Give the one resource of a type whose name begins so."""
        (resource,) = [each for each in self.of_type(kind) if each["name"].startswith(name)]
        return resource


def read(name: str) -> Any:
    """Read one file of the snapshots."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def deployment(name: str) -> Deployment:
    """Read what one of the parameter files in environments/ would deploy."""
    return Deployment(tuple(read(name)))


def sources(root: Path = ROOT) -> dict[str, str]:
    """Give the hash of every file that the snapshots are made of, in this checkout or in a copy."""
    paths = [
        *TEMPLATES,
        *PARAMETER_FILES,
        *ENVIRONMENTS.glob("*.bicepparam"),
        *INFRA.glob("*.json"),
        ROOT / "host.json",
        *(INFRA / "modules").glob("*.json"),
        *(INFRA / "modules").glob("*.kql"),
    ]
    names = sorted(path.relative_to(ROOT) for path in paths)
    return {str(name): hashlib.sha256((root / name).read_bytes()).hexdigest() for name in names}


def make(running: compiler.Compiler, root: Path = ROOT) -> dict[str, Any]:
    """Evaluate everything, of this checkout or of a copy; give the content of each file."""

    def there(path: Path) -> Path:
        return root / path.relative_to(ROOT)

    main = running.template(there(INFRA / "main.bicep"))
    files: dict[str, Any] = {"template": {part: main[part] for part in ("parameters", "outputs", "definitions")}}
    files["graph"] = {path.stem: graph for path in TEMPLATES if (graph := running.graph(there(path)))}
    for path in PARAMETER_FILES:
        files[path.stem] = running.parameters(there(path))
    for path in sorted(ENVIRONMENTS.glob("*.bicepparam")):
        files[path.stem] = readable(running.snapshot(there(path)))
    return files


def written(content: Any) -> str:
    """Give the text of a file: sorted, since the compiler's own order changes from run to run."""
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def readable(resources: list[Resource]) -> list[Resource]:
    """Put resources into an order of their own."""
    return sorted(map(_readable, resources), key=lambda each: (each["type"], each["id"]))


def _readable(resource: Resource) -> Resource:
    # The workbook is JSON inside a string: one changed query is one changed line.
    if resource["type"] == "Microsoft.Insights/workbooks":
        resource["properties"]["serializedData"] = json.loads(resource["properties"]["serializedData"])
    return resource


def main() -> int:
    """Write the snapshots anew; exit codes: 0 written, 1 a file does not compile, 2 no compiler."""
    program, reason = compiler.find()
    if program is None:
        sys.stderr.write(f"{reason}\n")
        return 2
    try:
        with compiler.Compiler(program, VARIABLES) as running:
            files = make(running)
    except compiler.CompilationError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    FOLDER.mkdir(exist_ok=True)
    for stale in FOLDER.glob("*.json"):
        stale.unlink()
    for name, content in {**files, "sources": sources()}.items():
        (FOLDER / f"{name}.json").write_text(written(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
