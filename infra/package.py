#!/usr/bin/env python3
"""Write the deployment package: every file git tracks, without those that .funcignore names.

    infra/package.py package.zip

Azure builds it remotely, so it holds sources and requirements.txt only. The same commit gives the same bytes.
"""

import subprocess
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

#: Without one of these the function app would start empty, and say nothing.
NEEDED = frozenset({"host.json", "function_app.py", "requirements.txt"})

_EPOCH = (1980, 1, 1, 0, 0, 0)


def _tracked(root: Path, *options: str) -> set[str]:
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", *options]
    listing = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - no input of anybody's
    return {name for name in listing.stdout.split("\0") if name}


def write(root: Path, target: Path) -> list[str]:
    """Write the package of the repository at `root` to `target`; give the names in it.

    Raises:
        ValueError: A file the function cannot start without is missing or ignored.
    """
    names = sorted(_tracked(root) - _tracked(root, "--ignored", "--exclude-from=.funcignore"))
    missing = NEEDED.difference(names)
    if missing:
        raise ValueError(f"the package would lack {', '.join(sorted(missing))}: not tracked, or named in .funcignore")
    with ZipFile(target, "w", ZIP_DEFLATED) as package:
        for name in names:
            entry = ZipInfo(name, _EPOCH)
            entry.compress_type = ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            package.writestr(entry, (root / name).read_bytes())
    return names


def main(arguments: list[str]) -> int:
    """Run the command; exit codes: 0 written, 1 it would not start, 2 usage."""
    if len(arguments) != 1:
        sys.stderr.write("usage: infra/package.py TARGET.zip\n")
        return 2
    try:
        names = write(Path(__file__).parents[1], Path(arguments[0]))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{arguments[0]}: {len(names)} files\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
