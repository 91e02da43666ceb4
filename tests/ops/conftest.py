"""The command line as a user meets it: in front of queues in memory, or of a broker of its own."""

import pytest

from tests.ops.bus import open_bus
from tests.ops.command_line import Desk


@pytest.fixture
def place(monkeypatch, tmp_path):
    """An empty folder, which is the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def desk(place):
    return Desk(place)


@pytest.fixture
def ledger(desk):
    """A ledger beside the desk: its file."""
    path = desk.place / "ledger.db"
    desk.environ["CONSENT_LEDGER"] = f"sqlite:///{path}"
    return path


@pytest.fixture
async def bus(place):
    async with open_bus(place) as opened:
        yield opened
