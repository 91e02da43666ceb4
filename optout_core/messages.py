"""Retry messages and dead letters: body, properties, ids. Pure; the outbox sends what is made here.

The body of both is a canonical event that holds only the recipients it is about, so sending a dead letter back to the
queue unchanged is its replay. Ids are deterministic: when the process dies between sending and completing, the broker's
duplicate detection drops what is sent again. And no re-send ever repeats an id, because the hop is part of it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256

from msgspec import to_builtins

from optout_core import properties
from optout_core.arrivals import Arrival, Lineage
from optout_core.errors import EventError
from optout_core.events import CONTENT_TYPE, OptIn, OptOut, encode
from optout_core.masking import Untrusted, holds_number, show
from optout_core.numbers import Number
from optout_core.outcomes import Outcome
from optout_core.outgoing import Outgoing, Queue
from optout_core.reasons import Reason
from optout_core.settlement import DeadLetter, RetryLater, Settlement

#: Service Bus Standard takes 256 KB for body and properties; 64 KB of it may be properties
#: (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas).
MAX_BODY_BYTES = 192 * 1024
#: Characters of a DeadLetterErrorDescription (docs/design.md, "Names that other people depend on").
MAX_DESCRIPTION = 1024
#: The id may have 128 characters; kind, hop, hash and part take 27 of them at most.
_MAX_ROOT = 96
_MAX_ANSWERS = 3

_ALONE = {properties.ALONE: 1}


class Kind(StrEnum):
    """Why a message is sent again; the letter stands in its id."""

    RETRY = "r"
    DEAD_LETTER = "d"
    REPLAY = "p"


def retry_messages(
    event: OptIn | OptOut, lineage: Lineage, settlements: Mapping[Number, Settlement]
) -> Iterator[Outgoing]:
    """Make the messages in which recipients wait for their next try.

    Args:
        event: The event.
        lineage: How often it has been round.
        settlements: What becomes of each of its recipients.

    Yields:
        One message for each number of attempts used up, one more for those who are asked for apart, and more only
        where a body would outgrow `MAX_BODY_BYTES`.
    """
    waiting: dict[tuple[int, bool], dict[Number, datetime]] = {}
    for recipient, settlement in settlements.items():
        if isinstance(settlement, RetryLater):
            waiting.setdefault((settlement.attempt, settlement.alone), {})[recipient] = settlement.at
    for (attempt, alone), times in waiting.items():
        for part, body in _bodies(event, tuple(times)):
            yield Outgoing(
                queue=Queue.OPT_INS,
                message_id=message_id(event, Kind.RETRY, lineage, (str(attempt), *_texts(part))),
                body=body,
                content_type=CONTENT_TYPE,
                properties=_properties(event, lineage, attempt, len(part)) | (_ALONE if alone else {}),
                scheduled_at=max(map(times.__getitem__, part)),
                correlation_id=lineage.correlation_id,
            )


def dead_letters(
    event: OptIn | OptOut, lineage: Lineage, settlements: Mapping[Number, Settlement]
) -> Iterator[Outgoing]:
    """Make the dead letters of an event.

    Args:
        event: The event.
        lineage: How often it has been round.
        settlements: What becomes of each of its recipients.

    Yields:
        One message for each reason, and more only where a body would outgrow `MAX_BODY_BYTES`.
    """
    dead: dict[Reason, dict[Number, Outcome | None]] = {}
    for recipient, settlement in settlements.items():
        if isinstance(settlement, DeadLetter):
            dead.setdefault(settlement.reason, {})[recipient] = settlement.outcome
    for reason, outcomes in dead.items():
        for part, body in _bodies(event, tuple(outcomes)):
            answers = [outcome for recipient in part if (outcome := outcomes[recipient])]
            # What was never sent used up no attempt.
            attempt = lineage.attempt + bool(answers)
            yield Outgoing(
                queue=Queue.DEAD_LETTERS,
                message_id=message_id(event, Kind.DEAD_LETTER, lineage, (reason, *_texts(part))),
                body=body,
                content_type=CONTENT_TYPE,
                properties=_properties(event, lineage, attempt, len(part)) | _verdict(reason, answers),
                correlation_id=lineage.correlation_id,
                reason=reason,
            )


def undecodable(arrival: Arrival, lineage: Lineage, error: EventError) -> Outgoing:
    """Make the dead letter of a message that is no event we know: bytes, type and properties as they came.

    A property of ours in which somebody else wrote a phone number is left out.
    """
    letter = Outgoing(
        queue=Queue.DEAD_LETTERS,
        message_id=_id(arrival.id, Kind.DEAD_LETTER, lineage, (error.reason.encode(), arrival.body)),
        body=arrival.body,
        content_type=arrival.content_type,
        properties={
            **{name: value for name, value in arrival.properties.items() if not _misuses(name, value)},
            **_lineage_properties(arrival.event_id, lineage, lineage.attempt),
            properties.DEAD_LETTER_REASON: error.reason.value,
            properties.DEAD_LETTER_DESCRIPTION: show(f"{error}; {error.reason.meaning}")[:MAX_DESCRIPTION],
        },
        correlation_id=lineage.correlation_id,
        reason=error.reason,
    )
    return letter.bounded()


def _misuses(name: str, value: object) -> bool:
    return name in properties.OURS and holds_number(str(value))


def message_id(event: OptIn | OptOut, kind: Kind, lineage: Lineage, about: Iterable[str]) -> str:
    """Give the id `<root>:<kind><hop>:<hash>`, at most 128 characters, the same for the same message every time.

    Args:
        event: The event; its source and id are the root, hashed when long or when a number may stand in it.
        kind: Why it is sent again.
        lineage: How often the event has been round before; no two re-sends of an event share a hop.
        about: What tells this message from the others of the same event and hop: reason or attempt, and recipients.
    """
    facts = (event.source.raw, event.id.raw, _written(event.time), event.sender.text, *about)
    return _id(f"{event.source.raw}/{event.id.raw}", kind, lineage, map(str.encode, facts))


def _id(root: str, kind: Kind, lineage: Lineage, about: Iterable[bytes]) -> str:
    # The hop starts anew when somebody publishes an event again without our properties; its time of arrival differs.
    return f"{_short(root)}:{kind}{lineage.hop + 1}:{_digest(_written(lineage.first_enqueued).encode(), *about)}"


def _written(moment: datetime) -> str:
    """Write a time as `isoformat` does, in a third of the time if it is in UTC."""
    return f"{to_builtins(moment)[:-1]}+00:00" if moment.tzinfo is UTC else moment.isoformat()


def _short(name: str) -> str:
    # The host writes every MessageId into its log.
    is_fit = len(name) <= _MAX_ROOT and name.isprintable() and not holds_number(name)
    return name if is_fit else sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]


def _texts(recipients: Iterable[Number]) -> list[str]:
    return [recipient.text for recipient in recipients]


def _digest(*parts: bytes) -> str:
    return sha256(b"".join([_length(len(part)) + part for part in parts])).hexdigest()[:16]


@lru_cache(maxsize=256)
def _length(size: int) -> bytes:
    # Most parts are short, and of a few lengths.
    return size.to_bytes(8)


def _bodies(event: OptIn | OptOut, recipients: tuple[Number, ...]) -> Iterator[tuple[tuple[Number, ...], bytes]]:
    body = encode(event, recipients)
    if len(body) <= MAX_BODY_BYTES or len(recipients) == 1:
        yield recipients, body
    else:
        middle = len(recipients) // 2
        yield from _bodies(event, recipients[:middle])
        yield from _bodies(event, recipients[middle:])


def _properties(event: OptIn | OptOut, lineage: Lineage, attempt: int, recipients: int) -> dict[str, object]:
    facts = _lineage_properties(event.id, lineage, attempt)
    facts[properties.RECIPIENTS] = recipients
    facts[properties.OF] = lineage.of or len(event.recipients)
    return facts


def _lineage_properties(event_id: Untrusted, lineage: Lineage, attempt: int) -> dict[str, object]:
    facts: dict[str, object] = {
        **lineage.trace,
        properties.EVENT_ID: str(event_id),
        properties.ATTEMPT: attempt,
        properties.HOP: lineage.hop + 1,
        properties.FIRST_ENQUEUED: _written(lineage.first_enqueued),
    }
    if lineage.replay_id is not None:
        facts |= {properties.REPLAY_ID: lineage.replay_id, properties.REPLAY_COUNT: lineage.replay_count}
    return facts


def _said(outcomes: list[Outcome]) -> str:
    """Quote the answers that most of them had; nearly always there is one, and every outcome is the same object."""
    if len(outcomes) == 1 or len(set(map(id, outcomes))) == 1:
        return f"{outcomes[0]} ({len(outcomes)})"
    answers = Counter(map(str, outcomes))
    return "; ".join(f"{answer} ({count})" for answer, count in answers.most_common(_MAX_ANSWERS))


def _verdict(reason: Reason, outcomes: list[Outcome]) -> dict[str, object]:
    said = _said(outcomes)
    verdict: dict[str, object] = {
        properties.DEAD_LETTER_REASON: reason.value,
        properties.DEAD_LETTER_DESCRIPTION: f"{reason.meaning}; ACS said: {said}"[:MAX_DESCRIPTION]
        if said
        else reason.meaning,
    }
    for outcome in outcomes[:1]:
        if outcome.status is not None:
            verdict[properties.HTTP_STATUS] = outcome.status
        if outcome.error_code is not None:
            verdict[properties.ERROR_CODE] = outcome.error_code
        if outcome.ms_cv is not None:
            verdict[properties.MS_CV] = outcome.ms_cv
    return verdict
