"""A decoder for azure-servicebus that no message can stop, and that keeps the bytes of each.

The library decodes a page of peeked messages as a whole, and lets one that it cannot decode break the link over which
it came: one property of a type that it does not know would hide every other message. It has no place for a decoder of
one's own, so this one takes the place of its function; where that function succeeds the result is the same.
"""

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus._pyamqp.aio import _receiver_async
from azure.servicebus._pyamqp.message import Message
from azure.servicebus._transport import _pyamqp_transport

from optout_core.adapters import received
from optout_ops.queues import amqp

_original = _receiver_async.decode_payload  # type: ignore[attr-defined]
#: A value section that holds null.
_NOTHING = b"\x00\x53\x77\x40"


class _Kept(Message):
    """A decoded message that knows its bytes."""

    encoded: bytes


def install() -> None:
    """Let azure-servicebus decode by this module, for as long as the process lives."""
    for module in (_receiver_async, _pyamqp_transport):
        module.decode_payload = decode_payload  # type: ignore[attr-defined]


def decode_payload(buffer: memoryview) -> Message:
    """Decode a message, without what cannot be decoded, and keep its bytes."""
    content = bytes(buffer)
    try:
        message = _original(memoryview(content))
    except Exception:  # noqa: BLE001 - whatever a client wrote, the library may raise
        message = _decoded(content)
    kept = _Kept(*message)
    kept.encoded = content
    return kept


def encoded(message: ServiceBusReceivedMessage) -> bytes:
    """Give the bytes of a message that came from the library; b"" where they were not kept."""
    return getattr(received.within(message), "encoded", b"")


def unread_properties(message: ServiceBusReceivedMessage) -> tuple[dict[str, object], dict[str, str]]:
    """Read the application properties of a message one by one, when the library could not read them as a whole.

    Returns:
        Those that can be read, and the types of those that cannot, by their names.
    """
    read: dict[str, object] = {}
    unread: dict[str, str] = {}
    try:
        found = [each.value for each in amqp.sections(encoded(message)) if each.code == amqp.APPLICATION_PROPERTIES]
        pairs = [pair for value in found for pair in amqp.entries(value)]
    except ValueError:
        return read, unread
    for name, value in pairs:
        shown = amqp.texts(name) or f"({amqp.kind(name)})"
        one = amqp.Section(amqp.APPLICATION_PROPERTIES, amqp.as_map([(name, value)])).encoded()
        try:
            single = ServiceBusReceivedMessage.from_bytes(one)
            read |= received.read_properties(single.application_properties or {})
        except Exception:  # noqa: BLE001 - whatever a client wrote, the library may raise
            unread[shown] = amqp.kind(value)
    return read, unread


def _decoded(content: bytes) -> Message:
    message, _ = received.decode(content)
    return message or _original(memoryview(_NOTHING))
