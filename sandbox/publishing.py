"""Reads events from files and standard input, as they are, and publishes them.

A `.jsonl` file and standard input hold one message a line; every other file is one message, its bytes untouched, so
that a garbled event can be tried as well. `NAME.properties.json` beside a file holds the application properties. What
lies in the sub-folder `then` of a folder is published once the rest of the folder is settled. `"$NOW-10m"` is a time.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusSender
from azure.servicebus.exceptions import MessageSizeExceededError
from pydantic import Field, TypeAdapter, ValidationError

Property = int | float | bytes | bool | str | UUID

_PROPERTIES = ".properties.json"
#: A MessageId takes 128 characters; a number and a mark may follow.
_MAX_NAME = 96
_LINES = {".jsonl", ".ndjson"}
#: The sub-folder of what comes later.
_THEN = "then"
_NOW = re.compile(rb'"\$NOW(?:-([0-9]{1,6})([smhd]))?"')
_UNITS = {b"s": "seconds", b"m": "minutes", b"h": "hours", b"d": "days"}
#: azure-servicebus writes every integer property in 32 bits.
_Integer = Annotated[int, Field(strict=True, ge=-(2**31), lt=2**31)]
_Map: Any = dict[str, bool | _Integer | float | str]
_PROPERTY_MAP: TypeAdapter[dict[str | bytes, Property]] = TypeAdapter(_Map)
#: Bytes that the envelope of a batch may need beyond what the client counts; see optout_core/adapters/outbox.py.
_HEADROOM = 1024


@dataclass(frozen=True, slots=True)
class Publication:
    """One message to publish.

    Attributes:
        message_id: Unique among the messages of this run, named after file and line.
        body: The bytes, as they were found.
        properties: Application properties.
        content_type: Of the body, or None.
        time_to_live: In the queue, or None for the queue's own.
        wave: 0 is published at once, 1 when that is settled, and so on.
    """

    message_id: str
    body: bytes = field(repr=False)
    properties: dict[str | bytes, Property] = field(default_factory=dict, repr=False)
    _: KW_ONLY
    content_type: str | None = None
    time_to_live: timedelta | None = None
    wave: int = 0


def read_publications(paths: Iterable[str], mark: str = "") -> list[Publication]:
    """Read messages from files, folders (their files in order of name), and `-` for standard input.

    Args:
        paths: As above.
        mark: Ends every MessageId.

    Returns:
        The messages, those of an earlier wave first.

    Raises:
        OSError: A path cannot be read.
        ValueError: A path is empty, or a properties file is no JSON object.
    """
    taken: set[str] = set()
    publications = []
    now = datetime.now(UTC)
    for wave, name, body, properties in _waves(paths):
        short, number = name[:_MAX_NAME], 1
        message_id = short
        while message_id in taken:
            number += 1
            message_id = f"{short}~{number}"
        taken.add(message_id)
        publications.append(Publication(message_id + mark, _at(now, body), properties, wave=wave))
    return sorted(publications, key=lambda publication: publication.wave)


async def publish(sender: ServiceBusSender, publications: Iterable[Publication]) -> None:
    """Send the messages, in as few transfers as their size allows.

    Raises:
        ValueError: A message is too large for the queue.
    """
    limit = (await sender.create_message_batch()).max_size_in_bytes - _HEADROOM
    batch = await sender.create_message_batch(limit)
    for publication in publications:
        message = ServiceBusMessage(
            publication.body,
            message_id=publication.message_id,
            application_properties=publication.properties,
            content_type=publication.content_type,
            time_to_live=publication.time_to_live,
        )
        try:
            batch.add_message(message)
        except MessageSizeExceededError:
            await sender.send_messages(batch)
            batch = await sender.create_message_batch(limit)
            try:
                batch.add_message(message)
            except MessageSizeExceededError:
                await _send_alone(sender, message)
    await sender.send_messages(batch)


async def _send_alone(sender: ServiceBusSender, message: ServiceBusMessage) -> None:
    try:
        await sender.send_messages(message)
    except MessageSizeExceededError:
        raise ValueError(f"{message.message_id} is too large: a message takes 256 KB, about 9,000 recipients") from None


def _at(now: datetime, body: bytes) -> bytes:
    def moment(found: re.Match[bytes]) -> bytes:
        before = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found[1] else timedelta()
        return f'"{(now - before).isoformat()}"'.encode()

    return _NOW.sub(moment, body)


def _waves(paths: Iterable[str]) -> Iterator[tuple[int, str, bytes, dict[str | bytes, Property]]]:
    wave, found = 0, list(paths)
    while found:
        yield from ((wave, *each) for each in _bodies(found))
        found = [str(Path(path, _THEN)) for path in found if path and Path(path, _THEN).is_dir()]
        wave += 1


def _bodies(paths: Iterable[str]) -> Iterator[tuple[str, bytes, dict[str | bytes, Property]]]:
    for path in _files(paths):
        if path is None:
            yield from _lines("stdin", sys.stdin.buffer.read())
        elif path.suffix in _LINES:
            yield from _lines(path.name, path.read_bytes())
        else:
            beside = path.with_name(path.stem + _PROPERTIES)
            yield path.stem, path.read_bytes(), _properties(beside) if beside.exists() else {}


def _properties(path: Path) -> dict[str | bytes, Property]:
    try:
        return _PROPERTY_MAP.validate_json(path.read_bytes())
    except ValidationError:
        raise ValueError(f"{path} must hold one JSON object of texts, numbers below 2**31 and booleans") from None


def _files(paths: Iterable[str]) -> Iterator[Path | None]:
    for path in paths:
        if path == "-":
            yield None
        elif not path:
            raise ValueError("--events is empty: name a file, a folder or -; nothing was published")
        elif Path(path).is_dir():
            yield from sorted(
                file
                for file in Path(path).iterdir()
                if file.is_file() and not file.name.startswith(".") and not file.name.endswith((_PROPERTIES, ".md"))
            )
        else:
            yield Path(path)


def _lines(name: str, text: bytes) -> Iterator[tuple[str, bytes, dict[str | bytes, Property]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"{name}:{number}", line, {}
