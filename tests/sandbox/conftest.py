"""Run the sandbox as a user does: as a process of its own."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from servicebus_sandbox import Broker
from tests.sandbox.feeding import QUEUES

ROOT = Path(__file__).parents[2]


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def report(self) -> Any:
        return json.loads(self.out)

    def outcomes(self) -> dict[str, tuple[str, str | None]]:
        return {each["to"]: (each["outcome"], each["reason"]) for each in self.report["recipients"]}


@pytest.fixture
def sandbox():
    def run(*arguments: str, stdin: str | None = None, **environment: str) -> Ran:
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-m", "sandbox", *arguments],
            cwd=ROOT,
            env={"PATH": "", "COLUMNS": "120", **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    return run


@pytest.fixture
def write(tmp_path):
    def write(name: str, *documents: object) -> str:
        path = tmp_path / name
        path.write_text("\n".join(json.dumps(document) for document in documents))
        return str(path)

    return write


@pytest.fixture
async def broker():
    async with Broker(QUEUES) as started:
        yield started
