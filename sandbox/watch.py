"""Puts together what became of every recipient: what was published, what the function reported, what is dead.

Everything that was published is in the report from the start, as waiting: what nobody ever reports is still shown.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from optout_core import properties
from optout_core.adapters import received
from optout_core.amqp import Message
from optout_core.arrivals import Arrival
from optout_core.errors import EventError
from optout_core.events import EventResult, Ignored, OptIn, OptOut, decode
from optout_core.keywords import Keywords
from optout_core.masking import Untrusted
from optout_core.numbers import Number
from optout_core.reasons import Reason
from optout_core.reports import RecipientOutcome, Report
from sandbox.publishing import Publication


@dataclass(slots=True)
class WatchedRecipient:
    """Where one recipient of one event is now, and what other words of the same person did on the way.

    `published` says how many messages held it: an event may be published again under its id.
    """

    event: Untrusted
    sender: Number
    to: Number
    outcome: str = RecipientOutcome.WAITING.value
    reason: str | None = None
    attempts: int = 0
    next_try: datetime | None = None
    effects: list[str] = field(default_factory=list)
    published: int = 0


@dataclass(slots=True)
class WatchedEvent:
    """What became of one event; `result` is None until the function has said."""

    form: str
    result: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenDeadLetter:
    """One message of the dead-letter queue."""

    reason: Untrusted
    description: Untrusted
    words: tuple[OptIn | OptOut, ...]
    message_id: Untrusted
    properties: dict[str, object] = field(repr=False)

    @property
    def event(self) -> Untrusted:
        """Give the id of the event it is about; where the broker dead-lettered it unread, of the message."""
        if self.words:
            return self.words[0].id
        known = self.properties.get(properties.EVENT_ID)
        return Untrusted(known) if isinstance(known, str) else self.message_id

    @property
    def recipients(self) -> list[Number]:
        """Give the numbers it is about; none where nobody could read them."""
        return [to for word in self.words for to in word.recipients]


class Watch:
    """The published events, followed until each is settled."""

    def __init__(self, publications: Iterable[Publication], keywords: Keywords | None = None) -> None:
        """Expect the events of these messages."""
        self._keywords = keywords or Keywords()
        self.events: dict[Untrusted, WatchedEvent] = {}
        self.recipients: dict[tuple[Untrusted, Untrusted, Number, Number], WatchedRecipient] = {}
        self._sources: dict[Untrusted, Untrusted] = {}
        self._named: dict[Untrusted, list[Untrusted]] = {}
        self._changed = asyncio.Event()
        self.expect(publications)

    def expect(self, publications: Iterable[Publication]) -> None:
        """Expect the events of more messages."""
        now = datetime.now(UTC)
        for publication in publications:
            self._expect(
                Arrival(
                    body=publication.body,
                    enqueued_at=now,
                    message_id=publication.message_id,
                    properties={_text(name): value for name, value in publication.properties.items()},
                )
            )

    def observe(self, report: Report) -> None:
        """Take in what one invocation did."""
        for event in report.events:
            known = self.events.setdefault(self._name(event.source, event.id), WatchedEvent(event.form))
            # A retry of an event comes back as a canonical event: what it was at first stays.
            if known.result is None:
                known.form, known.result = event.form, event.result.value
        for each in report.recipients:
            name = self._name(each.source, each.event)
            key = (each.source, each.event, each.sender, each.recipient)
            recipient = self.recipients.setdefault(key, WatchedRecipient(name, each.sender, each.recipient))
            recipient.outcome, recipient.attempts, recipient.next_try = each.outcome.value, each.attempts, each.next_try
            recipient.reason = each.reason.value if each.reason else None
            recipient.effects += [each.effect.value] if each.effect else []
        self._changed.set()

    def settled(self) -> bool:
        """Say whether nothing waits any more."""
        return all(event.result for event in self.events.values()) and self.count_waiting() == 0

    async def until_settled(self, patience: float) -> bool:
        """Wait until nothing waits any more.

        Args:
            patience: Seconds in which something new has to be settled.

        Returns:
            Whether everything is settled; False when patience ran out.
        """
        done = 0
        try:
            async with asyncio.timeout(patience) as timeout:
                while not self.settled():
                    self._changed.clear()
                    await self._changed.wait()
                    if (now_done := self.count_settled()) > done:
                        done = now_done
                        timeout.reschedule(asyncio.get_running_loop().time() + patience)
        except TimeoutError:
            return False
        return True

    def count_settled(self) -> int:
        """Count the recipients that wait no more, and the events that led to none."""
        settled = len(self.recipients) - self.count_waiting()
        return settled + sum(event.result is not None for event in self.events.values())

    def count_waiting(self) -> int:
        """Count the recipients that wait."""
        return sum(recipient.outcome == RecipientOutcome.WAITING for recipient in self.recipients.values())

    def take_over(self, dead: SeenDeadLetter) -> None:
        """Take in what the broker itself dead-lettered, which no report tells of."""
        if dead.reason.raw not in (Reason.MAX_DELIVERY_COUNT_EXCEEDED, Reason.TTL_EXPIRED):
            return
        for name in self._named.get(dead.message_id, ()):
            self.events[name].result = EventResult.DEAD_LETTERED.value
        for word in dead.words:
            name = self._name(word.source, word.id)
            self.events.setdefault(name, WatchedEvent(word.form)).result = EventResult.DEAD_LETTERED.value
            for to in word.recipients:
                key = (word.source, word.id, word.sender, to)
                recipient = self.recipients.setdefault(key, WatchedRecipient(name, word.sender, to))
                recipient.outcome, recipient.reason = RecipientOutcome.DEAD_LETTERED.value, dead.reason.raw

    def _expect(self, arrival: Arrival) -> None:
        try:
            decoded = decode(arrival, self._keywords)
        except EventError:
            name = self._name(Untrusted(""), Untrusted(arrival.id))
            self.events[name] = WatchedEvent("unknown")
            self._named[Untrusted(arrival.id)] = [name]
            return
        for event in decoded:
            name = self._name(event.source, event.id)
            self.events[name] = WatchedEvent(event.form)
            self._named.setdefault(Untrusted(arrival.id), []).append(name)
            if not isinstance(event, Ignored):
                for to in event.recipients:
                    key = (event.source, event.id, event.sender, to)
                    before = self.recipients[key].published if key in self.recipients else 0
                    self.recipients[key] = WatchedRecipient(name, event.sender, to, published=before + 1)

    def _name(self, source: Untrusted, event_id: Untrusted) -> Untrusted:
        # Two sources may use the same id; the second one is shown with its source, and what is no event as a message.
        owner = self._sources.setdefault(event_id, source)
        return event_id if owner == source else Untrusted(f"{source.raw or 'message'}/{event_id.raw}")


def read_dead_letter(message: Message) -> SeenDeadLetter:
    """Read a message of the dead-letter queue, whoever put it there."""
    arrival = received.read(message, datetime.now(UTC))
    facts = {name: plain(value) for name, value in arrival.properties.items()}
    try:
        words = tuple(event for event in decode(arrival) if not isinstance(event, Ignored))
    except EventError:
        words = ()
    return SeenDeadLetter(
        reason=Untrusted(str(facts.get(properties.DEAD_LETTER_REASON, ""))),
        description=Untrusted(str(facts.get(properties.DEAD_LETTER_DESCRIPTION, ""))),
        words=words,
        message_id=Untrusted(arrival.message_id or ""),
        properties=facts,
    )


def plain(value: object) -> object:
    """Turn what AMQP gives into what JSON takes: text and numbers."""
    return value if isinstance(value, bool | int | float | None) else _text(value)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
