"""A queue of Service Bus as its clients see it: send, receive, settle, peek.

Rules:

1. No I/O and no clock of its own, see `lifecycle`.
2. Every operation first does what has fallen due by now, so that no answer is that of a moment ago.
3. An operation on several messages that is refused has changed none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from uuid import UUID, uuid4

from servicebus_sandbox.errors import (
    EntityDisabled,
    LockLost,
    MessageNotFound,
    NotAllowed,
    QuotaExceeded,
)
from servicebus_sandbox.lifecycle import Lifecycle
from servicebus_sandbox.messages import Message
from servicebus_sandbox.properties import DISABLED, RECEIVE_DISABLED, SEND_DISABLED, QueueProperties, check_status
from servicebus_sandbox.stored import State, Stored

#: Most messages a peek returns; https://github.com/Azure/azure-sdk-for-python/issues/26643.
PEEK_LIMIT = 250


class Queue:
    """A queue, or the dead-letter subqueue of `parent`.

    Attributes:
        life: What drives its messages.
        dead_letters: The dead-letter subqueue; a subqueue's own is itself. It stays empty when they are forwarded.
    """

    def __init__(
        self,
        name: str,
        properties: QueueProperties,
        *,
        clock: Callable[[], float],
        on_change: Callable[[], None] = lambda: None,
        parent: Queue | None = None,
    ) -> None:
        self.name = name
        self.properties = properties
        self._clock = clock
        self._on_change = on_change
        self._parent = parent
        self.life = Lifecycle(name, properties, clock, is_subqueue=parent is not None)
        self.dead_letters: Queue = self
        if parent is None:
            subqueue = f"{name}/$DeadLetterQueue"
            self.dead_letters = Queue(subqueue, properties, clock=clock, on_change=on_change, parent=self)
            self.life.subqueue = self.life.bury_in = self.dead_letters.life

    def forward_dead_letters_to(self, target: Queue) -> None:
        """Send dead letters on to another queue."""
        self.life.bury_in = target.life

    def __len__(self) -> int:
        return len(self.life.shelf)

    @property
    def active(self) -> int:
        """How many messages can be received or are locked: what Azure's metric `ActiveMessages` counts."""
        return self.life.shelf.count[State.ACTIVE]

    @property
    def scheduled(self) -> int:
        """How many messages wait for their time."""
        return self.life.shelf.count[State.SCHEDULED]

    @property
    def deferred(self) -> int:
        """How many messages can only be received by their sequence number."""
        return self.life.shelf.count[State.DEFERRED]

    @property
    def locked(self) -> int:
        """How many of the active and deferred messages are locked."""
        return len(self.life.locked)

    @property
    def dead_lettered(self) -> int:
        """How many messages the dead-letter subqueue holds. Forwarded ones are counted where they are."""
        return len(self.dead_letters)

    @property
    def duplicates(self) -> int:
        """How many messages were accepted and dropped because their id was known."""
        return self.life.duplicates

    def messages(self, state: State | None = None) -> list[Stored]:
        """List the messages in any state, or in one, ordered by sequence number."""
        return [stored for stored in self.life.shelf.starting_at(0) if state in (None, stored.state)]

    def peek(self, from_number: int, count: int) -> list[Stored]:
        """List at most `count` messages, never more than 250, from a sequence number on: any state, locked or not."""
        self.tick()
        return list(islice(self.life.shelf.starting_at(from_number), min(count, PEEK_LIMIT)))

    @property
    def status(self) -> str:
        """The queue's status, which is that of its subqueues as well: one of `STATUSES`."""
        # A queue without messages is false.
        return self.life.status if self._parent is None else self._parent.status

    @status.setter
    def status(self, status: str) -> None:
        check_status(status)
        queue = self if self._parent is None else self._parent
        queue.life.status = status

    def check_send(self) -> None:
        """Check that the queue is open to messages.

        Raises:
            EntityDisabled: Its status says no.
        """
        if self.status in (DISABLED, SEND_DISABLED):
            raise EntityDisabled(f"the messaging entity {self.name!r} takes no messages: its status is {self.status}")

    def check_receive(self) -> None:
        """Check that the queue gives messages out.

        Raises:
            EntityDisabled: Its status says no.
        """
        if self.status in (DISABLED, RECEIVE_DISABLED):
            raise EntityDisabled(f"the messaging entity {self.name!r} gives no messages: its status is {self.status}")

    def send(self, messages: Sequence[Message]) -> list[int]:
        """Take in all messages or none; those with a scheduled time ahead wait for it.

        Returns:
            The sequence number of each message. That of a duplicate is never seen again.

        Raises:
            NotAllowed: This is a dead-letter subqueue.
            EntityDisabled: The queue's status says no.
            QuotaExceeded: The queue would become larger than it may be.
        """
        if self._parent is not None:
            raise NotAllowed(f"nobody can send to {self.name}; send to {self._parent.name}")
        self.check_send()
        self.tick()
        if not self.life.has_room(sum(message.size for message in messages)):
            raise QuotaExceeded(f"the queue {self.name} is full; receive from it, or raise maxSizeInMegabytes")
        numbers = [self.life.take_in(_with_id(message)) for message in messages]
        self._on_change()
        return numbers

    def cancel(self, numbers: Sequence[int]) -> None:
        """Forget scheduled messages. Their ids stay known to duplicate detection.

        Raises:
            MessageNotFound: One of them is not scheduled, or no longer.
        """
        self.tick()
        for stored in self._all_in(State.SCHEDULED, numbers):
            self.life.remove(stored)
        self._on_change()

    def lock_next(self) -> Stored | None:
        """Lock the next message for the queue's lock duration; None when there is none."""
        self.tick()
        stored = self.life.shelf.next_ready()
        if stored:
            self.life.lock(stored)
            self._on_change()
        return stored

    def take_next(self) -> Stored | None:
        """Remove and return the next message; None when there is none."""
        self.tick()
        stored = self.life.shelf.next_ready()
        if stored:
            self.life.remove(stored)
            self._on_change()
        return stored

    def receive_deferred(self, numbers: Sequence[int], *, lock: bool) -> list[Stored]:
        """Lock, or else remove, deferred messages.

        One that has expired is dead-lettered only now, when somebody asks for it; source:
        https://learn.microsoft.com/azure/service-bus-messaging/message-expiration

        Raises:
            MessageNotFound: One of them is not deferred, is locked, or has expired.
        """
        self.tick()
        found = self._all_in(State.DEFERRED, numbers)
        expired = [stored for stored in found if self._parent is None and stored.expires_at <= self._clock()]
        for stored in expired:
            self.life.expire(stored)
            self._on_change()
        if expired:
            raise MessageNotFound(f"the message {expired[0].sequence_number} in {self.name} has expired")
        for stored in found:
            (self.life.lock if lock else self.life.remove)(stored)
        self._on_change()
        return found

    def complete(self, token: UUID) -> None:
        """Remove a message: the work is done."""
        self.life.remove(self._locked_by(token))
        self._on_change()

    def release(self, token: UUID) -> None:
        """Give a message back unseen: the delivery does not count."""
        self.life.put_back(self._locked_by(token), failed=False)
        self._on_change()

    def abandon(self, token: UUID, properties: Mapping[str, object] | None = None) -> None:
        """Give a message back; it is dead-lettered when it has been delivered too often.

        Here and below, `properties` are set as application properties.
        """
        self.life.put_back(self._locked_by(token, properties), failed=True)
        self._on_change()

    def defer(self, token: UUID, properties: Mapping[str, object] | None = None) -> None:
        """Set a message aside until somebody asks for its sequence number."""
        self.life.defer(self._locked_by(token, properties))
        self._on_change()

    def dead_letter(
        self,
        token: UUID,
        reason: str | None = None,
        description: str | None = None,
        properties: Mapping[str, object] | None = None,
    ) -> None:
        """Give a message up.

        Raises:
            NotAllowed: It is in a dead-letter subqueue already.
        """
        if self._parent is not None:
            raise NotAllowed(f"a message in {self.name} cannot be dead-lettered again; complete or abandon it")
        self.life.bury(self._locked_by(token, properties), reason, description)
        self._on_change()

    def renew(self, tokens: Sequence[UUID]) -> list[float]:
        """Lock locked messages for another lock duration from now; returns their ends in seconds since 1970."""
        found = [self._locked_by(token) for token in tokens]
        for stored in found:
            self.life.renew(stored)
        self._on_change()
        return [stored.locked_until for stored in found]

    def due(self) -> float | None:
        """Say when `tick` next has something to do, in seconds since 1970."""
        return self.life.due()

    def tick(self) -> None:
        """Do what has fallen due by now."""
        if self.life.tick():
            self._on_change()

    def _locked_by(self, token: UUID, properties: Mapping[str, object] | None = None) -> Stored:
        self.tick()
        try:
            stored = self.life.locked[token]
        except KeyError:
            raise LockLost(
                "the lock supplied is invalid: either it has expired, or the message has already been removed from the"
                " queue; a message whose lock has expired is delivered again"
            ) from None
        if properties:
            stored.message = stored.message.with_application_properties(properties)
        return stored

    def _all_in(self, state: State, numbers: Sequence[int]) -> list[Stored]:
        found = [self.life.shelf.get(number) for number in dict.fromkeys(numbers)]
        matching = [stored for stored in found if stored and stored.state is state and not stored.lock_token]
        if len(matching) != len(found):
            raise MessageNotFound(f"not all of these are {state.name.lower()} messages in {self.name}: {list(numbers)}")
        return matching


def _with_id(message: Message) -> Message:
    """Give a message without an id one, as the service does (https://github.com/Azure/azure-service-bus-java/issues/69)."""
    return message if message.message_id is not None else message.with_id(uuid4().hex)
