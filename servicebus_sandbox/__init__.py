"""A Service Bus compatible broker on loopback, for tests and demonstrations.

    async with Broker({"orders": QueueProperties()}) as broker:
        async with ServiceBusClient.from_connection_string(broker.connection_string) as client: ...
        await broker.wait_until(lambda: broker.queue("orders").active == 0)

It speaks AMQP 1.0 and knows what the azure-servicebus client asks of a queue without sessions. From the wire inwards:
`server`, `connection` and `framing` (bytes, frames), `session` and `links` (credit, windows, deliveries), `nodes`
(addresses, rights), `queue_links` and `management` (what clients do), `exchange` (what they share), `namespace`,
`queues` and `lifecycle` (what happens to messages, without I/O). Below: `messages`, `sections`, `frames`, `encode`,
`decode` and `amqp`, the data of the protocol.
"""

from servicebus_sandbox.access import LISTEN, MANAGE, SEND, AccessKey
from servicebus_sandbox.errors import EntityNotFound, Refused, ServerBusy
from servicebus_sandbox.limits import Limits
from servicebus_sandbox.properties import QueueProperties, load_queues
from servicebus_sandbox.queues import Queue
from servicebus_sandbox.server import Broker
from servicebus_sandbox.stored import State, Stored
from servicebus_sandbox.thread import BrokerThread

__all__ = [
    "LISTEN",
    "MANAGE",
    "SEND",
    "AccessKey",
    "Broker",
    "BrokerThread",
    "EntityNotFound",
    "Limits",
    "Queue",
    "QueueProperties",
    "Refused",
    "ServerBusy",
    "State",
    "Stored",
    "load_queues",
]
