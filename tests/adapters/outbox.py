"""The outbox in front of the sandbox's broker, and messages to put into it."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from azure.servicebus.aio import ServiceBusClient

from optout_core.adapters.outbox import ServiceBusOutbox
from optout_core.outgoing import Outgoing, Queue

OPT_INS, DEAD_LETTERS = "opt-ins", "opt-ins-dead-letter"
QUEUES = {Queue.OPT_INS: OPT_INS, Queue.DEAD_LETTERS: DEAD_LETTERS}

#: Far enough ahead that nothing scheduled for it becomes visible during a test.
LATER = datetime(2100, 1, 1, 12, 30, tzinfo=UTC)


def outgoing(message_id, queue=Queue.DEAD_LETTERS, body=b'{"from": "+18001234567"}', **more):
    """Make a message that is ready to be sent."""
    return Outgoing(
        queue=queue, message_id=message_id, body=body, **{"content_type": "application/json", "properties": {}} | more
    )


class Connections:
    """Makes clients as `service` does, that try once where the SDK would try four times, and counts them."""

    def __init__(self, connection_string):
        self.made = 0
        self._connection_string = connection_string

    def __call__(self):
        self.made += 1
        return ServiceBusClient.from_connection_string(self._connection_string, retry_total=0)


@asynccontextmanager
async def open_outbox(connection_string, queues=QUEUES, timeout=10.0):  # noqa: ASYNC109 - of the outbox
    """Open an outbox; its `connections` are at hand."""
    connections = Connections(connection_string)
    outbox = ServiceBusOutbox(connections, queues, timeout)
    try:
        yield outbox, connections
    finally:
        await outbox.close()


def ids(broker, queue=DEAD_LETTERS):
    """Give the MessageIds in a queue, in order."""
    return [stored.message.message_id for stored in broker.queue(queue).messages()]


@asynccontextmanager
async def growth(broker, queue):
    """Yield a list that gets the number of messages each transfer brought to a queue."""
    size, steps = len(broker.queue(queue)), []

    def look():
        nonlocal size
        if len(broker.queue(queue)) != size:
            steps.append(len(broker.queue(queue)) - size)
            size = len(broker.queue(queue))
        return False

    watching = asyncio.create_task(broker.wait_until(look, timeout=60))
    await asyncio.sleep(0)
    yield steps
    watching.cancel()
    await asyncio.wait([watching])
