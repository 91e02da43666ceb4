"""Import time is part of cold start: what importing the function does, and what it leaves for later."""

import subprocess
import sys

import pytest

from tests.adapters.function import ROOT

#: Each takes a good part of a second, and the first invocation may well need none of them.
LATE = ("aiohttp", "psycopg", "azure.identity", "azure.servicebus", "opentelemetry.sdk", "azure.monitor", "requests")


SETTINGS = {
    "ACS_ENDPOINT": "http://127.0.0.1:1",
    "ACS_ACCESS_KEY": "pw==",
    "CONSENT_LEDGER": "postgresql://optout:x@127.0.0.1:1/optout?sslmode=disable",
    "ServiceBusConnection": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=k",
}


def run(script):
    """Run a script in a fresh process with no more in its environment than the app needs."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        env=SETTINGS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.split()


def test_importing_the_function_starts_nothing():
    loaded = run(
        "import sys, threading, asyncio, function_app\n"
        "assert threading.active_count() == 1\n"
        "assert function_app.service._processor is None\n"
        "print(*sys.modules)"
    )

    assert [name for name in LATE if name in loaded] == []
    assert {"azure.functions", "optout_core.processor"} <= {*loaded}


def test_an_invocation_with_an_access_key_in_which_nothing_fails_needs_neither_broker_nor_identity():
    loaded = run(
        "import asyncio, sys\n"
        "from optout_core.adapters.service import Service\n"
        "service = Service()\n"
        "async def main():\n"
        "    await service.process([])\n"
        "    await service.close()\n"
        "asyncio.run(main())\n"
        "print(*sys.modules)"
    )

    assert [name for name in LATE if name in loaded] == ["psycopg"]


@pytest.mark.parametrize("module", ["httpx", "typer", "rich"])
def test_the_function_does_not_need_what_only_the_tools_carry(module):
    assert run(f"import sys; sys.modules[{module!r}] = None\nimport function_app; print('fine')") == ["fine"]
