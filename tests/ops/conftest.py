"""The command line as a user meets it: pointed at a broker of its own, with an audit trail of its own."""

import asyncio
import json

import pytest
from azure.servicebus._pyamqp.aio import _client_async
from azure.servicebus.aio import _servicebus_receiver_async, _servicebus_sender_async

from tests.ops.making import open_bus, queues


class Hurried:
    """asyncio with short naps, for the SDK: a link takes it half a second to open and a second to close, all asleep."""

    def __getattr__(self, name):
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(seconds, result=None):
        return await asyncio.sleep(min(seconds, 0.01), result)


@pytest.fixture(autouse=True, scope="session")
def _hurry():
    with pytest.MonkeyPatch.context() as patch:
        # Typer sets and deletes it while it reads arguments; two commands at once would delete it twice.
        patch.setenv("PYDANTIC_DISABLE_PLUGINS", "1")
        for module in (_client_async, _servicebus_receiver_async, _servicebus_sender_async):
            patch.setattr(module, "asyncio", Hurried())
        yield


@pytest.fixture
def place(monkeypatch, tmp_path):
    """An empty environment, with an audit trail of its own."""
    for name in ("ServiceBusConnection", "ServiceBusConnection__fullyQualifiedNamespace", "ACS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPTOUT_AUDIT", str(tmp_path / "audit.jsonl"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def trail(place):
    """Read the audit trail."""

    def read():
        file = place / "audit.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    return read


@pytest.fixture
def connect(place, monkeypatch):
    """Open a bus whose queues have some properties changed, and point the command line at it."""
    assert place

    def connecting(lock_seconds=None, **changes):
        return open_bus(queues(lock_seconds, **changes), monkeypatch.setenv)

    return connecting


@pytest.fixture
async def bus(connect):
    async with connect() as opened:
        yield opened
