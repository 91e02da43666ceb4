"""Node, and what its suites need installed."""

import fcntl
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

#: The oldest version that Node's own project still mends, and that the clients ask for.
OLDEST_NODE = 20

#: How npm says that nobody answered.
OFFLINE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT")


@pytest.fixture(scope="session")
def node() -> str:
    """Give Node's program; skip where it is missing or too old."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"needs Node {OLDEST_NODE} or newer, and this is {version}")
    return found


@pytest.fixture(scope="session")
def install(node) -> Callable[[Path], None]:  # noqa: ARG001 - npm comes with it
    """Give what installs the packages that a suite's lock file names; it skips where no registry can be reached."""

    def install(suite: Path) -> None:
        lock = suite / "package-lock.json"
        stamp = suite / "node_modules" / ".installed"
        with lock.open() as guarded:
            # Another run of the same tests would install into the same folder.
            fcntl.flock(guarded, fcntl.LOCK_EX)
            if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
                return
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            ran = subprocess.run(command, cwd=suite, capture_output=True, text=True, check=False)
            if ran.returncode and any(sign in ran.stderr for sign in OFFLINE):
                pytest.skip("npm cannot reach its registry")
            assert ran.returncode == 0, ran.stderr
            stamp.write_bytes(lock.read_bytes())

    return install
