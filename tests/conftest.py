"""What tests of every folder use."""

import gc
import os
import socket
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# The same examples on every run: a test fails because the code changed, never because of the day.
settings.register_profile(
    "ours",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ours")

#: The folders whose tests talk to a broker.
WITH_BROKER = {"adapters", "chaos", "infra", "ops", "sandbox"}


def pytest_xdist_auto_num_workers() -> int:
    """Start two workers for each core: half of the time, these tests wait for links to open and locks to end.

    And one more: the group `chaos`, one worker's work for half of a run, waits nine tenths of its time.
    """
    return 2 * (os.cpu_count() or 1) + 1


def pytest_collection_finish() -> None:
    """Leave all that was imported out of later collections: it takes them from tenths of a second to milliseconds."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def unused_tcp_port() -> Iterator[int]:
    """Give a port of this machine on which nobody listens, nor can any other test: it is taken while this one runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@pytest.fixture(autouse=True)
def _sockets_that_the_client_leaves_behind(request):
    """Collect what azure-servicebus forgets of a lost connection here, or it warns in the middle of some other test."""
    yield
    if request.path.parent.name in WITH_BROKER:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
