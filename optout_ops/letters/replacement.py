"""The message that replaces a dead letter: its replay, its edited replay, or its copy out of an archive. Pure.

Ids are deterministic and do not depend on who replays or when: the same dead letter gets the same MessageId at every
try. A replay that was killed after sending and before completing sends it again, and duplicate detection drops it. The
hop is part of the id and rises by one, so no id of an earlier hop is used again.
"""

from hashlib import sha256

from msgspec.structs import replace

from optout_core import properties
from optout_core.events import CONTENT_TYPE, OptIn, OptOut, encode
from optout_core.masking import show
from optout_core.messages import Kind, message_id
from optout_core.outgoing import Outgoing, Queue
from optout_ops.letters.letter import REPLAY_OF, Letter
from optout_ops.queues import amqp
from optout_ops.queues.messages import EncodedMessage

_DEAD_LETTER_PROPERTIES = frozenset(
    {
        properties.DEAD_LETTER_REASON,
        properties.DEAD_LETTER_DESCRIPTION,
        properties.HTTP_STATUS,
        properties.ERROR_CODE,
        properties.MS_CV,
    }
)
_CLOUD_EVENTS = ("cloudevents:", "cloudevents_")


def replacement(letter: Letter, replay_id: str) -> Outgoing:
    """Make the message that replays a dead letter.

    The body stays as it is, with one exception: an event without a time, or with a time after its first arrival, would
    look newer than it is. It is encoded anew with the time of its first arrival.
    """
    message = letter.message
    body, content_type, facts = message.body, message.content_type, dict(message.properties)
    event = letter.events[0] if len(letter.events) == 1 else None
    if letter.has_event_after_arrival and isinstance(event, OptIn | OptOut):
        body, content_type = encode(event), CONTENT_TYPE
        facts = {name: value for name, value in facts.items() if not name.lower().startswith(_CLOUD_EVENTS)}
    return Outgoing(
        queue=Queue.OPT_INS,
        message_id=_id(letter, Kind.REPLAY),
        body=body,
        content_type=content_type,
        properties={name: value for name, value in facts.items() if name not in _DEAD_LETTER_PROPERTIES}
        | _lineage(letter)
        | {
            properties.ATTEMPT: 0,
            properties.REPLAY_ID: replay_id,
            properties.REPLAY_COUNT: letter.lineage.replay_count + 1,
            REPLAY_OF: show(message.message_id or str(letter.number)),
        },
        correlation_id=message.correlation_id,
    )


def edited_replacement(edited: Letter, replay_id: str) -> Outgoing:
    """Make the message that replays a dead letter whose body the operator edited; each edit has an id of its own."""
    about = sha256(edited.message.body).hexdigest()
    return replace(replacement(edited, replay_id), message_id=_id(edited, Kind.REPLAY, "edit", about))


def restored(letter: Letter) -> Outgoing | EncodedMessage:
    """Make the dead letter that is put back from an archive: new id, one hop further, everything else as it was.

    With its old id, duplicate detection would accept it and drop it.
    """
    message = letter.message
    name = _id(letter, Kind.DEAD_LETTER, "import", str(letter.number))
    facts = _lineage(letter) | {properties.ATTEMPT: letter.lineage.attempt}
    if message.encoded:
        return EncodedMessage(name, amqp.renewed(message.encoded, name, facts))
    # An archive of an older version, or whose body was edited.
    return Outgoing(
        queue=Queue.DEAD_LETTERS,
        message_id=name,
        body=message.body,
        content_type=message.content_type,
        properties={**message.properties, **facts},
        correlation_id=message.correlation_id,
        reason=letter.reason,
    )


def _lineage(letter: Letter) -> dict[str, object]:
    lineage: dict[str, object] = {
        properties.EVENT_ID: str(letter.event_id),
        properties.HOP: letter.lineage.hop + 1,
        properties.FIRST_ENQUEUED: letter.lineage.first_enqueued.isoformat(),
    }
    if letter.recipients:
        lineage[properties.RECIPIENTS] = len(letter.recipients)
        lineage[properties.OF] = letter.lineage.of or len(letter.recipients)
    return lineage


def _id(letter: Letter, kind: Kind, *about: str) -> str:
    if len(letter.events) == 1 and isinstance(event := letter.events[0], OptIn):
        return message_id(event, kind, letter.lineage, (letter.code, *(to.text for to in event.recipients), *about))
    digest = sha256("\0".join((letter.code, *about)).encode() + letter.message.body).hexdigest()[:16]
    root = sha256(letter.message.id.encode()).hexdigest()[:32]
    return f"{root}:{kind}{letter.lineage.hop + 1}:{digest}"
