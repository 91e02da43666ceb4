"""Clients that others wrote, against the sandbox.

A suite is a folder here with a package.json, a package-lock.json and tests for Node's own runner; what it talks to
stands in `services.py`. Each suite is one test.
"""

import asyncio
import json
import os
import re
from pathlib import Path

import pytest

from tests.foreign.services import SERVICES

FOLDER = Path(__file__).parent
SUITES = sorted(path.parent.name for path in FOLDER.glob("*/package.json"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SUITES)
async def test_a_suite_of_foreign_clients_passes(name, node, install, tmp_path):
    suite = FOLDER / name
    await asyncio.to_thread(install, suite)

    async with SERVICES[name](tmp_path) as services:
        running = await asyncio.create_subprocess_exec(
            node,
            "--test",
            "--test-reporter=tap",
            cwd=suite,
            # Nothing else: an ACS or proxy setting of whoever runs this must not reach the clients.
            env={"PATH": os.environ["PATH"], **services},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await running.communicate()
        finally:
            if running.returncode is None:
                running.kill()

    said = output.decode()
    assert running.returncode == 0, said
    # A runner that finds no tests is content, too.
    assert re.search(r"^# pass [1-9]", said, re.MULTILINE), said


def test_every_suite_has_its_services():
    assert sorted(SERVICES) == SUITES


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_is_pinned_and_says_nowhere_where_it_comes_from(name):
    lock = json.loads((FOLDER / name / "package-lock.json").read_text())
    declared = json.loads((FOLDER / name / "package.json").read_text())["dependencies"]
    packages = {path: package for path, package in lock["packages"].items() if path}

    assert lock["packages"][""]["dependencies"] == declared
    assert all(re.fullmatch(r"[\w.-]+", version) for version in declared.values())
    assert [path for path, package in packages.items() if not package.get("integrity")] == []
    assert [path for path, package in packages.items() if "resolved" in package] == []
