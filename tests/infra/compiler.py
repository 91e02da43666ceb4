"""Microsoft's Bicep compiler, one process that answers many questions: `bicep jsonrpc --stdio`.

Frames are those of the Language Server Protocol: `Content-Length: N`, a blank line, then JSON-RPC 2.0. One process
starts in two seconds and then compiles in a fifth of one. `readEnvironmentVariable` reads the environment of this
process, so all that parameter files read is given here and nothing is inherited.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.infra.sources import ROOT

#: The tenant, subscription, group and region of a deployment that never happens. No template may know any of them.
DEPLOYMENT = {
    "tenantId": "00000000-0000-0000-0000-00000000000a",
    "subscriptionId": "00000000-0000-0000-0000-00000000000b",
    "resourceGroup": "rg-of-the-snapshot",
    "location": "nowhere",
    "deploymentName": "main",
}


class CompilationError(Exception):
    """The compiler refused a file; the text is what it said."""


def find() -> tuple[str | None, str]:
    """Give the compiler's path, or None and the reason why there is none."""
    named = os.environ.get("BICEP")
    if named:
        if not shutil.which(named):
            raise FileNotFoundError(f"BICEP is {named}, and that is no program")
        return named, ""
    beside = [folder / "shared/tools/bicep" for folder in ROOT.parents[:2]]
    for place in (Path.home() / ".azure/bin/bicep", *beside):
        if os.access(place, os.X_OK):
            return str(place), ""
    found = shutil.which("bicep")
    return found, "" if found else "no Bicep compiler: set BICEP, or run `az bicep install`"


class Compiler:
    """A running compiler."""

    def __init__(self, program: str, environment: Mapping[str, str] = {}) -> None:
        passed = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}
        self._process = subprocess.Popen(
            [program, "jsonrpc", "--stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**passed, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1", **environment},
        )
        self._asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait(10)
        self._process.stdout.close()

    def template(self, path: Path) -> dict[str, Any]:
        """Compile a template to what Azure Resource Manager reads."""
        return json.loads(self._told("compile", path)["contents"])

    def diagnostics(self, path: Path) -> list[str]:
        """Give all that the compiler and its linter say about a template or a parameter file, a line each."""
        method = "compileParams" if path.suffix == ".bicepparam" else "compile"
        return _said(self._ask(f"bicep/{method}", _with_overrides(method, path)))

    def parameters(self, path: Path) -> dict[str, Any]:
        """Compile a parameter file and give its values by name."""
        compiled = json.loads(self._told("compileParams", path)["parameters"])["parameters"]
        return {name: each["value"] for name, each in compiled.items()}

    def snapshot(self, path: Path) -> list[dict[str, Any]]:
        """Give the resources that a parameter file would deploy, as far as they are known before the deployment."""
        self._told("compileParams", path)
        answer = self._ask("bicep/getSnapshot", {"path": str(path), "metadata": DEPLOYMENT, "externalInputs": None})
        resources: list[dict[str, Any]] = json.loads(answer["snapshot"])["predictedResources"]
        return resources

    def graph(self, path: Path) -> dict[str, list[str]]:
        """Give what each resource and module of a template waits for."""
        answer = self._ask("bicep/getDeploymentGraph", {"path": str(path)})
        waits: dict[str, set[str]] = {node["name"]: set() for node in answer["nodes"]}
        for edge in answer["edges"]:
            waits[edge["source"]].add(edge["target"])
        return {name: sorted(targets) for name, targets in sorted(waits.items())}

    def references(self, path: Path) -> list[Path]:
        """Give every file that the compiler reads for a template."""
        answer = self._ask("bicep/getFileReferences", {"path": str(path)})
        return sorted(Path(name) for name in answer["filePaths"])

    def formatted(self, path: Path) -> str:
        """Give a file as the compiler would write it."""
        text: str = self._ask("bicep/format", {"path": str(path)})["contents"]
        return text

    def _told(self, method: str, path: Path) -> dict[str, Any]:
        answer = self._ask(f"bicep/{method}", _with_overrides(method, path))
        if not answer["success"]:
            raise CompilationError("\n".join(_said(answer)))
        return answer

    def _ask(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._asked += 1
        body = json.dumps({"jsonrpc": "2.0", "id": self._asked, "method": method, "params": parameters}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._process.stdin.flush()
        size = 0
        while (line := self._process.stdout.readline()) != b"\r\n":
            if not line:
                raise CompilationError("the compiler ended without an answer")
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        answer = json.loads(self._process.stdout.read(size))
        if "error" in answer:
            raise CompilationError(answer["error"].get("data", {}).get("message") or answer["error"]["message"])
        result: dict[str, Any] = answer["result"]
        return result


def _with_overrides(method: str, path: Path) -> dict[str, Any]:
    return {"path": str(path)} | ({"parameterOverrides": {}} if method == "compileParams" else {})


def _said(answer: dict[str, Any]) -> list[str]:
    return [
        f"{Path(each['source']).name}:{each['range']['start']['line'] + 1}: {each['code']}: {each['message']}"
        for each in answer["diagnostics"]
    ]


def version(program: str) -> str:
    """Ask a compiler which one it is."""
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
