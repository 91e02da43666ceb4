"""The ways a message can go in a queue, and when it has to go: schedules, locks, expiry, delivery limit, dead letters.

No I/O and no clock of its own: time is what `clock()` returns, in seconds since 1970. Nothing here refuses anything:
`queues.Queue`, which drives this, does.

Sources: https://learn.microsoft.com/azure/service-bus-messaging/message-transfers-locks-settlement,
https://learn.microsoft.com/azure/service-bus-messaging/message-sequencing and
https://learn.microsoft.com/azure/service-bus-messaging/service-bus-dead-letter-queues
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import IntEnum
from uuid import UUID, uuid4

from servicebus_sandbox.messages import Message
from servicebus_sandbox.properties import DISABLED, SEND_DISABLED, QueueProperties
from servicebus_sandbox.stored import Shelf, State, Stored

MEGABYTE = 2**20


class _Timer(IntEnum):
    SCHEDULE = 0
    LOCK = 1
    EXPIRY = 2


class Lifecycle:
    """The messages of one queue, or of a dead-letter subqueue: there nothing expires and deliveries are not limited.

    Attributes:
        shelf: All messages.
        locked: Those that are locked, by lock token.
        duplicates: How many messages were dropped because their id was known.
        subqueue: The queue's own dead letters.
        status: Of the queue, one of `STATUSES`.
        bury_in: Where dead letters go, set by whoever connects the queues.
        drops_forwarded_duplicates: Whether a dead letter that is forwarded here is dropped when its id is known.
            Whether the service does so is documented nowhere; it is the case that loses something.
    """

    subqueue: Lifecycle
    bury_in: Lifecycle

    def __init__(
        self, name: str, properties: QueueProperties, clock: Callable[[], float], *, is_subqueue: bool
    ) -> None:
        self.shelf = Shelf()
        self.locked: dict[UUID, Stored] = {}
        self.duplicates = 0
        self.status = properties.status
        self.subqueue = self.bury_in = self
        self.drops_forwarded_duplicates = True
        self.name = name
        self._properties = properties
        self._clock = clock
        self.is_subqueue = is_subqueue
        self._longest_life = properties.default_message_time_to_live.total_seconds()
        self._last_number = 0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._known_ids: dict[object, float] = {}
        self._when_due: dict[_Timer, Callable[[Stored, float], None]] = {
            _Timer.SCHEDULE: self._activate,
            _Timer.LOCK: lambda stored, _: self.put_back(stored, failed=True),
            _Timer.EXPIRY: lambda stored, _: self.expire(stored),
        }

    def take_in(self, message: Message, source: Stored | None = None, source_name: str | None = None) -> int:
        """Store a new message, or drop it when its id is known. Returns its sequence number in either case.

        `source` is the message as it was in the queue `source_name` that gave it up and forwards it here.
        """
        self._last_number += 1
        if (source is None or self.drops_forwarded_duplicates) and self._is_duplicate(message):
            self.duplicates += 1
            return self._last_number
        now = self._clock()
        too_long = message.ttl_ms is not None and message.ttl_ms > self._longest_life * 1000
        if too_long or message.expiry_is_off:
            ttl_ms = int(self._longest_life * 1000) if too_long else message.ttl_ms
            message = message.with_time_to_live(ttl_ms, arrived_ms=int(now * 1000))
        stored = Stored(self._last_number, message, enqueued_at=now, expires_at=now + self._time_to_live(message))
        if source:
            stored.dead_letter_source, stored.first_sequence_number = source_name, source.sequence_number
        scheduled_at = (message.scheduled_ms or 0) / 1000
        if scheduled_at > now:
            stored.state = State.SCHEDULED
            self.shelf.add(stored)
            self._set_timer(scheduled_at, stored, _Timer.SCHEDULE)
        else:
            self.shelf.add(stored)
            self._make_ready(stored)
        return self._last_number

    def _is_duplicate(self, message: Message) -> bool:
        """Tell whether an id is known, and know it from now on. The window is constant: the oldest id is the first."""
        if not self._properties.requires_duplicate_detection or message.message_id is None:
            return False
        now = self._clock()
        while self._known_ids and next(iter(self._known_ids.values())) <= now:
            del self._known_ids[next(iter(self._known_ids))]
        if message.message_id in self._known_ids:
            return True
        window = self._properties.duplicate_detection_history_time_window
        self._known_ids[message.message_id] = now + window.total_seconds()
        return False

    def _time_to_live(self, message: Message) -> float:
        return self._longest_life if message.ttl_ms is None else min(self._longest_life, message.ttl_ms / 1000)

    def _activate(self, stored: Stored, when: float) -> None:
        """Append a scheduled message as if it arrived then: it gets a new sequence number and its whole life."""
        self.shelf.remove(stored)
        self._last_number += 1
        stored.sequence_number, stored.enqueued_at = self._last_number, when
        stored.expires_at = stored.enqueued_at + self._time_to_live(stored.message)
        stored.state = State.ACTIVE
        self.shelf.add(stored)
        self._make_ready(stored)

    def lock(self, stored: Stored) -> None:
        """Lock a message under a new token for the queue's lock duration."""
        stored.lock_token = uuid4()
        self.locked[stored.lock_token] = stored
        self.renew(stored)

    def renew(self, stored: Stored) -> None:
        """Let a lock last a whole lock duration from now."""
        stored.locked_until = self._clock() + self._properties.lock_duration.total_seconds()
        self._set_timer(stored.locked_until, stored, _Timer.LOCK)

    def put_back(self, stored: Stored, *, failed: bool) -> None:
        """End a delivery; when it `failed` it counts, and may have been the last one."""
        self._unlock(stored)
        stored.delivery_count += failed
        if not self.is_subqueue and stored.delivery_count >= self._properties.max_delivery_count:
            times = f"{stored.delivery_count} delivery attempts"
            self.bury(stored, "MaxDeliveryCountExceeded", f"Message could not be consumed after {times}.")
        elif stored.state is State.ACTIVE:
            self._make_ready(stored)

    def defer(self, stored: Stored) -> None:
        """Set a message aside."""
        self._unlock(stored)
        stored.delivery_count += 1
        self.shelf.move(stored, State.DEFERRED)

    def remove(self, stored: Stored) -> None:
        """End a message."""
        self._unlock(stored)
        self.shelf.remove(stored)

    def _unlock(self, stored: Stored) -> None:
        if stored.lock_token:
            del self.locked[stored.lock_token]
            stored.lock_token = None

    def _make_ready(self, stored: Stored) -> None:
        if self.is_subqueue:
            self.shelf.make_ready(stored)
        elif stored.expires_at <= self._clock():
            self.expire(stored)
        else:
            self.shelf.make_ready(stored)
            self._set_timer(stored.expires_at, stored, _Timer.EXPIRY)

    def expire(self, stored: Stored) -> None:
        """Dead-letter or drop a message whose time is over."""
        if self._properties.dead_lettering_on_message_expiration:
            self.bury(stored, "TTLExpiredException", "The message expired and was dead lettered.")
        else:
            self.remove(stored)

    def bury(self, stored: Stored, reason: str | None, description: str | None) -> None:
        """Move a message to the dead letters: into the subqueue under its number, or forwarded under a new one.

        Where it would be forwarded to a queue that is full or takes no messages, it stays in the subqueue; source:
        https://learn.microsoft.com/azure/service-bus-messaging/service-bus-auto-forwarding

        A forwarded dead letter no longer has the time to live and the schedule its sender gave it: both are over, and
        would end it at once where it is kept.
        """
        facts = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
        message = stored.message.with_application_properties(
            {key: fact for key, fact in facts.items() if fact is not None}
        )
        self.remove(stored)
        if self.bury_in is self.subqueue or not self.bury_in.takes_in(message.size):
            stored.message, stored.state = message, State.ACTIVE
            self.subqueue.adopt(stored)
        else:
            self.bury_in.take_in(message.without_times(), stored, self.name)

    def takes_in(self, size: int) -> bool:
        """Tell whether the queue is open to messages, and has room for so many bytes more."""
        return self.status not in (DISABLED, SEND_DISABLED) and self.has_room(size)

    def has_room(self, size: int) -> bool:
        """Tell whether the queue and its subqueue together may hold so many bytes more."""
        held = self.shelf.size_bytes + self.subqueue.shelf.size_bytes
        return held + size <= self._properties.max_size_in_megabytes * MEGABYTE

    def adopt(self, stored: Stored) -> None:
        """Keep a message of the parent queue under the number it has."""
        self.shelf.add(stored)
        self._make_ready(stored)

    def due(self) -> float | None:
        """Say when `tick` next has something to do, in seconds since 1970."""
        while self._timers and self._meant(self._timers[0]) is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def tick(self) -> bool:
        """Do what has fallen due by now. Returns whether there was anything."""
        if not self._timers or self._timers[0][0] > (now := self._clock()):
            return False
        changed = False
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)
            if stored := self._meant(timer):
                self._when_due[timer[2]](stored, timer[0])
                changed = True
        return changed

    def _set_timer(self, when: float, stored: Stored, kind: _Timer) -> None:
        """Set a timer. Those no longer meant stay until they outnumber the messages by far."""
        heapq.heappush(self._timers, (when, stored.sequence_number, kind))
        if len(self._timers) > 4 * len(self.shelf) + 64:
            self._timers = sorted(timer for timer in self._timers if self._meant(timer))

    def _meant(self, timer: tuple[float, int, _Timer]) -> Stored | None:
        """Return the message that a timer still is for: it may be gone, locked, settled or renewed since."""
        when, number, kind = timer
        stored = self.shelf.get(number)
        if stored is None:
            return None
        if kind is _Timer.LOCK:
            meant = stored.lock_token is not None and stored.locked_until == when
        elif kind is _Timer.EXPIRY:
            meant = stored.state is State.ACTIVE and stored.lock_token is None and stored.expires_at == when
        else:
            meant = stored.state is State.SCHEDULED
        return stored if meant else None
