"""Ctrl-C and `kill` in the first second: while the libraries are imported, and while they are installed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)

#: Stands in for a library, and gets the signal while it is imported.
INTERRUPTED = "import os, time\nos.kill(os.getpid(), {number})\ntime.sleep(20)\n"
#: Stands in for `venv`: its environments have a pip that never ends. It says which process it is once somebody reads
#: what it prints, which is more than a pipe holds.
ENDLESS = """
from pathlib import Path

def create(folder, **_):
    python = Path(folder, "bin", "python")
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\\nyes | head -c 200000\\necho $$ >"$0.pid"\\nexec sleep 60\\n')
    python.chmod(0o755)
"""


def run(*arguments, path):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def works(number):
    """Say whether a process does anything any more; one that ended may wait for init to take note."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@SIGNALS
def test_the_operators_tool_ends_in_a_line_while_it_still_imports(tmp_path, number):
    (tmp_path / "typer.py").write_text(INTERRUPTED.format(number=int(number)))

    said = run("-m", "optout_ops", "dlq", "list", path=tmp_path)

    assert (said.returncode, said.stderr) == (130, "Interrupted before anything was done.\n")


@SIGNALS
def test_the_sandbox_ends_in_a_line_while_it_still_imports(tmp_path, number):
    (tmp_path / "typer.py").write_text(INTERRUPTED.format(number=int(number)))

    said = run("-m", "sandbox", path=tmp_path)

    assert (said.returncode, said.stderr) == (128 + number, "Interrupted before anything was started.\n")


@SIGNALS
def test_the_installation_ends_in_a_line_and_ends_pip(tmp_path, number):
    (tmp_path / "venv.py").write_text(ENDLESS)
    folder, said = tmp_path / "made", tmp_path / "said"
    with (
        said.open("w") as file,
        subprocess.Popen(
            [sys.executable, "scripts/environment.py", folder, "requirements-dev.txt"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)},
            stderr=file,
        ) as process,
    ):
        while not (pid := folder / "bin" / "python.pid").exists() or not pid.read_text():
            assert process.poll() is None
        process.send_signal(number)

        assert process.wait(20) == 130

    assert not works(int(pid.read_text()))
    assert said.read_text().splitlines()[1:] == ["", "Interrupted; run the same command again to go on."]
