"""Links to queues: one on which a client sends, one on which it receives and settles."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from servicebus_sandbox.amqp import DecodeError, Described
from servicebus_sandbox.errors import InvalidArgument, NotImplementedHere, Refused
from servicebus_sandbox.frames import Attach, Flow, error, rejected
from servicebus_sandbox.links import Carrier, IncomingLink, OutgoingLink
from servicebus_sandbox.messages import decode_message, encode_message
from servicebus_sandbox.queues import Queue
from servicebus_sandbox.sections import BATCH_FORMAT, split_batch

#: Messages a link gets before it is another's turn: some milliseconds of work.
TURN = 64

#: The sender settle mode that means receive-and-delete.
_SETTLED = 1

_RECEIVED, _ACCEPTED, _REJECTED, _RELEASED, _MODIFIED = range(0x23, 0x28)


class PublisherLink(IncomingLink):
    """A link on which a client sends to a queue."""

    def __init__(self, carrier: Carrier, attach: Attach, queue: Queue) -> None:
        super().__init__(carrier, attach)
        self._queue = queue

    def check_status(self) -> None:
        """Check that the queue is open to messages still.

        Raises:
            EntityDisabled: It is not.
        """
        self._queue.check_send()

    @property
    def idle_since(self) -> float:
        """When the client last sent something, in the event loop's time."""
        return self.last_used

    def receive(self, content: bytes, message_format: int) -> None:
        """Send a message, or all messages of a batch, to the queue.

        Raises:
            Refused: It cannot be read, or the queue does not take it.
        """
        exchange = self.carrier.exchange
        try:
            encoded = split_batch(content) if message_format == BATCH_FORMAT else [content]
            messages = [decode_message(one, exchange.limits) for one in encoded]
        except DecodeError as error:
            raise InvalidArgument(f"this is no AMQP message: {error}") from None
        exchange.publish(self._queue, messages)
        if exchange.answers_to_lose > 0:
            exchange.answers_to_lose -= 1
            self.carrier.abort()


class ConsumerLink(OutgoingLink):
    """A link on which a client receives from a queue, in peek-lock or in receive-and-delete."""

    def __init__(self, carrier: Carrier, attach: Attach, queue: Queue) -> None:
        super().__init__(carrier, attach)
        self._queue = queue
        self._deletes = attach.snd_settle_mode == _SETTLED
        self._unsettled = 0
        self._most_unsettled = carrier.exchange.limits.max_unsettled
        self._outcomes: dict[object, Callable[[UUID, object], None]] = {
            _ACCEPTED: lambda token, _value: queue.complete(token),
            _RELEASED: lambda token, _value: queue.release(token),
            _REJECTED: self._reject,
            _MODIFIED: self._modify,
        }

    def start(self) -> None:
        """Attach, and ask for messages."""
        super().start()
        self.carrier.exchange.add_receiver(self)

    def stop(self) -> None:
        """Ask for no more messages. Those the client has stay locked until their locks expire, as on the real thing."""
        self.carrier.exchange.remove_receiver(self)

    def check_status(self) -> None:
        """Check that the queue gives messages out still.

        Raises:
            EntityDisabled: It does not.
        """
        self._queue.check_receive()

    @property
    def idle_since(self) -> float | None:
        """When the link was last used, in the event loop's time; None while the client waits for a message."""
        return None if self.credit else self.last_used

    def on_flow(self, flow: Flow) -> None:
        """Note what the client grants; while receives are refused, the link is detached for it."""
        if flow.link_credit:
            try:
                self.carrier.exchange.check_receive(self._queue)
            except Refused as refused:
                self.detach(refused)
                return
        super().on_flow(flow)

    def pump(self) -> bool:
        """Hand over messages while there are any, at most `TURN`."""
        if not self.carrier.exchange.gives_out(self._queue):
            return False
        for _ in range(TURN):
            if self.credit == 0 or self._unsettled >= self._most_unsettled or not self.carrier.can_send:
                return False
            stored = self._queue.take_next() if self._deletes else self._queue.lock_next()
            if stored is None:
                return False
            content = encode_message(stored.message, stored.stamps())
            token = stored.lock_token
            # The tag is the lock's token, and empty where there is no lock: clients take 16 bytes for one. Source:
            # azure-servicebus' own live test `test_message_backcompat_receive_and_delete_databody`.
            delivery_id = self.send_message(content, token.bytes_le if token else b"", settled=token is None)
            if token:
                self._unsettled += 1
                self.carrier.expect_settlement(delivery_id, self, token)
        return True

    def settle(self, token: UUID, state: Described | None) -> Described | None:
        """Do what the client decided about a message.

        Returns:
            The outcome to tell the client: its own, or a rejection that says why not. None when nothing is decided yet.
        """
        outcome = state or Described(_RELEASED, [])
        if outcome.descriptor == _RECEIVED:
            return None
        self._unsettled -= 1
        self.carrier.exchange.changed()
        try:
            if not isinstance(outcome.descriptor, int) or outcome.descriptor not in self._outcomes:
                raise NotImplementedHere("the broker knows accepted, rejected, released and modified, no transactions")
            self._outcomes[outcome.descriptor](token, outcome.value)
        except Refused as refused:
            return rejected(error(refused.condition, str(refused)))
        return Described(outcome.descriptor, []) if outcome.descriptor == _REJECTED else outcome

    def _reject(self, token: UUID, value: object) -> None:
        """Dead-letter a message; Service Bus clients give their reasons in the error's `info`, others give none."""
        (reason,) = _fields(value, 1)
        if not isinstance(reason, Described | None):
            raise InvalidArgument("the outcome is malformed: its error is none")
        _, _, info = _fields(reason.value if reason else [], 3)
        changes = _changes(info)
        given = changes.pop("DeadLetterReason", None)
        description = changes.pop("DeadLetterErrorDescription", None)
        self._queue.dead_letter(token, given, description, changes)

    def _modify(self, token: UUID, value: object) -> None:
        """Defer a message that is undeliverable here, else abandon it, which counts whatever `delivery-failed` says.

        .NET abandons with no field set (`AmqpReceiver.GetModifiedOutcome`), JavaScript with `undeliverable-here` unset,
        and both document that the delivery count goes up.
        """
        _, elsewhere, properties = _fields(value, 3)
        settle = self._queue.defer if elsewhere else self._queue.abandon
        settle(token, _changes(properties))


def _fields(value: object, count: int) -> list[Any]:
    """Return the first fields of an outcome or error; those left out are None."""
    if not isinstance(value, list):
        raise InvalidArgument("the outcome is malformed: its fields are no list")
    return [*value, *[None] * count][:count]


def _changes(properties: object) -> dict[str, Any]:
    """Return properties under plain strings, as application properties are named; clients send symbols."""
    if not isinstance(properties, dict | None):
        raise InvalidArgument("the outcome is malformed: its properties are no map")
    return {str(name): change for name, change in (properties or {}).items()}
