"""What is sent instead of a dead letter: replays, edited ones, and dead letters put back from an archive. Pure.

Ids are deterministic and say nothing of who replays or when, so the same dead letter gets the same id at every try: a
replay that was cut off between sending and completing cannot send twice while duplicate detection remembers the id. The
hop rises, so no id was ever used before.
"""

from dataclasses import replace
from hashlib import sha256

from optout_core import arrivals
from optout_core.events import CONTENT_TYPE, Ignored, OptIn, encode
from optout_core.messages import Kind, Outgoing, Queue, message_id
from optout_ops.letters.dead_letters import REPLAY_OF, DeadLetter

_OF_DEAD_LETTERS = frozenset(
    {
        arrivals.DEAD_LETTER_REASON,
        arrivals.DEAD_LETTER_DESCRIPTION,
        arrivals.HTTP_STATUS,
        arrivals.ERROR_CODE,
        arrivals.MS_CV,
    }
)
_CLOUD_EVENTS = ("cloudevents:", "cloudevents_")


def replay(dead: DeadLetter, replay_id: str) -> Outgoing:
    """Make the message that goes back to the queue.

    The body stays as it is. The one exception: an event that says nothing of when the person decided, or a time after
    it reached us, would be taken for a new one, so it is written anew with the time we know.
    """
    message = dead.message
    body, content_type, properties = message.body, message.content_type, dict(message.properties)
    if dead.late and len(dead.events) == 1 and not isinstance(event := dead.events[0], Ignored):
        body, content_type = encode(event), CONTENT_TYPE
        properties = {name: value for name, value in properties.items() if not name.lower().startswith(_CLOUD_EVENTS)}
    return Outgoing(
        queue=Queue.OPT_INS,
        message_id=_id(dead, Kind.REPLAY),
        body=body,
        content_type=content_type,
        properties={name: value for name, value in properties.items() if name not in _OF_DEAD_LETTERS}
        | _lineage(dead)
        | {
            arrivals.ATTEMPT: 0,
            arrivals.REPLAY_ID: replay_id,
            arrivals.REPLAY_COUNT: dead.lineage.replay_count + 1,
            REPLAY_OF: message.message_id or str(dead.number),
        },
        correlation_id=message.correlation_id,
    )


def edited(mended: DeadLetter, replay_id: str) -> Outgoing:
    """Make the replay of a dead letter whose body the operator changed; other bytes give another id."""
    about = sha256(mended.message.body).hexdigest()
    return replace(replay(mended, replay_id), message_id=_id(mended, Kind.REPLAY, "edit", about))


def restored(dead: DeadLetter) -> Outgoing:
    """Make the dead letter that an archive puts back: same body and facts, new id, one hop further.

    The old id is still known to duplicate detection, which would drop it without a word.
    """
    message = dead.message
    return Outgoing(
        queue=Queue.DEAD_LETTERS,
        message_id=_id(dead, Kind.DEAD_LETTER, "import", str(dead.number)),
        body=message.body,
        content_type=message.content_type,
        properties={**message.properties, **_lineage(dead), arrivals.ATTEMPT: dead.lineage.attempt},
        correlation_id=message.correlation_id,
        reason=dead.reason,
    )


def _lineage(dead: DeadLetter) -> dict[str, object]:
    lineage: dict[str, object] = {
        arrivals.EVENT_ID: dead.event_id,
        arrivals.HOP: dead.lineage.hop + 1,
        arrivals.FIRST_ENQUEUED: dead.lineage.first_enqueued.isoformat(),
    }
    if dead.recipients:
        lineage[arrivals.RECIPIENTS] = len(dead.recipients)
        lineage[arrivals.OF] = dead.lineage.of or len(dead.recipients)
    return lineage


def _id(dead: DeadLetter, kind: Kind, *about: str) -> str:
    if len(dead.events) == 1 and isinstance(event := dead.events[0], OptIn):
        return message_id(event, kind, dead.lineage, (dead.code, *event.recipients, *about))
    digest = sha256("\0".join((dead.code, *about)).encode() + dead.message.body).hexdigest()[:16]
    root = sha256(dead.message.arrival.id.encode()).hexdigest()[:32]
    return f"{root}:{kind}{dead.lineage.hop + 1}:{digest}"
