"""Links to the nodes that answer: `$cbs` takes tokens, `queue/$management` takes operations.

A request comes in on one link, its reply goes out on another link of the same session to the same node. pyamqp names no
link to reply to, other clients do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from servicebus_sandbox.amqp import DecodeError
from servicebus_sandbox.encode import encode
from servicebus_sandbox.errors import InvalidArgument
from servicebus_sandbox.frames import Attach
from servicebus_sandbox.links import Carrier, IncomingLink, OutgoingLink
from servicebus_sandbox.messages import decode_message
from servicebus_sandbox.sections import APPLICATION_PROPERTIES, PREFIXES, PROPERTIES, VALUE


@dataclass(frozen=True)
class Request:
    """An operation and its arguments: the request's application properties, and the value that is its body."""

    properties: dict[str, Any]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What came of it: the reply's application properties, and its body."""

    properties: dict[str, object]
    body: object = None


class RequestLink(IncomingLink):
    """A link on which a client asks; `answer` knows the answers."""

    def __init__(self, carrier: Carrier, attach: Attach, node: str, answer: Callable[[Request], Reply]) -> None:
        super().__init__(carrier, attach)
        self._node = node
        self._answer = answer

    def receive(self, content: bytes, message_format: int) -> None:
        """Answer a request.

        Raises:
            InvalidArgument: It cannot be read, or there is no link to answer on.
        """
        del message_format
        try:
            message = decode_message(content)
            request = Request(message.application_properties, message.value)
            properties = message.properties
        except DecodeError as error:
            raise InvalidArgument(f"this is no AMQP message: {error}") from None
        reply_to = properties.get("reply_to")
        link = self._reply_link(reply_to)
        if link is None:
            raise InvalidArgument(f"there is no link to answer on: attach a receiver to {self._node}")
        reply = self._answer(request)
        link.reply(_encode_reply(message.message_id, reply_to, reply))

    def _reply_link(self, address: object) -> ReplyLink | None:
        """Find the link on which the client wants the node's answers: the one with that address, else the newest."""
        found = [link for link in self.carrier.links if isinstance(link, ReplyLink) and link.node == self._node]
        return next((link for link in found if link.address == address), found[-1] if found else None)


class ReplyLink(OutgoingLink):
    """A link on which a client is answered.

    Attributes:
        node: What the client asks.
        address: Where the client wants its answers, if it has said so.
    """

    def __init__(self, carrier: Carrier, attach: Attach, node: str) -> None:
        super().__init__(carrier, attach)
        self.node = node
        fields = attach.target.value if attach.target else None
        self.address = fields[0] if isinstance(fields, list) and fields else None
        self._waiting: deque[bytes] = deque()

    def stop(self) -> None:
        """Forget the replies that nobody took."""
        self._waiting.clear()

    def reply(self, content: bytes) -> None:
        """Send a reply as soon as there is credit for it."""
        self._waiting.append(content)
        self.pump()

    def pump(self) -> bool:
        """Send the replies for which there is credit."""
        while self._waiting and self.credit:
            self.send_message(self._waiting.popleft(), uuid4().bytes, settled=True)
        return False


def _encode_reply(correlation_id: object, to: object, reply: Reply) -> bytes:
    """Encode a message with a value as its body, in answer to a request whose message id was `correlation_id`."""
    properties = [None, None, to, None, None, correlation_id]
    sections = ((PROPERTIES, properties), (APPLICATION_PROPERTIES, reply.properties), (VALUE, reply.body))
    return b"".join(PREFIXES[code] + encode(content) for code, content in sections)
