"""The properties of queues, and the file they are read from: one that a Bicep template can deploy from as well."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

#: https://learn.microsoft.com/azure/service-bus-messaging/entity-suspend
ACTIVE, DISABLED, SEND_DISABLED, RECEIVE_DISABLED = STATUSES = ("Active", "Disabled", "SendDisabled", "ReceiveDisabled")

_FOREVER = timedelta(days=10_675_199)
#: Durations as Azure writes them: days, hours, minutes and seconds of ISO 8601.
_DURATION = re.compile(r"P(?=.)(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueProperties:
    """What a queue does with its messages; names, meaning and defaults as in `Microsoft.ServiceBus/namespaces/queues`.

    Azure's lower bounds (5 s for a lock, 20 s for the detection window) are not checked: tests need short ones.

    Attributes:
        lock_duration: How long a received message stays locked; at most 5 minutes.
        max_delivery_count: A message whose delivery failed this often is dead-lettered; 1 to 2,000.
        requires_duplicate_detection: Whether a message with a known id is accepted and dropped.
        duplicate_detection_history_time_window: How long an id is known; at most 7 days.
        default_message_time_to_live: How long a message may wait; a message may ask for less, never for more.
        dead_lettering_on_message_expiration: Whether an expired message is dead-lettered; otherwise it is dropped.
        forward_dead_lettered_messages_to: Name of the queue that gets the dead letters in place of `$DeadLetterQueue`.
        max_size_in_megabytes: A send that would make the queue larger is refused; at least 1.
        status: One of `STATUSES`; `Broker.set_status` changes it.

    Raises:
        ValueError: A value is out of these bounds.

    Source: https://learn.microsoft.com/azure/templates/microsoft.servicebus/namespaces/queues
    """

    lock_duration: timedelta = timedelta(minutes=1)
    max_delivery_count: int = 10
    requires_duplicate_detection: bool = False
    duplicate_detection_history_time_window: timedelta = timedelta(minutes=10)
    default_message_time_to_live: timedelta = _FOREVER
    dead_lettering_on_message_expiration: bool = False
    forward_dead_lettered_messages_to: str | None = None
    max_size_in_megabytes: int = 1024
    status: str = ACTIVE

    def __post_init__(self) -> None:
        check_status(self.status)
        for name, (low, high, text) in _BOUNDS.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{_azure_name(name)} must be {text}")


def check_status(status: str) -> None:
    """Refuse a status that there is not.

    Raises:
        ValueError: It is none of `STATUSES`.
    """
    if status not in STATUSES:
        raise ValueError(f"status must be one of {', '.join(STATUSES)}")


_SHORTEST = timedelta.resolution
_BOUNDS: dict[str, tuple[Any, Any, str]] = {
    "lock_duration": (_SHORTEST, timedelta(minutes=5), "longer than zero, and at most 5 minutes"),
    "max_delivery_count": (1, 2000, "1 to 2,000"),
    "duplicate_detection_history_time_window": (
        _SHORTEST,
        timedelta(days=7),
        "longer than zero, and at most 7 days",
    ),
    "default_message_time_to_live": (_SHORTEST, timedelta.max, "longer than zero"),
    "max_size_in_megabytes": (1, 2**40, "1 or more"),
}


def load_queues(path: Path) -> dict[str, QueueProperties]:
    """Read the queues of a JSON file: an object whose entries have a `name` and `properties`, durations in ISO 8601.

    The key of an entry names it in the template that deploys it; without a `name` it is the queue's name as well. The
    properties that are left out have Azure's defaults.

    Returns:
        Each queue's properties by its name.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not of that form, or holds a property that the broker does not honour: it would behave
            differently from the cloud without anybody noticing.
    """
    try:
        entries = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: this is not JSON: {error}") from None
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f"{path}: expected a JSON object with an entry for each queue")
    queues: dict[str, QueueProperties] = {}
    faults: list[str] = []
    for key, entry in entries.items():
        try:
            name, properties = _read_entry(key, entry)
        except ValueError as error:
            faults.append(f"{key}: {error}")
            continue
        if name in queues:
            faults.append(f"{key}: the queue {name!r} is there twice")
        queues[name] = properties
    if faults:
        raise ValueError(f"{path}: the broker cannot honour this file: {'; '.join(faults)}")
    return queues


def _read_entry(key: str, entry: object) -> tuple[str, QueueProperties]:
    if not isinstance(entry, dict) or not entry.keys() <= {"name", "properties"}:
        raise ValueError("expected an object with name and properties, and nothing else")
    name, given = entry.get("name", key), entry.get("properties", {})
    if not isinstance(name, str) or not name or not isinstance(given, dict):
        raise ValueError("name must be a text and properties an object")
    return name, QueueProperties(**_read_properties(given))


def _read_properties(given: Mapping[str, object]) -> dict[str, Any]:
    known = {_azure_name(each.name): each for each in fields(QueueProperties)}
    read = {}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"this broker has no property {name}; it has {', '.join(known)}")
        field = known[name]
        try:
            read[field.name] = _READERS[type(field.default)](value)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    return read


def _azure_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def _read_duration(value: object) -> timedelta:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be a duration like P7D, PT5M or P1DT12H")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    try:
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        raise ValueError("is a longer time than there is") from None


def _reader(kind: type, text: str) -> Callable[[object], object]:
    def read(value: object) -> object:
        # bool is a kind of int in Python, and not in JSON.
        if type(value) is not kind:
            raise ValueError(f"must be {text}")
        return value

    return read


_READERS: dict[type, Callable[[object], object]] = {
    timedelta: _read_duration,
    bool: _reader(bool, "true or false"),
    int: _reader(int, "a whole number"),
    str: _reader(str, "a text"),
    type(None): _reader(str, "a text"),
}
