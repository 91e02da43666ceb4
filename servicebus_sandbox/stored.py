"""A message in a queue, and the shelf that a queue keeps its messages on."""

import heapq
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from servicebus_sandbox.messages import Message, Stamps


class State(IntEnum):
    """The values of the annotation `x-opt-message-state`."""

    ACTIVE = 0
    DEFERRED = 1
    SCHEDULED = 2


@dataclass(slots=True, eq=False)
class Stored:
    """A message in a queue: to read, not to change. Times are seconds since 1970.

    Attributes:
        delivery_count: How many deliveries have failed.
        dead_letter_source: The queue that gave it up, when it was forwarded from there.
        first_sequence_number: Its number in that queue; 0 when it came from none.
    """

    sequence_number: int
    message: Message
    enqueued_at: float
    expires_at: float
    state: State = State.ACTIVE
    delivery_count: int = 0
    lock_token: UUID | None = None
    locked_until: float = 0.0
    dead_letter_source: str | None = None
    first_sequence_number: int = 0

    def stamps(self) -> Stamps:
        """Say what the broker writes on the message for a receiver."""
        return Stamps(
            sequence_number=self.sequence_number,
            enqueued_ms=int(self.enqueued_at * 1000),
            state=self.state,
            delivery_count=self.delivery_count,
            locked_until_ms=int(self.locked_until * 1000) if self.lock_token else None,
            lock_token=self.lock_token,
            dead_letter_source=self.dead_letter_source,
            first_sequence_number=self.first_sequence_number,
        )


class Shelf:
    """Messages by sequence number, in order, with those that are ready to be received at hand.

    `_ready` and `_order` may hold numbers of messages that are gone. They are skipped when met, and dropped when they
    outnumber the living, so that each operation costs about the same however many messages there are.

    Attributes:
        size_bytes: Size of all messages, as received.
        count: How many messages are in each state.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self.count: Counter[State] = Counter()
        self._messages: dict[int, Stored] = {}
        self._order: list[int] = []
        self._ready: list[int] = []

    def __len__(self) -> int:
        return len(self._messages)

    def get(self, number: int) -> Stored | None:
        """Return the message of that sequence number, if it is here."""
        return self._messages.get(number)

    def add(self, stored: Stored) -> None:
        """Put a message in its place."""
        number = stored.sequence_number
        self._messages[number] = stored
        self.count[stored.state] += 1
        self.size_bytes += stored.message.size
        if not self._order or number > self._order[-1]:
            self._order.append(number)
        else:
            insort(self._order, number)

    def remove(self, stored: Stored) -> None:
        """Take a message away."""
        del self._messages[stored.sequence_number]
        self.count[stored.state] -= 1
        self.size_bytes -= stored.message.size
        if len(self._order) > 2 * len(self._messages) + 64:
            self._order = sorted(self._messages)

    def move(self, stored: Stored, state: State) -> None:
        """Change a message's state."""
        self.count[stored.state] -= 1
        self.count[state] += 1
        stored.state = state

    def make_ready(self, stored: Stored) -> None:
        """Let a message be the next, when all before it are taken."""
        heapq.heappush(self._ready, stored.sequence_number)

    def next_ready(self) -> Stored | None:
        """Return the first ready message, which is then no longer ready; None when there is none."""
        while self._ready:
            stored = self._messages.get(heapq.heappop(self._ready))
            if stored and stored.state is State.ACTIVE and stored.lock_token is None:
                return stored
        return None

    def starting_at(self, number: int) -> Iterator[Stored]:
        """Yield the messages from a sequence number on, in order."""
        for position in range(bisect_left(self._order, number), len(self._order)):
            if stored := self._messages.get(self._order[position]):
                yield stored
