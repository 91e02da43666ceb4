#!/usr/bin/env python3
"""Write the bill of materials of a deployment package, CycloneDX 1.6 as JSON, to standard output.

    infra/sbom.py package.zip

It names the package with its own hash, and every library that requirements.txt pins with the hashes of its files at the
registry. The same package gives the same bytes.
"""

import hashlib
import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]


def bill(root: Path, package: bytes) -> dict[str, Any]:
    """Give the document."""
    lines = runpy.run_path(str(Path(__file__).with_name("package.py")))["requirements"](root)
    (version,) = re.findall(r'__version__ = "(.+)"', (root / "optout_core/__init__.py").read_text())
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "acs-opt-in",
                "name": "acs-opt-in",
                "version": version,
                "licenses": [{"license": {"id": "MIT"}}],
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(package).hexdigest()}],
            }
        },
        "components": [_component(line) for line in lines],
    }


def _component(line: str) -> dict[str, Any]:
    name, pinned = re.findall(r"^([\w.-]+)==([\w.+!-]+)", line)[0]
    purl = f"pkg:pypi/{name}@{pinned}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": pinned,
        "purl": purl,
        # One for each file that the registry has of this version; which of them was installed depends on the platform.
        "properties": [
            {"name": "acs-opt-in:file:sha256", "value": digest} for digest in re.findall(r"sha256:([0-9a-f]{64})", line)
        ],
    }


def main(arguments: list[str]) -> int:
    """Run the command; exit codes: 0 written, 2 usage."""
    if len(arguments) != 1 or not Path(arguments[0]).is_file():
        sys.stderr.write("usage: infra/sbom.py PACKAGE.zip\n")
        return 2
    document = bill(_ROOT, Path(arguments[0]).read_bytes())
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
