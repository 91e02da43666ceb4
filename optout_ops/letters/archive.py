"""Dead letters as JSON Lines: complete, to be put back later, or with masked numbers, to be shown. Pure."""

import base64
import json
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from optout_core.masking import mask_body, show
from optout_ops.exits import Mistake
from optout_ops.queues.messages import QueueMessage


class ArchiveLine(BaseModel):
    """One line of an archive; a body that is not UTF-8 stands in `bodyBase64` instead of `body`."""

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
    masked: bool = False


def write(message: QueueMessage, *, reveal: bool) -> str:
    """Write the message of a dead letter as one line; only with `reveal` it holds the numbers and can be put back."""
    try:
        text, raw = message.body.decode(), None
    except UnicodeDecodeError:
        text, raw = None, base64.b64encode(message.body).decode()
    entry = ArchiveLine(
        sequence_number=message.sequence_number,
        enqueued_at=message.enqueued_at,
        delivery_count=message.delivery_count,
        message_id=message.message_id,
        content_type=message.content_type,
        correlation_id=message.correlation_id,
        subject=message.subject,
        properties={name: _tagged(value) for name, value in message.properties.items()},
        body=text,
        body_base64=raw,
        masked=not reveal,
    )
    if not reveal:
        # Bytes that are not text may hold numbers in any form: leave them out.
        entry = entry.model_copy(update={"body_base64": None})
    document = entry.model_dump(mode="json", by_alias=True, exclude_none=True)
    if not reveal and text is not None:
        document["body"] = mask_body(message.body)
    return json.dumps(document if reveal else _masked(document), ensure_ascii=False, separators=(",", ":")) + "\n"


def read(line: str, number: int) -> QueueMessage:
    """Read a line of an archive.

    Args:
        line: The line.
        number: Which line, from 1; errors name it.

    Raises:
        Mistake: It is not a line of an archive, or its numbers are masked.
    """
    try:
        entry = ArchiveLine.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        where = ".".join(str(step) for step in problem["loc"])
        raise Mistake(
            f"line {number} of the archive cannot be read: {where}: {problem['msg']}; nothing was put back"
        ) from None
    if entry.masked:
        raise Mistake(
            f"line {number} of the archive is masked and cannot be put back; nothing was; export it with --reveal"
        )
    try:
        body = base64.b64decode(entry.body_base64, validate=True) if entry.body_base64 else (entry.body or "").encode()
        properties = {name: _untagged(value) for name, value in entry.properties.items()}
    except (ValueError, KeyError):
        raise Mistake(f"line {number} of the archive is damaged; nothing was put back") from None
    return QueueMessage(
        sequence_number=entry.sequence_number,
        enqueued_at=entry.enqueued_at,
        delivery_count=entry.delivery_count,
        body=body,
        message_id=entry.message_id,
        content_type=entry.content_type,
        correlation_id=entry.correlation_id,
        subject=entry.subject,
        properties=properties,
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
    return value


def _masked(value: object) -> object:
    if isinstance(value, dict):
        return {show(name): _masked(each) for name, each in value.items()}
    return show(value) if isinstance(value, str) else value
