"""Run a program of this repository, or git or make, as the pipelines do."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


def run(*command: str, cwd: Path, environ: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with variables beside those of this process."""
    return subprocess.run(command, cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
