"""A dead letter described for people and for programs, numbers masked unless they are revealed. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from optout_core import properties
from optout_core.masking import mask_body, show, show_value
from optout_core.reasons import Reason, Replay
from optout_ops.letters.hazards import hazard
from optout_ops.letters.letter import Letter
from optout_ops.letters.verdicts import ReplayVerdict
from optout_ops.queues.messages import MessageState
from optout_ops.wording import count, duration, utc

#: More recipients than this are counted and not listed.
_LISTED = 20


def short_document(letter: Letter, verdict: ReplayVerdict) -> dict[str, Any]:
    """Describe a dead letter in the facts of one line of `optout dlq list`."""
    return {
        "sequenceNumber": letter.number,
        "messageId": show(letter.message.message_id or ""),
        "state": str(letter.message.state),
        "reason": show(letter.code),
        "deadLetteredAt": letter.message.enqueued_at.isoformat(),
        "event": str(letter.event_id),
        "senders": sorted(map(str, letter.senders)),
        "recipients": letter.recipient_count,
        "of": letter.lineage.of or letter.recipient_count,
        "attempts": letter.lineage.attempt,
        "status": letter.status,
        "replays": letter.lineage.replay_count,
        "verdict": str(verdict.advice),
        "why": show(verdict.why),
        "culprit": hazard(letter.message),
    }


def full_document(letter: Letter, verdict: ReplayVerdict, *, reveal: bool) -> dict[str, Any]:
    """Describe a dead letter in all its facts; with `reveal` numbers of recipients and body are not masked."""
    body = letter.message.body
    return short_document(letter, verdict) | {
        "recipientNumbers": [to.text if reveal else str(to) for to in letter.recipients],
        "description": show(letter.description),
        "firstEnqueuedAt": letter.lineage.first_enqueued.isoformat(),
        "hop": letter.lineage.hop,
        "replay": letter.lineage.replay_id,
        "deliveryCount": letter.message.delivery_count,
        "unreadable": letter.decode_error,
        "properties": {show(name): show_value(value) for name, value in letter.message.properties.items()},
        "body": body.decode(errors="replace") if reveal else mask_body(body),
    }


def story(letter: Letter, document: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, str]]:
    """Tell a dead letter as a person reads it: yields a label and a text for each line.

    Args:
        letter: The dead letter.
        document: Its `full_document`.
        now: The current time; aware.
    """
    lineage, facts = letter.lineage, letter.message.properties
    numbers = document["recipientNumbers"]
    more = f" and {len(numbers) - _LISTED:,} more" if len(numbers) > _LISTED else ""
    answer = ", ".join(
        f"{label} {facts[name]}"
        for label, name in (
            ("HTTP", properties.HTTP_STATUS),
            ("code", properties.ERROR_CODE),
            ("MS-CV", properties.MS_CV),
        )
        if name in facts
    )
    rounds = f"{count(lineage.attempt, 'attempt')} used up, re-sent {count(lineage.hop, 'time')}"
    if lineage.replay_count:
        rounds += f", replayed {lineage.replay_count} times, last by {lineage.replay_id}"
    waiting = duration(now - letter.message.enqueued_at)
    recipients = f"{document['recipients']} of {document['of']}"
    yield "Dead letter", f"{letter.number} ({document['messageId'] or 'no MessageId'})"
    yield "Reason", f"{document['reason'] or '(none)'}: {document['description'] or meaning(letter.code)}"
    if letter.message.state is not MessageState.ACTIVE:
        yield "State", f"{letter.message.state}: the queue does not give it out"
    yield "Since", f"{utc(letter.message.enqueued_at)} UTC, {waiting} ago"
    yield "Event", f"{document['event']}, first seen {utc(lineage.first_enqueued)} UTC; {rounds}"
    yield "Sender", ", ".join(document["senders"]) or "unknown"
    yield "Recipients", f"{recipients}: {', '.join(numbers[:_LISTED]) or 'unknown'}{more}"
    yield "ACS said", answer or "nothing: it was not asked, or did not answer"


def advice(letter: Letter, verdict: ReplayVerdict) -> str:
    """Say what to do about a dead letter: a command to type, and the section of the runbook."""
    section = f"docs/runbook.md#{letter.code.lower()}" if letter.reason is not None else "docs/runbook.md"
    which = f"--number {letter.number}"
    edit = "leave it; "
    if letter.decode_error is not None:
        edit = f"to mend it: optout dlq edit {letter.number}; "
    elif letter.message.unread or hazard(letter.message):
        edit = f"to mend it: optout dlq edit --properties {letter.number}; "
    command = {
        Replay.SAFE: f"optout dlq replay {which}",
        Replay.AFTER_A_FIX: f"mend the cause, then: optout dlq replay --fixed {which}",
        Replay.DONE: f"nothing is left to do; to remove it: optout dlq purge {which}",
        Replay.NEVER: f"{edit}to remove it: optout dlq purge {which}",
    }[verdict.advice]
    return f"{command} (see {section})"


def meaning(code: str) -> str:
    """Say what a reason code means."""
    meanings = {reason.value: reason.meaning for reason in Reason}
    return meanings.get(code, "not a reason of the function: another program put it here")
