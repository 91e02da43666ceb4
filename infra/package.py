#!/usr/bin/env python3
"""Write the deployment package: every file git tracks, without those that .funcignore names.

    infra/package.py requirements               print what the function needs, each pinned by its hash
    infra/package.py package.zip                sources only: Azure installs what requirements.txt names
    infra/package.py package.zip FOLDER         with the packages installed in FOLDER: nothing is installed on Azure

The same commit, and the same folder, give the same bytes.
"""

import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

_ROOT = Path(__file__).parents[1]

#: Without one of these the function app would start empty, and say nothing.
NEEDED = frozenset({"host.json", "function_app.py", "requirements.txt"})

#: Where the Python worker looks for packages.
PACKAGES = ".python_packages/lib/site-packages"

_EPOCH = (1980, 1, 1, 0, 0, 0)


def requirements(root: Path) -> list[str]:
    """Give the lines of requirements-pipeline.txt, which has the hashes, for what requirements.txt names."""
    named = set(re.findall(r"^([a-z][\w.-]*)==", (root / "requirements.txt").read_text(), re.MULTILINE))
    blocks = re.split(r"\n(?=[a-z])", (root / "requirements-pipeline.txt").read_text())
    return [block.strip() for block in blocks if block.partition("==")[0] in named]


def _tracked(root: Path, *options: str) -> set[str]:
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", *options]
    listing = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - no input of anybody's
    return {name for name in listing.stdout.split("\0") if name}


def write(root: Path, target: Path, packages: Path | None = None) -> list[str]:
    """Write the package of the repository at `root` to `target`; give the names in it.

    Raises:
        ValueError: A file the function cannot start without is missing or ignored, or no package is installed.
    """
    names = _tracked(root) - _tracked(root, "--ignored", "--exclude-from=.funcignore")
    missing = NEEDED.difference(names)
    if missing:
        raise ValueError(f"the package would lack {', '.join(sorted(missing))}: not tracked, or named in .funcignore")
    files = {name: root / name for name in names}
    if packages:
        installed = [path for path in packages.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        if not installed:
            raise ValueError(f"{packages} holds no package")
        files |= {f"{PACKAGES}/{path.relative_to(packages).as_posix()}": path for path in installed}
    with ZipFile(target, "w", ZIP_DEFLATED) as package:
        for name in sorted(files):
            entry = ZipInfo(name, _EPOCH)
            entry.compress_type = ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            package.writestr(entry, files[name].read_bytes())
    return sorted(files)


def main(arguments: list[str]) -> int:
    """Run the command; exit codes: 0 written, 1 it would not start, 2 usage."""
    match arguments:
        case ["requirements"]:
            sys.stdout.write("\n".join(requirements(_ROOT)) + "\n")
            return 0
        case [target] | [target, _] if target.endswith(".zip"):
            packages = Path(arguments[1]) if arguments[1:] else None
        case _:
            sys.stderr.write("usage: infra/package.py requirements | TARGET.zip [FOLDER]\n")
            return 2
    try:
        names = write(_ROOT, Path(target), packages)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{target}: {len(names)} files\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
