"""Dead letters as JSON Lines: complete, to be put back later, or with masked numbers, to be shown. Pure."""

import base64
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from optout_core.amqp import DATA
from optout_core.masking import mask_body, show, show_value
from optout_ops import json_lines
from optout_ops.exits import Mistake
from optout_ops.json_lines import read_line
from optout_ops.queues import amqp
from optout_ops.queues.messages import QueueMessage

#: What an archive keeps of a message as it is.
_SHARED = (
    "sequence_number",
    "enqueued_at",
    "delivery_count",
    "message_id",
    "content_type",
    "correlation_id",
    "subject",
)

#: What an integer of AMQP can be.
_LEAST, _END = -(2**63), 2**64


class ArchiveLine(BaseModel):
    """One line of an archive; a body that is not UTF-8 stands in `bodyBase64` instead of `body`.

    `amqp` is the whole message as its sender encoded it, and what is put back; the rest is for people. In an archive of
    an older version it is missing.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)

    sequence_number: int
    enqueued_at: AwareDatetime
    delivery_count: int
    properties: dict[str, Any]
    message_id: str | None = None
    content_type: str | None = None
    correlation_id: str | None = None
    subject: str | None = None
    body: str | None = None
    body_base64: str | None = None
    amqp: str | None = None
    masked: bool = False


def write(message: QueueMessage, *, reveal: bool) -> str:
    """Write the message of a dead letter as one line; only with `reveal` it holds the numbers and can be put back."""
    entry = ArchiveLine(
        **{name: getattr(message, name) for name in _SHARED},
        properties={name: _tagged(value) for name, value in message.properties.items()},
        **_body(message.body),
        amqp=base64.b64encode(message.encoded).decode() or None,
        masked=not reveal,
    )
    document = entry.model_dump(mode="json", by_alias=True, exclude_none=True)
    if not reveal:
        document = {name: show(value) if isinstance(value, str) else value for name, value in document.items()}
        document["properties"] = {show(name): show_value(value) for name, value in message.properties.items()}
        # Bytes that are not text may hold numbers in any form: leave them out.
        document.pop("amqp", None)
        if document.pop("bodyBase64", None) is None:
            document["body"] = show(mask_body(message.body))
    return json_lines.write(document) + "\n"


def read(line: str, number: int) -> QueueMessage:
    """Read a line of an archive.

    Args:
        line: The line.
        number: Which line, from 1; errors name it.

    Raises:
        Mistake: It is not a line of an archive, or its numbers are masked.
    """
    entry = read_line(ArchiveLine, line, f"line {number} of the archive", "nothing was put back")
    if entry.masked:
        raise Mistake(
            f"line {number} of the archive is masked and cannot be put back; nothing was; export it with --reveal"
        )
    try:
        body = base64.b64decode(entry.body_base64, validate=True) if entry.body_base64 else (entry.body or "").encode()
        properties = {name: _untagged(value) for name, value in entry.properties.items()}
        encoded = base64.b64decode(entry.amqp or "", validate=True)
        data = [each.value for each in amqp.sections(encoded) if each.code == DATA]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise Mistake(f"line {number} of the archive is damaged; nothing was put back") from None
    if data and b"".join(map(amqp.binary, data)) != body:
        raise Mistake(
            f"the body in line {number} of the archive was edited, and `amqp` holds the one before; nothing was put"
            " back; remove `amqp` from the line to put back what you wrote"
        )
    return QueueMessage(
        **{name: getattr(entry, name) for name in _SHARED},
        body=body,
        properties=properties,
        encoded=encoded,
    )


def _tagged(value: object) -> object:
    # JSON has no times and no UUIDs, AMQP has: tag them, so that the message put back has the types of the original.
    if isinstance(value, datetime):
        return {"$time": value.isoformat()}
    if isinstance(value, UUID):
        return {"$uuid": str(value)}
    return value if isinstance(value, str | bool | int | float | None) else str(value)


def _untagged(value: object) -> object:
    if isinstance(value, dict):
        return datetime.fromisoformat(value["$time"]) if "$time" in value else UUID(value["$uuid"])
    if isinstance(value, int) and not _LEAST <= value < _END:
        raise ValueError("no integer of AMQP is as large")
    return value


def _body(body: bytes) -> dict[str, Any]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}
