"""The properties of queues, read from the one file that Bicep deploys from, so that sandbox and cloud cannot drift."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

QUEUES_FILE = Path(__file__).parents[1] / "infra" / "queues.json"

_CONFIG = ConfigDict(extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)
_FOREVER = timedelta(days=10_675_199)
_Positive = Annotated[timedelta, Field(gt=timedelta(0))]


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
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
        max_size_in_megabytes: A send that would make the queue larger is refused.

    Source: https://learn.microsoft.com/azure/templates/microsoft.servicebus/namespaces/queues
    """

    lock_duration: Annotated[_Positive, Field(le=timedelta(minutes=5))] = timedelta(minutes=1)
    max_delivery_count: Annotated[int, Field(ge=1, le=2000)] = 10
    requires_duplicate_detection: bool = False
    duplicate_detection_history_time_window: Annotated[_Positive, Field(le=timedelta(days=7))] = timedelta(minutes=10)
    default_message_time_to_live: _Positive = _FOREVER
    dead_lettering_on_message_expiration: bool = False
    forward_dead_lettered_messages_to: str | None = None
    max_size_in_megabytes: Annotated[int, Field(ge=1)] = 1024


@dataclass(frozen=True, config=_CONFIG)
class _Entry:
    name: str
    properties: QueueProperties


def load_queues(path: Path = QUEUES_FILE) -> dict[str, QueueProperties]:
    """Read the queues of a file like `infra/queues.json`: entries with `name` and `properties`, durations in ISO 8601.

    Returns:
        Each queue's properties by its name.

    Raises:
        ValueError: The file is not of that form, or holds a property that the sandbox does not honour: it would behave
            differently from the cloud without anybody noticing.
    """
    try:
        entries = TypeAdapter(dict[str, _Entry]).validate_json(path.read_bytes())
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ValueError(f"{path}: the sandbox cannot honour this file: {faults}") from None
    return {entry.name: entry.properties for entry in entries.values()}
