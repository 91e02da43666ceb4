"""Events before they are sent: split from files, held against the contract and the rule of the function. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from msgspec import structs

from optout_core.arrivals import Arrival
from optout_core.consent import OptInRule
from optout_core.envelopes import Form
from optout_core.errors import EventError
from optout_core.events import CONTENT_TYPE, Event, Ignored, OptIn, decode
from optout_core.keywords import Keywords
from optout_core.outgoing import Outgoing, Queue
from optout_core.reasons import Reason
from optout_ops.wording import count, duration

#: The arrival that an event is given when it is examined: one that has this time then says none itself.
_UNDATED = datetime.max.replace(tzinfo=UTC)
#: Clocks of two machines may differ so far.
_SKEW = timedelta(minutes=1)
#: A message of Service Bus Standard has at most 256 KB, properties and AMQP envelope included.
_MAX_BODY_BYTES = 250 * 1024
#: Why the function would refuse a recipient, in words for whoever still can change the event.
_WHY = {
    Reason.RECIPIENT_REJECTED: "it is no phone number",
    Reason.SENDER_NOT_ALLOWED: "the sender is not in ALLOWED_SENDERS",
    Reason.UNCLEAR_OPT_OUT: "it is no number with its country",
}


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
        warnings: What would become of it that its publisher hardly wants, in words, numbers masked.
    """

    where: str
    events: tuple[Event, ...]
    outgoing: Outgoing
    warnings: tuple[str, ...] = ()

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
    texts: Iterable[EventText],
    *,
    rule: OptInRule,
    keywords: Keywords,
    now: datetime,
    scheduled_at: datetime | None,
) -> Iterator[EventMessage | EventProblem]:
    """Hold each event against the contract and the rule; the same event twice becomes one message.

    Args:
        texts: The events.
        rule: What an opt-in has to satisfy.
        keywords: The texts that are a STOP or an opt-in.
        now: The current time; aware.
        scheduled_at: When the broker delivers them; aware; None for at once.
    """
    first: dict[str, EventText] = {}
    for text in texts:
        try:
            events = decode(
                Arrival(body=text.body, enqueued_at=_UNDATED, message_id=sha256(text.body).hexdigest()), keywords
            )
        except EventError as error:
            yield EventProblem(text.where, str(error))
            continue
        if problem := _problem(text, events, scheduled_at):
            yield EventProblem(text.where, problem)
            continue
        outgoing = _outgoing(text.body, events, scheduled_at)
        known = first.setdefault(outgoing.message_id, text)
        if known is text:
            warnings = [each for event in events for each in _warnings(event, rule, now, scheduled_at or now)]
            yield EventMessage(text.where, events, outgoing, tuple(warnings))
        elif known.body != text.body:
            yield EventProblem(
                text.where, f"it has the source and id of {known.where}, and would be dropped as the same event"
            )


def undated_consents(messages: Iterable[EventMessage]) -> int:
    """Count the opt-ins of publishers that do not say when the consent was given."""
    return sum(
        isinstance(event, OptIn)
        and event.form is not Form.EVENT_GRID
        and (event.consent is None or event.consent.captured_at is None)
        for message in messages
        for event in message.events
    )


def _problem(text: EventText, events: tuple[Event, ...], scheduled_at: datetime | None) -> str | None:
    if all(isinstance(event, Ignored) for event in events):
        return "the function would ignore it: it is neither an opt-in nor an opt-out"
    if len(text.body) > _MAX_BODY_BYTES:
        return f"it has {len(text.body):,} bytes and may have {_MAX_BODY_BYTES:,}: split it"
    if scheduled_at is not None and any(not isinstance(each, Ignored) and each.time == _UNDATED for each in events):
        return "the event has no `time`; with --at it would be dated when it is delivered. Add `time`"
    return None


def _warnings(event: Event, rule: OptInRule, now: datetime, delivered_at: datetime) -> Iterator[str]:
    if isinstance(event, Ignored):
        yield "it holds an event that the function would ignore"
        return
    if event.time == _UNDATED:
        yield "it says no time that can be read: its arrival will count as when the person decided"
    elif event.time > now + _SKEW:
        yield f"its time lies {duration(event.time - now)} ahead: its arrival will count instead"
    arrived = structs.replace(event, time=min(event.time, delivered_at))
    for reason, number in Counter(rule.objections(arrived, delivered_at).values()).items():
        if reason is Reason.STALE_OPT_IN:
            age = duration(delivered_at - event.time)
            why = f"the opt-in is {age} old then, and OPT_IN_MAX_AGE is {duration(rule.max_age)}"
        else:
            why = _WHY[reason]
        yield f"{number:,} of {count(len(event.recipients), 'recipient')} would be dead-lettered {reason}: {why}"


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
    if events[0].form is Form.BARE_REQUEST:
        # It has no id of its own: the function takes the MessageId for one, and here that is the digest of its bytes.
        return events[0].id.raw
    # As docs/events.md says. An id is unique within its source only; a hash holds no number, which the host would log.
    names = "\n".join(f"{event.source.raw}\n{event.id.raw}" for event in events)
    return sha256(names.encode()).hexdigest()
