"""Reads a message as azure-servicebus decodes it: the function and `optout` read every message through this.

Nothing about one message raises: what a client may have written into it is anything that AMQP 1.0 has a type for.
azure-servicebus gives texts and binaries alike as bytes, timestamps as milliseconds. Its class for received messages is
passed by: making one takes as long as decoding it, and reading an attribute of it can raise
(`azure/servicebus/_common/message.py`).
"""

import json
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from optout_core.arrivals import Arrival

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage
    from azure.servicebus._pyamqp.message import Message

#: Sections of a message (https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-messaging-v1.0-os.html, 3.2).
APPLICATION_PROPERTIES = 0x74
BODY = frozenset({0x75, 0x76, 0x77})

#: What an integer of AMQP can be: from the least long to below the end of ulong.
_LEAST, _END = -(2**63), 2**64
#: Bytes of a value by the upper half of its constructor, and of the size in front of one that varies (AMQP types, 1.2).
_WIDTHS = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
_SIZES = {0xA: ">B", 0xC: ">B", 0xE: ">B", 0xB: ">I", 0xD: ">I", 0xF: ">I"}
_HOW = "send the event as JSON in a data section, or as text"


def decode(content: bytes) -> "tuple[Message | None, dict[int, bytes]]":
    """Decode an encoded AMQP message, without the sections that the client library cannot read.

    Returns:
        The message, or None when the bytes are no message at all; and the sections that were left out, by their code.
    """
    try:
        return _decode(content), {}
    except ValueError:
        pass
    kept: list[bytes] = []
    left_out: dict[int, bytes] = {}
    try:
        for code, section in _sections(content):
            try:
                _decode(section)
                kept.append(section)
            except ValueError:
                left_out[code] = left_out.get(code, b"") + section
        return _decode(b"".join(kept) or _NO_BODY), left_out
    except (IndexError, ValueError, struct.error):
        return None, {}


def _decode(content: bytes) -> "Message":
    """Decode as `ServiceBusReceivedMessage.from_bytes` does.

    Raises:
        ValueError: The library cannot read it.
    """
    if not content:
        raise ValueError("there is nothing to decode")
    try:
        return _library()(memoryview(content))
    except (KeyError, IndexError, TypeError, EOFError, struct.error) as error:
        raise ValueError("the library cannot read it") from error


@cache
def _library() -> "Callable[[memoryview], Message]":
    # Imported late: it takes most of a second, and whoever only imports the function has no message yet.
    from azure.servicebus._pyamqp._decode import decode_payload

    return decode_payload


def within(message: "ServiceBusReceivedMessage") -> "Message":
    """Give the decoded message that a message of the client library wraps."""
    decoded: Message = message._message  # noqa: SLF001 - there is no public way to it
    return decoded


def read(message: "Message", enqueued_at: datetime) -> Arrival:
    """Read a message.

    Args:
        message: As the client library decoded it.
        enqueued_at: When the broker accepted it (see `enqueued_at`), or what stands in for that; aware.
    """
    body, unreadable = _body(message)
    header, standard, properties = message.header, message.properties, message.application_properties
    return Arrival(
        body=body,
        enqueued_at=enqueued_at,
        message_id=standard and text(standard.message_id),
        content_type=standard and text(standard.content_type),
        correlation_id=standard and text(standard.correlation_id),
        subject=standard and text(standard.subject),
        properties=read_properties(properties) if isinstance(properties, Mapping) else {},
        delivery_count=(header and header.delivery_count) or 0,
        locked_until=_moment(message, b"x-opt-locked-until"),
        unreadable=unreadable,
    )


def enqueued_at(message: "Message") -> datetime | None:
    """Give when the broker accepted a message, aware; None where that is not there or cannot be read."""
    return _moment(message, b"x-opt-enqueued-time")


def _moment(message: "Message", annotation: bytes) -> datetime | None:
    annotations = message.message_annotations
    try:
        millis = annotations and annotations.get(annotation)
        return datetime.fromtimestamp(millis / 1000, UTC) if millis else None
    except (AttributeError, TypeError, ValueError, OverflowError, OSError):
        # The annotations are no map, or this one is no time.
        return None


def attribute(part: object, name: str) -> Any:  # noqa: ANN401 - whatever a client put there
    """Give an attribute of a message, or of a part of one; None where it cannot be read."""
    try:
        return getattr(part, name)
    except Exception:  # noqa: BLE001 - ValueError, OverflowError, TypeError and AttributeError were seen
        return None


def text(value: object) -> str | None:
    """Give an id or another text as the .NET client shows it: a uuid with dashes, a binary in hexadecimal digits.

    The client library does not tell text from binary: what is UTF-8 is taken for text.
    """
    if value is None:
        return None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex().upper()
    # Half a surrogate pair has no encoding, and a dead letter carries this on.
    return str(value).encode(errors="replace").decode()


def read_properties(properties: Mapping[Any, object]) -> dict[str, object]:
    """Give application properties with names as text, and values that can be sent on.

    A value keeps its type when it is null, a boolean, a number, a uuid or text. A binary that is no text becomes
    base64, as the .NET client shows it; a list or a map, which AMQP forbids here, becomes JSON.
    """
    return {text(name) or "": _property(value) for name, value in properties.items()}


def _property(value: object) -> object:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return b64encode(value).decode()
    if value is None or isinstance(value, bool | UUID):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int) and _LEAST <= value < _END:
        # A described integer is of a class of its own, which is no int to `range` and none to `type`.
        return int(value)
    return _written(value) if isinstance(value, list | dict) else text(value)


def _body(message: "Message") -> tuple[bytes, str | None]:
    """Give the bytes of the event; and if there is none, what the body is instead, its content written as JSON."""
    if message.data:
        sections: list[Any] = list(message.data)
        if all(isinstance(section, bytes) for section in sections):
            return b"".join(sections), None
        return _written(sections).encode(), f"a data section of the body holds no binary; {_HOW}"
    body: Any = message.value
    if message.sequence:
        body = [value for each in message.sequence for value in (each if isinstance(each, list) else [each])]
        if len(body) != 1:
            return _written(body).encode(), f"the body is an AMQP sequence of {len(body)} values; {_HOW}"
        body = body[0]
    if body is None or isinstance(body, bytes):
        return body or b"", None
    return _written(body).encode(), f"the body is an AMQP {_kind(body)}; {_HOW}"


def _kind(value: object) -> str:
    names = {dict: "map", list: "list", bool: "boolean", int: "number", float: "number", UUID: "uuid"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "value that is no text")


def _written(value: object) -> str:
    return json.dumps(_as_json(value), ensure_ascii=False)


def _as_json(value: object) -> object:
    if isinstance(value, Mapping):
        return {text(name) or "": _as_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    return value if isinstance(value, bool | int | float | None) else text(value)


#: A value section that holds null: what is left of a message all of whose sections cannot be read.
_NO_BODY = b"\x00\x53\x77\x40"


def _sections(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the code and the bytes of each section.

    Raises:
        IndexError, struct.error, ValueError: The bytes are no sections.
    """
    position = 0
    while position < len(content):
        end = _end(content, position + 3)
        if content[position : position + 2] != b"\x00\x53" or end > len(content):
            raise ValueError("the bytes are no section of a message")
        yield content[position + 2], content[position:end]
        position = end


def _end(content: bytes, position: int) -> int:
    kind = content[position] >> 4
    if kind in _WIDTHS and content[position]:
        return position + 1 + _WIDTHS[kind]
    if kind in _SIZES:
        form = _SIZES[kind]
        return position + 1 + struct.calcsize(form) + int(struct.unpack_from(form, content, position + 1)[0])
    # A described value, which only a body can be: it says its size last, and hardly anything follows a body.
    return len(content)
