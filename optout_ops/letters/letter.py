"""A dead letter, decoded. Pure.

The reason why it is a dead letter stands in the properties of its message, its events stand in the body. Other clients
write dead letters too, so either may be anything.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from msgspec import structs

from optout_core import properties
from optout_core.arrivals import Arrival, Lineage, read_lineage
from optout_core.errors import EventError
from optout_core.events import Event, Ignored, OptIn, decode
from optout_core.masking import Untrusted, find_number
from optout_core.numbers import Number, person_key, read_number
from optout_core.reasons import Reason
from optout_ops.queues.messages import QueueMessage

#: The property with the MessageId of the dead letter that a message replays; the function does not copy it to a retry.
REPLAY_OF = "optout-replay-of"

#: The time of arrival that we give to the decoder, so that an event without a time of its own can be told by it.
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One dead letter, decoded.

    Attributes:
        message: The message as it lies in the queue.
        code: The reason code of its property `DeadLetterReason`, "" when there is none.
        lineage: How often its event was sent again.
        events: The events of its body, none of them later than its first arrival; empty when it cannot be decoded.
        decode_error: Why it cannot be decoded, or None.
        has_event_without_time: Whether an event in it does not say when the person decided.
        has_event_after_arrival: Whether an event in it has no time, or one after its first arrival. Sent again as it
            is, it would look newer than it is, and could beat a STOP that came between.
    """

    message: QueueMessage
    code: str
    lineage: Lineage
    events: tuple[Event, ...]
    decode_error: str | None
    has_event_without_time: bool
    has_event_after_arrival: bool

    @property
    def number(self) -> int:
        """Give the sequence number."""
        return self.message.sequence_number

    @property
    def reason(self) -> Reason | None:
        """Give the reason, or None when the code is not in the list of reasons."""
        return _REASONS.get(self.code)

    @property
    def description(self) -> str:
        """Give the text of its property `DeadLetterErrorDescription`."""
        return str(self.message.properties.get(properties.DEAD_LETTER_DESCRIPTION, ""))

    @property
    def status(self) -> int | None:
        """Give the last HTTP status of ACS, or None."""
        status = self.message.properties.get(properties.HTTP_STATUS)
        return status if isinstance(status, int) and not isinstance(status, bool) else None

    @property
    def error_code(self) -> str | None:
        """Give the last error code of ACS, or None."""
        code = self.message.properties.get(properties.ERROR_CODE)
        return code if isinstance(code, str) else None

    @property
    def sources(self) -> frozenset[str]:
        """Give the publishers of its events, as they are shown."""
        return frozenset(str(event.source) for event in self.events)

    @property
    def opt_ins(self) -> Iterator[OptIn]:
        """Yield the opt-ins in it."""
        return (event for event in self.events if isinstance(event, OptIn))

    @property
    def opt_ins_only(self) -> bool:
        """Say whether it holds opt-ins and nothing else."""
        return bool(self.events) and all(isinstance(event, OptIn) for event in self.events)

    @property
    def event_id(self) -> Untrusted:
        """Give the id of its event; where body and property name none, the MessageId or a digest."""
        return self.events[0].id if self.events else self.message.event_id

    @property
    def recipients(self) -> tuple[Number, ...]:
        """Give the recipients of its events; none when it cannot be decoded."""
        return tuple(to for event in self.events if not isinstance(event, Ignored) for to in event.recipients)

    @property
    def senders(self) -> frozenset[Number]:
        """Give the senders of its events."""
        return frozenset(event.sender for event in self.events if not isinstance(event, Ignored))

    @property
    def recipient_count(self) -> int:
        """Count the recipients; a dead letter that cannot be decoded counts as one."""
        return len(self.recipients) or 1

    def cases(self) -> Iterator[tuple[str, ...]]:
        """Give what is the same in every dead letter about one event and recipient; holds a number, never print it."""
        if self.decode_error is not None:
            yield self.message.id, self.fingerprint
        for event in self.events:
            if not isinstance(event, Ignored):
                yield from ((event.source.raw, event.id.raw, event.sender.text, to.text) for to in event.recipients)

    @property
    def fingerprint(self) -> str:
        """Give 16 hexadecimal characters that differ when id, reason or body differ."""
        digest = sha256()
        for part in ((self.message.message_id or "").encode(), self.code.encode(), self.message.body):
            digest.update(len(part).to_bytes(8) + part)
        return digest.hexdigest()[:16]

    def has_event(self, name: str) -> bool:
        """Say whether an event has this id, written in full or as it is shown."""
        ids = {self.event_id, *(event.id for event in self.events)}
        return any(name in {each.raw, str(each)} for each in ids)

    def has_source(self, name: str) -> bool:
        """Say whether an event is of this publisher, written in full or as it is shown."""
        return any(name in {event.source.raw, str(event.source)} for event in self.events)

    def has_recipient(self, written: str) -> bool:
        """Say whether a number is among the recipients, however either is written.

        The body of a dead letter that cannot be decoded is searched for the digits of the number.
        """
        number = read_number(written)
        if self.decode_error is not None:
            return find_number(self.message.body, number.digits)
        return person_key(number) in map(person_key, self.recipients)


_REASONS = {reason.value: reason for reason in Reason}


def read_letter(message: QueueMessage) -> Letter:
    """Decode a message of the dead-letter queue, whoever sent it; never raises."""
    lineage = read_lineage(message)
    decode_error: str | None = None
    try:
        decoded = decode(_without_arrival(message))
    except EventError as error:
        decoded, decode_error = (), str(error)
    times = [event.time for event in decoded if not isinstance(event, Ignored)]
    return Letter(
        message=message,
        code=str(message.properties.get(properties.DEAD_LETTER_REASON, "")),
        lineage=lineage,
        events=tuple(
            event
            if isinstance(event, Ignored)
            else structs.replace(event, time=min(event.time, lineage.first_enqueued))
            for event in decoded
        ),
        decode_error=decode_error,
        has_event_without_time=_NEVER in times,
        has_event_after_arrival=any(time > lineage.first_enqueued for time in times),
    )


def _without_arrival(arrival: Arrival) -> Arrival:
    """Take away what is known of the first arrival, so that what the events themselves say can be told from it."""
    facts = {name: value for name, value in arrival.properties.items() if name != properties.FIRST_ENQUEUED}
    return structs.replace(arrival, enqueued_at=_NEVER, properties=facts)


def recipients_by_replay(letters: Iterable[Letter]) -> dict[str, int]:
    """Count the recipients of dead letters by the id of the replay that sent them last; the others are left out."""
    counts: Counter[str] = Counter()
    for letter in letters:
        if letter.lineage.replay_id is not None:
            counts[letter.lineage.replay_id] += letter.recipient_count
    return dict(counts)
