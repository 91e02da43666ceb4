"""What in a message the .NET client of the Functions host cannot read. Pure.

The host takes no step with a message that its client cannot decode: it stays locked, together with all that were
received with it, until the lock expires; after ten times all of them are dead letters. Each of these was seen to do so
with the host's own client (docs/facts/functions-and-service-bus.md).
"""

import struct

from optout_core.amqp import APPLICATION_PROPERTIES, PROPERTIES
from optout_core.masking import show
from optout_ops.queues import amqp
from optout_ops.queues.messages import QueueMessage

#: Types of an application property.
_PROPERTIES = frozenset({"map", "decimal32", "decimal64"})
_BASIC_PLANE = 0xFFFF

_ANY_ID = frozenset({"null", "ulong", "uuid", "binary", "string"})
_TEXT, _SYMBOL, _TIME = (frozenset({"null", kind}) for kind in ("string", "symbol", "timestamp"))
#: The standard properties in their order, and the types that they may have (AMQP messaging, 3.2.4).
_STANDARD = (
    ("message-id", _ANY_ID),
    ("user-id", frozenset({"null", "binary"})),
    ("to", _TEXT),
    ("subject", _TEXT),
    ("reply-to", _TEXT),
    ("correlation-id", _ANY_ID),
    ("content-type", _SYMBOL),
    ("content-encoding", _SYMBOL),
    ("absolute-expiry-time", _TIME),
    ("creation-time", _TIME),
    ("group-id", _TEXT),
    ("group-sequence", frozenset({"null", "uint"})),
    ("reply-to-group-id", _TEXT),
)


def hazard(message: QueueMessage) -> str | None:
    """Say what in a message the host cannot read, such as `its property 'size' is a map`; None where there is nothing.

    Where nobody kept how its sender encoded it, nothing is found.
    """
    try:
        for section in amqp.sections(message.encoded):
            if section.code == PROPERTIES and (found := _in_standard(section.value)):
                return found
            if section.code == APPLICATION_PROPERTIES and (found := _in_properties(section.value)):
                return found
    except (ValueError, IndexError, struct.error):
        return "it is no message that AMQP knows"
    return None


def _in_standard(value: bytes) -> str | None:
    for (name, kinds), field in zip(_STANDARD, amqp.fields(value), strict=False):
        if (kind := amqp.kind(field)) not in kinds:
            return f"its {name} is a {kind}"
    return None


def _in_properties(value: bytes) -> str | None:
    for name, content in amqp.entries(value):
        kind = amqp.kind(content)
        is_beyond = kind == "char" and int.from_bytes(content[1:5], "big") > _BASIC_PLANE
        if kind in _PROPERTIES or is_beyond:
            return f"its property {show(amqp.texts(name) or '')!r} is a {kind}" + (
                " beyond U+FFFF" if is_beyond else ""
            )
    return None
