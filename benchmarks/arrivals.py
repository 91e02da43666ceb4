"""Measure the way in: from what the host hands over for a batch to the arrivals that the core reads.

    python -m benchmarks.arrivals

Prints the processor time of a message by the size of its batch, which must not grow with it: one message of ordinary
size with seven application properties, and one whose properties the client library cannot read, so that they are taken
from the metadata that the host sends beside.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from uuid import UUID

from optout_core.adapters.trigger import WholeMessagesConverter
from sandbox.handover import hand_over
from sandbox.receiver import Delivery
from servicebus_sandbox.amqp import DecimalBits, Long, Symbol, Timestamp, Uint
from servicebus_sandbox.encode import encode

SIZES = (10, 100, 1000)
NOW = datetime.now(UTC)
BODY = json.dumps(
    {
        "specversion": "1.0",
        "type": "sms.opt-in.v1",
        "source": "urn:benchmark",
        "id": "event-1",
        "data": {"from": "+18001234567", "recipients": [{"to": "+15555550001"}]},
    }
).encode()
PROPERTIES: dict[str, object] = {
    "optout-event-id": "event-1",
    "optout-attempt": 1,
    "optout-hop": 1,
    "optout-first-enqueued": NOW.isoformat(),
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tenant": "contoso",
    "priority": 5,
}
#: 33802.4489 as .NET writes it, which the client library cannot read.
DECIMAL = DecimalBits(bytes.fromhex("3038000000000000000000001425d829"))


def encoded(number: int, properties: dict[str, object]) -> bytes:
    """Encode a message as the broker hands it out."""
    millis = Timestamp(NOW.timestamp() * 1000)
    annotations = {Symbol("x-opt-sequence-number"): Long(number), Symbol("x-opt-enqueued-time"): millis}
    header = [None, None, None, None, Uint(0)]
    standard = [f"message-{number}", None, None, None, None, "c", Symbol("application/json")]
    sections = ((0x70, header), (0x72, annotations), (0x73, standard), (0x74, properties), (0x75, BODY))
    return b"".join(b"\x00\x53" + bytes((code,)) + encode(content) for code, content in sections)


def cost(size: int, properties: dict[str, object]) -> float:
    """Give the microseconds of processor time that a message of such a batch takes, of the best of some rounds."""
    batch = [Delivery(number, UUID(int=number), encoded(number, properties)) for number in range(size)]
    data, metadata = hand_over(batch, "namespace.example")
    times = []
    for _ in range(max(5, 2000 // size)):
        started = time.process_time()
        taken = [message.arrival(NOW) for message in WholeMessagesConverter.decode(data, trigger_metadata=metadata)]
        times.append(time.process_time() - started)
        if taken[-1].body != BODY:
            raise RuntimeError("the messages were not read: these numbers mean nothing")
    return min(times) / size * 1e6


def main() -> None:
    """Print the times."""
    print(f"{'messages in the batch':<24}" + "".join(f"{size:>10,}" for size in SIZES))
    for name, properties in (("ordinary", PROPERTIES), ("with a decimal property", PROPERTIES | {"amount": DECIMAL})):
        print(f"{name:<24}" + "".join(f"{cost(size, properties):>7.0f} µs" for size in SIZES))


if __name__ == "__main__":
    main()
