"""What the broker allows, and how it says no to the rest.

Sources: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas for the numbers;
https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-messaging-v1.0-os.html, sections 3.2.4 and 3.2.5, for the types.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from servicebus_sandbox.amqp import Array, Symbol, Timestamp, Uint, Ulong
from servicebus_sandbox.errors import InvalidArgument, MessageTooLarge, Refused

#: The standard properties by their places in the section, each with the types it may have.
STANDARD_PROPERTIES: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("message_id", (str, UUID, bytes, Ulong)),
    ("user_id", (bytes,)),
    ("to", (str,)),
    ("subject", (str,)),
    ("reply_to", (str,)),
    ("correlation_id", (str, UUID, bytes, Ulong)),
    ("content_type", (Symbol,)),
    ("content_encoding", (Symbol,)),
    ("absolute_expiry_time", (Timestamp,)),
    ("creation_time", (Timestamp,)),
    ("group_id", (str,)),
    ("group_sequence", (Uint,)),
    ("reply_to_group_id", (str,)),
)
_NAMES = tuple(name for name, _ in STANDARD_PROPERTIES)
#: With the type of null.
_TYPES = tuple(frozenset((*types, type(None))) for _, types in STANDARD_PROPERTIES)
_NOT_SIMPLE = frozenset((list, dict, Array))
#: What Service Bus calls MessageId, SessionId and ReplyToSessionId.
_IDS = tuple(map(_NAMES.index, ("message_id", "group_id", "reply_to_group_id")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the broker allows; the defaults are those of Service Bus Standard, and the strict ones where nobody knows.

    Attributes:
        max_message_size: Bytes of one message or batch as it is transferred, properties included.
        max_header_size: Bytes of a message without its body: all properties, annotations and the header.
        max_property_size: Bytes of one application property as it is encoded, with its name.
        max_id_length: Characters of a MessageId, SessionId or ReplyToSessionId.
        odd_types: Whether messages are let in that AMQP forbids: with a map, list or array as an application property,
            or with a standard property of a wrong type. What the service does with them is not documented; .NET clients
            cannot read some of them, and the Functions host stalls over those.
        drop_forwarded_duplicates: Whether a dead letter is dropped when the queue that it is forwarded to detects
            duplicates and knows its id. Whether the service does so is documented nowhere.
        max_unsettled: Messages that a link may have locked; it gets no others until it settles some.
        max_frame_size: Bytes of one frame; at least 512.
        idle_timeout: Seconds after which a connection should have sent something; it is closed after twice that.
        link_idle_timeout: Seconds after which a link that is not used is detached;
            https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-troubleshoot
    """

    max_message_size: int = 256 * 1024
    max_header_size: int = 64 * 1024
    max_property_size: int = 32 * 1024
    max_id_length: int = 128
    odd_types: bool = False
    drop_forwarded_duplicates: bool = True
    max_unsettled: int = 5000
    max_frame_size: int = 64 * 1024
    idle_timeout: float = 240.0
    link_idle_timeout: float = 600.0

    def check_size(self, size: int) -> None:
        """Refuse a message or batch that is too large.

        Raises:
            MessageTooLarge: It is.
        """
        if size > self.max_message_size:
            limit = self.max_message_size
            raise MessageTooLarge(f"the received message is larger ({size:,} bytes) than the link allows ({limit:,})")

    def check_header_size(self, size: int) -> None:
        """Refuse a message whose properties are too large all together.

        Raises:
            MessageTooLarge: They are; https://github.com/rebus-org/Rebus.AzureServiceBus/issues/35.
        """
        if size > self.max_header_size:
            raise MessageTooLarge(
                f"the size quota for this stream ({self.max_header_size}) has been exceeded: {size:,}"
            )

    def check_properties(self, fields: Sequence[object], size: int) -> None:
        """Refuse standard properties of a wrong type, and ids that are too long; `size` is their bytes together.

        Raises:
            InvalidArgument: One of them is.
        """
        if len(fields) > len(STANDARD_PROPERTIES):
            raise InvalidArgument(f"the properties have {len(fields)} fields; there are {len(STANDARD_PROPERTIES)}")
        if not self.odd_types and (fault := _fault_of(tuple(map(type, fields)))) is not None:
            raise InvalidArgument(fault)
        for place in _IDS if size > self.max_id_length else ():
            value = fields[place] if place < len(fields) else None
            if isinstance(value, str) and len(value) > self.max_id_length:
                raise InvalidArgument(f"the property {_NAMES[place]} is longer than {self.max_id_length} characters")

    def check_application_properties(self, entries: Iterable[tuple[object, object, bytes]]) -> None:
        """Refuse application properties that are no simple values, or too large.

        Args:
            entries: Each property's name, its value, and both as they are encoded.

        Raises:
            InvalidArgument: One is a map, a list or an array.
            Refused: One is too large. The service says no more than this, and that it is worth a retry;
                https://github.com/Azure/azure-sdk-for-net/issues/15325.
        """
        most = self.max_property_size
        unusual = [entry for entry in entries if type(entry[1]) in _NOT_SIMPLE or len(entry[2]) > most]
        for name, value, encoded in unusual:
            if type(value) in _NOT_SIMPLE and not self.odd_types:
                raise InvalidArgument(f"the application property {name!r} is a {type(value).__name__}, no simple value")
            if len(encoded) > most:
                raise Refused("The service was unable to process the request; please retry the operation.")


@lru_cache
def _fault_of(types: tuple[type, ...]) -> str | None:
    """Say what is wrong with the types of standard properties. Most messages have one of a few sets of them."""
    for given, name, allowed in zip(types, _NAMES, _TYPES, strict=False):
        if given not in allowed:
            return f"the property {name} is of a wrong type: {given.__name__}"
    return None


_UNBOUNDED = 2**62
#: For what is no message to a queue.
NO_LIMITS = Limits(max_header_size=_UNBOUNDED, max_property_size=_UNBOUNDED, max_id_length=_UNBOUNDED, odd_types=True)
