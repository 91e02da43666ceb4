"""From bytes to JSON, read strictly; and in words what the bytes are where they are something else.

Whatever we guessed here could lose a recipient: UTF-8 only, no NaN, no field named twice. A publisher reads the words
in a dead letter, so they name what went wrong in the publisher's program.
"""

import json
from base64 import b64decode
from typing import Any, NoReturn

from pydantic_core import from_json, to_json

from optout_core.errors import MalformedEvent

#: Python makes no integer of more digits, unless it is told to (https://docs.python.org/3/library/stdtypes.html,
#: "Integer string conversion length limitation").
_MAX_DIGITS = 4_300

#: What other bytes begin with, and what they are. zlib writes the last three (RFC 1950, 2.2), gzip the first
#: (RFC 1952, 2.3.1); Python shows bytes and dictionaries so.
_BEGINNINGS = (
    ((b"\x1f\x8b",), "gzip; send the JSON uncompressed"),
    ((b"x\x01", b"x\x9c", b"x\xda"), "compressed with zlib; send the JSON uncompressed"),
    ((b"\xac\xed\x00\x05",), "an object that Java serialised; send its JSON, in UTF-8"),
    ((b"b'", b'b"', b"{'", b"[{'"), "how Python shows a value; write it with json.dumps"),
)
#: Stands near the beginning of what the old .NET client makes of an object, as text and as binary
#: (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-messages-payloads).
_DATA_CONTRACT = b"http://schemas.microsoft.com/2003/10/Serialization/"
_NEAR = 128
_BASE64_OF_JSON = (b"{", b"[")
#: UTF-16 and UTF-32 of a text in a Latin script have at least a NUL for each character, and JSON has none.
_SHARE_OF_NUL = 4


def read_json(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Read the JSON of a body.

    Raises:
        MalformedEvent: It is none; the text says what it is as far as it can be told, and never repeats it.
    """
    if (document := _plain(body)) is not None:
        return document
    try:
        return _DECODER.decode(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise MalformedEvent(f"not UTF-8{_instead(body)}") from None
    except RecursionError:
        raise MalformedEvent("nested too deeply") from None
    except ValueError as error:
        # A JSONDecodeError's text holds a position and never the document.
        why = "more than one document: a message holds one event" if "Extra data" in str(error) else str(error)
        raise MalformedEvent(f"not JSON{_instead(body) or f': {why}'}") from None


def json_object(value: object, what: str) -> dict[str, Any]:
    """Return a JSON object as it is.

    Args:
        value: Any JSON value.
        what: What it is, in words for its publisher.

    Raises:
        MalformedEvent: It is none; the text says what it is as far as it can be told.
    """
    if isinstance(value, str):
        is_base64 = _is_base64_of_json(value.encode(errors="replace"))
        how = "it is base64, which is how .NET writes bytes as JSON" if is_base64 else "it was written as JSON twice"
        raise MalformedEvent(f"{what} must be a JSON object and is a string: {how}")
    refuse_buffer(value, what)
    if not isinstance(value, dict):
        raise MalformedEvent(f"{what} must be a JSON object")
    return value


def refuse_buffer(value: object, what: str) -> None:
    """Refuse a JSON value that is bytes: a Buffer of Node, another array of bytes of JavaScript, or a list of them.

    Raises:
        MalformedEvent: It is one.
    """
    listed = value
    if isinstance(value, dict):
        if value.get("type") == "Buffer" and len(value) == len(("type", "data")):
            listed = value.get("data")
        elif "".join(value).isdecimal():
            listed = list(value.values())
    if isinstance(listed, list) and listed and all(isinstance(each, int) for each in listed):
        raise MalformedEvent(f"{what} is a buffer that was written as JSON: send its bytes, or the object itself")


def _plain(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Read JSON ten times as fast as Python does; None where that reader, or we, may understand it in another way.

    The reader keeps the last of two values of one field. Each field has a colon, so a document that lost one has fewer
    colons when it is written again; only an escape could make up for that.
    """
    if b"\\u003" in body:
        return None
    try:
        document = from_json(body, allow_inf_nan=False, cache_strings="keys")
        return document if to_json(document).count(b":") == body.count(b":") else None
    except ValueError:
        return None


def _instead(body: bytes) -> str:
    """Say what a body is that is no JSON, or nothing."""
    start = body[:_NEAR].lstrip()
    if not start:
        return ": the body is empty"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or body.count(0) * _SHARE_OF_NUL > len(body):
        return ": it is UTF-16 or UTF-32; send the JSON in UTF-8"
    if _DATA_CONTRACT in start:
        return ": it is what the old .NET client makes of an object (DataContractSerializer); send the JSON, in UTF-8"
    for beginnings, name in _BEGINNINGS:
        if start.startswith(beginnings):
            return f": it is {name}"
    if start.startswith(b"<"):
        return ": it is XML; send JSON"
    return ": it is base64; send the JSON itself" if _is_base64_of_json(body) else ""


def _is_base64_of_json(text: bytes) -> bool:
    try:
        return b64decode(text, validate=True).lstrip().startswith(_BASE64_OF_JSON)
    except ValueError:
        return False


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        # Keeping one of two values could lose recipients without a trace.
        raise MalformedEvent("an object names the same field twice")
    return mapping


def _integer(digits: str) -> float:
    # A field that nobody reads must not make an event unreadable.
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_constant=_no_constant)
