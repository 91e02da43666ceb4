"""The events that are measured, in memory and as the host hands them over; no number comes twice."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID

from optout_core.arrivals import Arrival
from sandbox.handover import hand_over
from sandbox.receiver import Delivery
from servicebus_sandbox.amqp import Long, Symbol, Timestamp, Uint
from servicebus_sandbox.encode import encode

SENDER = "+18001234567"
#: Of the numbers that begin with +1555.
_DIGITS = 7

#: Some publishers set a few; none has to.
_PROPERTIES = {"tenant": "contoso", "priority": 5}


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes events of so many recipients each."""

    recipients: int = 1
    _numbers: Iterator[int] = field(default_factory=count)
    _events: Iterator[int] = field(default_factory=count)

    def people(self, total: int) -> list[str]:
        """Give so many numbers that were not given before; they begin anew after ten million."""
        return [f"+1555{next(self._numbers) % 10**_DIGITS:0{_DIGITS}}" for _ in range(total)]

    def bodies(self, events: int) -> list[bytes]:
        """Write canonical events."""
        return [self._body(next(self._events)) for _ in range(events)]

    def arrivals(self, events: int) -> list[Arrival]:
        """Make messages as the core reads them."""
        now = datetime.now(UTC)
        return [
            Arrival(
                body=body,
                enqueued_at=now,
                message_id=f"message-{number}",
                content_type="application/json",
                properties=_PROPERTIES,
            )
            for number, body in enumerate(self.bodies(events))
        ]

    def handed_over(self, events: int) -> tuple[Any, dict[str, Any]]:
        """Make the same messages as the host sends them to the worker in one batch: their data and metadata."""
        batch = [
            Delivery(number, UUID(int=number), encoded(body, number)) for number, body in enumerate(self.bodies(events))
        ]
        return hand_over(batch, "namespace.example")

    def _body(self, number: int) -> bytes:
        event = {
            "specversion": "1.0",
            "type": "sms.opt-in.v1",
            "source": "urn:benchmark",
            "id": f"event-{number}",
            "time": datetime.now(UTC).isoformat(),
            "data": {
                "from": SENDER,
                "recipients": [{"to": to} for to in self.people(self.recipients)],
                "consent": {"method": "web-form", "reference": f"form/{number}"},
            },
        }
        return json.dumps(event).encode()


def encoded(body: bytes, number: int) -> bytes:
    """Encode a message as the broker hands it out."""
    millis = Timestamp(int(datetime.now(UTC).timestamp() * 1000))
    annotations = {Symbol("x-opt-sequence-number"): Long(number), Symbol("x-opt-enqueued-time"): millis}
    standard = [f"message-{number}", None, None, None, None, None, Symbol("application/json")]
    sections = (
        (0x70, [None, None, None, None, Uint(0)]),
        (0x72, annotations),
        (0x73, standard),
        (0x74, _PROPERTIES),
        (0x75, body),
    )
    return b"".join(b"\x00\x53" + bytes((code,)) + encode(content) for code, content in sections)
