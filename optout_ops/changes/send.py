"""The sending of events: split from files, held against the contract, given ids, published at a pace."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from optout_core.arrivals import Arrival
from optout_core.envelopes import Form
from optout_core.errors import EventError
from optout_core.events import CONTENT_TYPE, Event, Ignored, decode
from optout_core.masking import show
from optout_core.outgoing import Outgoing, Queue
from optout_ops.queues.pacing import Pace, send_at_pace
from optout_ops.queues.protocols import QueuePair
from optout_ops.run import Run

#: Characters of a MessageId (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas).
_MAX_ID = 128
#: A message of Service Bus Standard has at most 256 KB, properties and AMQP envelope included.
_MAX_BODY_BYTES = 250 * 1024


@dataclass(frozen=True, slots=True)
class EventText:
    """The bytes of one event, not yet read.

    Attributes:
        where: Where they stand, such as `events.jsonl line 3`.
        body: The bytes.
    """

    where: str
    body: bytes


@dataclass(frozen=True, slots=True)
class EventProblem:
    """Why one event cannot be sent.

    Attributes:
        where: Where it stands.
        why: The reason in words, numbers masked.
    """

    where: str
    why: str


@dataclass(frozen=True, slots=True)
class EventMessage:
    """A message to publish that keeps the contract.

    Attributes:
        where: Where its text stands.
        events: The events in it; at least one is no `Ignored`.
        outgoing: The message.
    """

    where: str
    events: tuple[Event, ...]
    outgoing: Outgoing

    @property
    def recipients(self) -> int:
        """Count the recipients of its events."""
        return sum(len(event.recipients) for event in self.events if not isinstance(event, Ignored))


def split(name: str, content: bytes, *, lines: bool) -> Iterator[EventText]:
    """Split the content of a file into events: one event a line, or the whole file as one event."""
    if not lines:
        yield EventText(name, content)
        return
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            yield EventText(f"{name} line {number}", line)


def examine(
    texts: Iterable[EventText], *, now: datetime, scheduled_at: datetime | None
) -> Iterator[EventMessage | EventProblem]:
    """Hold each event against the contract; the same event twice becomes one message.

    Args:
        texts: The events.
        now: The current time; aware.
        scheduled_at: When the broker delivers them; aware; None for at once.
    """
    seen: dict[str, EventText] = {}
    for text in texts:
        try:
            events = decode(
                Arrival(body=text.body, enqueued_at=scheduled_at or now, message_id=sha256(text.body).hexdigest())
            )
        except EventError as error:
            yield EventProblem(text.where, str(error))
            continue
        if problem := _problem(text, events, scheduled_at):
            yield EventProblem(text.where, problem)
            continue
        outgoing = _outgoing(text.body, events, scheduled_at)
        first = seen.setdefault(outgoing.message_id, text)
        if first is text:
            yield EventMessage(text.where, events, outgoing)
        elif first.body != text.body:
            yield EventProblem(
                text.where, f"it has the source and id of {first.where}, and would be dropped as the same event"
            )


def _problem(text: EventText, events: tuple[Event, ...], scheduled_at: datetime | None) -> str | None:
    if all(isinstance(event, Ignored) for event in events):
        return "the function would ignore it: it is neither an opt-in nor an opt-out"
    if len(text.body) > _MAX_BODY_BYTES:
        return f"it has {len(text.body):,} bytes and may have {_MAX_BODY_BYTES:,}: split it"
    if scheduled_at is not None and any(_takes_its_time_from_arrival(event, scheduled_at) for event in events):
        return "the event has no `time`; with --at it would be dated when it is delivered. Add `time`"
    return None


async def publish(
    queues: QueuePair,
    messages: Sequence[EventMessage],
    *,
    pace: Pace,
    run: Run,
) -> int:
    """Send messages until all are sent or the run is stopped.

    Returns:
        How many the broker has.

    Raises:
        OutOfReach: The broker did not take a burst; sending all of them again adds none twice.
    """
    run.recorder.write("begin", namespace=queues.namespace, queue=queues.names[Queue.OPT_INS], messages=len(messages))
    outgoing = [each.outgoing for each in messages]
    sent = 0
    with run.recorder.ended() as end:
        async for sent in send_at_pace(queues.send, outgoing, pace=pace, stop=run.stop):
            end |= {"sent": sent, "ids": [show(each.message_id) for each in outgoing[:sent]]}
            run.advance(sent)
        run.note_interruption(end)
    return sent


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
    # The same events get the same id, so the broker drops them as duplicates when they are sent again within 24 hours.
    # A bare request has no id: `examine` gives it the digest of its bytes.
    if len(events) == 1:
        name = f"{events[0].source.raw}/{events[0].id.raw}"
        if len(name) <= _MAX_ID:
            return name
    return sha256(json.dumps([(event.source.raw, event.id.raw) for event in events]).encode()).hexdigest()
