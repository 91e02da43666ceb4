"""The pytest plugin: a broker for each test that asks for one, in a thread of its own.

    def test_orders_are_shipped(servicebus_broker):
        client = ServiceBusClient.from_connection_string(servicebus_broker.connection_string)
        ...
        servicebus_broker.wait_until(lambda broker: broker.queue("orders").active == 0)

The queues are those of the file that the ini option `servicebus_queues` names; without it there is one, `queue`. A
project, a module or a class that needs others overrides the fixture `servicebus_queues`.
"""

from collections.abc import Iterator, Mapping

import pytest

from servicebus_sandbox.properties import QueueProperties, load_queues
from servicebus_sandbox.thread import BrokerThread


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option `servicebus_queues`."""
    parser.addini("servicebus_queues", "JSON file of the queues that the fixture servicebus_broker has", type="string")


@pytest.fixture
def servicebus_queues(pytestconfig: pytest.Config) -> Mapping[str, QueueProperties]:
    """Give the properties of the broker's queues by their names."""
    path = pytestconfig.getini("servicebus_queues")
    return load_queues(pytestconfig.rootpath / path) if path else {"queue": QueueProperties()}


@pytest.fixture
def servicebus_broker(servicebus_queues: Mapping[str, QueueProperties]) -> Iterator[BrokerThread]:
    """Run a broker while the test runs."""
    with BrokerThread(servicebus_queues) as broker:
        yield broker
