"""Events that an operator publishes: read from text, held against the contract, given ids. Pure."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from optout_core.arrivals import Arrival
from optout_core.envelopes import Form
from optout_core.errors import EventError
from optout_core.events import CONTENT_TYPE, Event, Ignored, decode
from optout_core.messages import Outgoing, Queue

#: Service Bus allows no more (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas).
_MAX_ID = 128
#: Service Bus Standard takes 256 KB with everything around the body.
_MAX_BODY_BYTES = 250 * 1024


@dataclass(frozen=True, slots=True)
class Text:
    """Hold the bytes of one event and where they stand, such as `events.jsonl line 3`."""

    where: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Problem:
    """Say what is wrong with one event, numbers masked."""

    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Publication:
    """Hold one message to publish, and how many recipients its events have."""

    where: str
    events: tuple[Event, ...]
    outgoing: Outgoing

    @property
    def recipients(self) -> int:
        """Count the recipients."""
        return sum(len(event.recipients) for event in self.events if not isinstance(event, Ignored))


def split(name: str, content: bytes, *, lines: bool) -> Iterator[Text]:
    """Split what was read into events: one a line, or all of it as one."""
    if not lines:
        yield Text(name, content)
        return
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            yield Text(f"{name} line {number}", line)


def examine(texts: Iterable[Text], now: datetime, scheduled_at: datetime | None) -> Iterator[Publication | Problem]:
    """Hold each event against the contract.

    Args:
        texts: The events.
        now: The current time; aware.
        scheduled_at: When the broker makes them visible; aware; None for at once.
    """
    seen: dict[str, tuple[str, bytes]] = {}
    for text in texts:
        name = sha256(text.body).hexdigest()
        try:
            events = decode(Arrival(text.body, scheduled_at or now, name))
        except EventError as error:
            yield Problem(text.where, str(error))
            continue
        if all(isinstance(event, Ignored) for event in events):
            yield Problem(text.where, "the function would ignore it: it is neither an opt-in nor an opt-out")
        elif len(text.body) > _MAX_BODY_BYTES:
            yield Problem(text.where, f"it has {len(text.body):,} bytes and may have {_MAX_BODY_BYTES:,}: split it")
        elif scheduled_at is not None and any(_takes_its_time_from_arrival(event, scheduled_at) for event in events):
            yield Problem(text.where, "it has no `time`, and would pass for decided when it arrives: give it one")
        else:
            publication = Publication(text.where, events, _outgoing(text.body, events, scheduled_at))
            where, body = seen.setdefault(publication.outgoing.message_id, (text.where, text.body))
            if where == text.where:
                yield publication
            elif body != text.body:
                yield Problem(
                    text.where, f"it has the source and id of {where}, and would be dropped as the same event"
                )


def _takes_its_time_from_arrival(event: Event, arrival: datetime) -> bool:
    return not isinstance(event, Ignored) and event.time == arrival


def _outgoing(body: bytes, events: tuple[Event, ...], scheduled_at: datetime | None) -> Outgoing:
    canonical = all(event.form is Form.CLOUD_EVENT for event in events) and not body.lstrip().startswith(b"[")
    return Outgoing(
        queue=Queue.OPT_INS,
        message_id=_message_id(events),
        body=body,
        content_type=CONTENT_TYPE if canonical else "application/json",
        properties={},
        scheduled_at=scheduled_at,
    )


def _message_id(events: tuple[Event, ...]) -> str:
    # The same events get the same id, so a resend within the window of duplicate detection is dropped by the broker.
    # A bare request has no id of its own: there the event's id is the digest of its bytes.
    if len(events) == 1:
        name = f"{events[0].source}/{events[0].id}"
        if len(name) <= _MAX_ID:
            return name
    return sha256(json.dumps([(event.source, event.id) for event in events]).encode()).hexdigest()
