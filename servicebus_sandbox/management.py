"""The operations of a queue's `$management` node.

Bodies are maps; times are milliseconds since 1970. Every operation that the azure-servicebus client can call is known:
those for sessions and rules are refused as a queue without sessions refuses them.

Source: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from servicebus_sandbox.access import LISTEN, SEND
from servicebus_sandbox.amqp import Array, DecodeError, Int, Long, Symbol, Timestamp
from servicebus_sandbox.errors import InvalidArgument, NotAllowed, NotImplementedHere, Refused
from servicebus_sandbox.exchange import Exchange
from servicebus_sandbox.messages import decode_message, encode_message
from servicebus_sandbox.queues import Queue
from servicebus_sandbox.request_links import Reply, Request
from servicebus_sandbox.stored import Stored

_OK, _NO_CONTENT = 200, 204
#: Bytes that one message of a reply needs beside itself: a map, its key, a binary's size.
_ENTRY_ROOM = 32
#: Bytes that the rest of a reply needs.
_REPLY_ROOM = 1024
#: The receiver settle mode `first`: what is received is settled.
_RECEIVE_AND_DELETE = 0


@dataclass(frozen=True)
class Management:
    """What answers requests about one queue; `require` raises when the client lacks a claim."""

    exchange: Exchange
    queue: Queue
    require: Callable[[str], None]

    def answer(self, request: Request) -> Reply:
        """Do an operation; whatever is wrong with it is told in the reply."""
        try:
            body = self._perform(request)
        except Refused as refused:
            return _reply(refused.status, str(refused), condition=refused.condition)
        if body is None:
            return _reply(_NO_CONTENT, "No messages", condition="com.microsoft:message-not-found")
        return _reply(_OK, "OK", body=body)

    def _perform(self, request: Request) -> dict[str, object] | None:
        name = str(request.properties.get("operation")).removeprefix("com.microsoft:")
        if name in _OF_SESSIONS or name in _OF_RULES:
            what = "has no sessions" if name in _OF_SESSIONS else "is no subscription and has no rules"
            raise NotAllowed(f"the operation {name} is not allowed: {self.queue.name} {what}")
        operations = {
            "peek-message": (LISTEN, self._peek),
            "renew-lock": (LISTEN, self._renew),
            "receive-by-sequence-number": (LISTEN, self._receive),
            "update-disposition": (LISTEN, self._update),
            "schedule-message": (SEND, self._schedule),
            "cancel-scheduled-message": (SEND, self._cancel),
        }
        if name not in operations:
            raise NotImplementedHere(f"the sandbox has no operation {name!r}; it has {', '.join(operations)}")
        claim, perform = operations[name]
        self.require(claim)
        if claim == LISTEN:
            self.exchange.check_receive(self.queue)
        if not isinstance(request.body, dict):
            raise InvalidArgument(f"the body of {name} must be a map")
        return perform(request.body)

    def _peek(self, body: Mapping[str, Any]) -> dict[str, object] | None:
        number, count = _argument(body, "from-sequence-number", int), _argument(body, "message-count", int)
        if count < 0:
            raise InvalidArgument("the argument message-count is negative")
        messages: list[dict[str, bytes]] = []
        size = 0
        for stored in self.queue.peek(number, count):
            encoded = encode_message(stored.message, stored.stamps())
            size += len(encoded) + _ENTRY_ROOM
            if messages and size + _REPLY_ROOM > self.exchange.limits.max_message_size:
                break
            messages.append({"message": encoded})
        return {"messages": messages} if messages else None

    def _renew(self, body: Mapping[str, Any]) -> dict[str, object]:
        ends = self.queue.renew(_tokens(body))
        return {"expirations": Array(Timestamp(end * 1000) for end in ends)}

    def _schedule(self, body: Mapping[str, Any]) -> dict[str, object]:
        try:
            encoded = [_argument(entry, "message", bytes) for entry in _argument(body, "messages", list)]
            messages = [decode_message(one, self.exchange.limits) for one in encoded]
        except DecodeError as error:
            raise InvalidArgument(f"this is no AMQP message: {error}") from None
        self.exchange.limits.check_size(sum(map(len, encoded)))
        return {"sequence-numbers": Array(map(Long, self.exchange.publish(self.queue, messages)))}

    def _cancel(self, body: Mapping[str, Any]) -> dict[str, object]:
        self.exchange.check_send(self.queue)
        self.queue.cancel(_numbers(body))
        return {}

    def _receive(self, body: Mapping[str, Any]) -> dict[str, object]:
        lock = _argument(body, "receiver-settle-mode", int) != _RECEIVE_AND_DELETE
        return {"messages": [_deferred(stored) for stored in self.queue.receive_deferred(_numbers(body), lock=lock)]}

    def _update(self, body: dict[str, Any]) -> dict[str, object]:
        status = _argument(body, "disposition-status", str)
        changes = _argument({"properties-to-modify": {}} | body, "properties-to-modify", dict)
        settle: dict[str, Callable[[UUID], None]] = {
            "completed": self.queue.complete,
            "abandoned": lambda token: self.queue.abandon(token, changes),
            "defered": lambda token: self.queue.defer(token, changes),
            "suspended": lambda token: self.queue.dead_letter(
                token, body.get("deadletter-reason"), body.get("deadletter-description"), changes
            ),
        }
        if status not in settle:
            raise InvalidArgument(f"disposition-status must be one of {', '.join(settle)}")
        for token in _tokens(body):
            settle[status](token)
        return {}


_OF_SESSIONS = {"renew-session-lock", "get-session-state", "set-session-state", "get-message-sessions"}
_OF_RULES = {"add-rule", "remove-rule", "enumerate-rules"}


def _reply(status: int, description: str, *, condition: str | None = None, body: object = None) -> Reply:
    """Make a reply. The condition is a symbol: .NET casts it (`AmqpExceptionHelper.GetResponseErrorCondition`)."""
    properties: dict[str, object] = {"statusCode": Int(status), "statusDescription": description}
    if condition is not None:
        properties["errorCondition"] = Symbol(condition)
    return Reply(properties, {} if body is None else body)


def _argument(body: Mapping[str, Any], name: str, kind: type) -> Any:
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, kind):
        raise InvalidArgument(f"the argument {name} is missing or no {kind.__name__}")
    return value


def _tokens(body: Mapping[str, Any]) -> list[UUID]:
    return _list_of(body, "lock-tokens", UUID)


def _numbers(body: Mapping[str, Any]) -> list[int]:
    return _list_of(body, "sequence-numbers", int)


def _list_of(body: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    values: list[Any] = _argument(body, name, list)
    if not values or not all(isinstance(value, kind) for value in values):
        raise InvalidArgument(f"the argument {name} must hold at least one {kind.__name__}, and nothing else")
    return values


def _deferred(stored: Stored) -> dict[str, object]:
    message: dict[str, object] = {"message": encode_message(stored.message, stored.stamps())}
    return message | {"lock-token": stored.lock_token} if stored.lock_token else message
