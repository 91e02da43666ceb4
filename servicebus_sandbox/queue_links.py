"""Links to queues: one on which a client sends, one on which it receives and settles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from servicebus_sandbox.amqp import DecodeError, Described
from servicebus_sandbox.errors import InvalidArgument, NotImplementedHere, Refused
from servicebus_sandbox.frames import Attach, error, rejected
from servicebus_sandbox.links import IncomingLink, OutgoingLink
from servicebus_sandbox.messages import BATCH_FORMAT, decode_message, encode_message, split_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from servicebus_sandbox.queues import Queue
    from servicebus_sandbox.session import Session

TURN = 64
"""Messages a link gets before it is another's turn: some milliseconds of work."""

_SETTLED = 1
"""The sender settle mode that means receive-and-delete."""

_RECEIVED, _ACCEPTED, _REJECTED, _RELEASED, _MODIFIED = range(0x23, 0x28)


class PublisherLink(IncomingLink):
    """A link on which a client sends to a queue."""

    def __init__(self, session: Session, attach: Attach, queue: Queue) -> None:
        super().__init__(session, attach)
        self._queue = queue

    @property
    def idle_since(self) -> float:
        """When the client last sent something, in the event loop's time."""
        return self.last_used

    def receive(self, content: bytes, message_format: int) -> None:
        """Send a message, or all messages of a batch, to the queue.

        Raises:
            Refused: It cannot be read, or the queue does not take it.
        """
        try:
            encoded = split_batch(content) if message_format == BATCH_FORMAT else [content]
            messages = [decode_message(one) for one in encoded]
        except DecodeError as error:
            raise InvalidArgument(f"this is no AMQP message: {error}") from None
        exchange = self.session.exchange
        exchange.publish(self._queue, messages)
        if exchange.answers_to_lose > 0:
            exchange.answers_to_lose -= 1
            self.session.abort()


class ConsumerLink(OutgoingLink):
    """A link on which a client receives from a queue, in peek-lock or in receive-and-delete."""

    def __init__(self, session: Session, attach: Attach, queue: Queue) -> None:
        super().__init__(session, attach)
        self._queue = queue
        self._deletes = attach.snd_settle_mode == _SETTLED
        self._outcomes: dict[object, Callable[[UUID, list[Any]], None]] = {
            _ACCEPTED: lambda token, _fields: queue.complete(token),
            _RELEASED: lambda token, _fields: queue.release(token),
            _REJECTED: self._reject,
            _MODIFIED: self._modify,
        }

    def start(self) -> None:
        """Attach, and ask for messages."""
        super().start()
        self.session.exchange.add_receiver(self)

    def stop(self) -> None:
        """Ask for no more messages. Those the client has stay locked until their locks expire, as on the real thing."""
        self.session.exchange.remove_receiver(self)

    @property
    def idle_since(self) -> float | None:
        """When the link was last used, in the event loop's time; None while the client waits for a message."""
        return None if self.credit else self.last_used

    def pump(self) -> bool:
        """Hand over messages while there are any, at most `TURN`."""
        for _ in range(TURN):
            if self.credit == 0 or not self.session.can_send:
                return False
            stored = self._queue.take_next() if self._deletes else self._queue.lock_next()
            if stored is None:
                return False
            content = encode_message(stored.message, stored.stamps())
            tag = stored.lock_token or uuid4()
            delivery_id = self.send_message(content, tag.bytes_le, settled=self._deletes)
            if not self._deletes:
                self.session.expect_settlement(delivery_id, self, tag)
        return True

    def settle(self, token: UUID, state: Described | None) -> Described | None:
        """Do what the client decided about a message.

        Returns:
            The outcome to tell the client: its own, or a rejection that says why not. None when nothing is decided yet.
        """
        outcome = state or Described(_RELEASED, [])
        if outcome.descriptor == _RECEIVED:
            return None
        try:
            if outcome.descriptor not in self._outcomes:
                raise NotImplementedHere(f"the sandbox knows no outcome {outcome.descriptor}, and no transactions")
            self._outcomes[outcome.descriptor](token, outcome.value)
        except Refused as refused:
            return rejected(error(refused.condition, str(refused)))
        except (TypeError, ValueError, AttributeError):
            return rejected(error(InvalidArgument.condition, "the outcome is malformed"))
        return Described(outcome.descriptor, []) if outcome.descriptor == _REJECTED else outcome

    def _reject(self, token: UUID, fields: list[Any]) -> None:
        """Dead-letter a message; Service Bus clients give their reasons in the error's `info`."""
        info = _texts(fields[0].value[2] if fields and fields[0] else None)
        reason = info.pop("DeadLetterReason", None)
        description = info.pop("DeadLetterErrorDescription", None)
        self._queue.dead_letter(token, reason, description, info)

    def _modify(self, token: UUID, fields: list[Any]) -> None:
        failed, elsewhere, properties, *_ = *fields, None, None, None
        if elsewhere:
            self._queue.defer(token, _texts(properties))
        elif failed:
            self._queue.abandon(token, _texts(properties))
        else:
            self._queue.release(token)


def _texts(changes: dict[object, Any] | None) -> dict[str, Any]:
    """Return properties under plain strings, as application properties are named; clients send symbols."""
    return {str(name): change for name, change in (changes or {}).items()}
