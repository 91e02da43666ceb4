"""Messages that are encoded already, in a batch of azure-servicebus."""

from azure.servicebus import ServiceBusMessageBatch

from optout_ops.queues.messages import EncodedMessage

#: Where the messages of a batch stand, and bytes that one more takes beside its own.
_DATA, _IN_BATCH = 5, 8


def fits(batch: ServiceBusMessageBatch, message: EncodedMessage) -> bool:
    """Say whether a message fits into a batch."""
    return batch.size_in_bytes + len(message.content) + _IN_BATCH <= batch.max_size_in_bytes


def add(batch: ServiceBusMessageBatch, message: EncodedMessage) -> None:
    """Add a message to a batch."""
    # The library encodes what it adds to a batch. It has no public way to add what is encoded.
    batch._message[_DATA].append(message.content)
    batch._size += len(message.content) + _IN_BATCH
    batch._count += 1
