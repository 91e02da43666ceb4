"""Make the virtual environment that `make` works in, or leave it alone when it is up to date.

    python3 scripts/environment.py .venv requirements-dev.txt

Needs nothing but Python 3.11 or newer and a package registry. Exit code 0 when the environment is ready, 130 when
Ctrl-C or `kill` ended it, 1 otherwise.
"""

import signal
import subprocess
import sys
import venv
from hashlib import sha256
from pathlib import Path


def main(folder: str, requirements: str) -> int:
    """Make or refresh the environment; the lock file's hash inside it says whether there is anything to do."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever calls this may have an older one
        return _fail(
            f"Python 3.11 or newer is needed and this is {sys.version.split()[0]}: make PYTHON=/path/to/python3.13"
        )
    wanted = sha256(Path(requirements).read_bytes() + sys.version.encode()).hexdigest()
    stamp = Path(folder, "installed")
    if stamp.exists() and stamp.read_text() == wanted:
        return 0
    try:
        venv.create(folder, clear=True, with_pip=True)
    except subprocess.CalledProcessError:
        return _fail("this Python cannot make virtual environments: install its venv package, such as python3-venv")
    python = next(path for path in (Path(folder, "bin/python"), Path(folder, "Scripts/python.exe")) if path.exists())
    if not _install(python, requirements):
        return 1
    stamp.write_text(wanted)
    return 0


def _install(python: Path, requirements: str) -> bool:
    # Everything is pinned with all that it needs, so there is nothing to resolve.
    command: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--disable-pip-version-check",
        "-r",
        requirements,
    ]
    total = sum(line[:1].isalpha() for line in Path(requirements).read_text().splitlines())
    seen = 0
    log = []
    if not sys.stderr.isatty():
        print("Installing packages, once; this takes about half a minute.", file=sys.stderr, flush=True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        try:
            for line in pip.stdout or ():
                log.append(line)
                seen += line.startswith(("Collecting ", "Processing "))
                text = "unpacking ..." if line.startswith("Installing collected") else f"{seen} of at most {total}"
                if sys.stderr.isatty():
                    print(f"\rInstalling packages, once: {text:30}", end="", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            # `kill` reaches us alone.
            pip.terminate()
            raise
    if pip.returncode:
        print(file=sys.stderr)
        sys.stderr.writelines(log[-15:])
        _fail("pip could not install the packages (above); check the registry and run the same command again")
    else:
        print(f"\rInstalled {seen} packages into {python.parent.parent}{'':20}", file=sys.stderr)
    return not pip.returncode


def _fail(text: str) -> int:
    print(f"Error: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    # `kill` ends it as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        raise SystemExit(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nInterrupted; run the same command again to go on.", file=sys.stderr)
        raise SystemExit(130) from None
