"""Debian's python3-qpid-proton against the broker. It is a module of Debian's own Python, not of this project's."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.foreign.services import SERVICEBUS, servicebus

SUITE = Path(__file__).parent / "proton" / "suite.py"

#: Where Debian's packages can be imported.
PYTHON = Path("/usr/bin/python3")


@pytest.fixture(scope="module")
def python() -> Path:
    """Give the Python that has proton; skip where there is none."""
    if (
        not PYTHON.exists()
        or subprocess.run([PYTHON, "-c", "import proton"], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"needs proton for {PYTHON}: Debian's package python3-qpid-proton")
    return PYTHON


async def test_a_client_made_of_proton_finds_what_amqp_promises(python):
    async with servicebus(SERVICEBUS) as services:
        running = await asyncio.create_subprocess_exec(
            python, SUITE, env=dict(services), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            output, _ = await running.communicate()
        finally:
            if running.returncode is None:
                running.kill()

    said = output.decode()
    assert running.returncode == 0, said
    assert said.splitlines()[-1] == "a_wrong_key_ends_the_connection", said
