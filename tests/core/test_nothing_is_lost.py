"""The first promise, against a seeded model: whatever fails, every recipient of every event is in exactly one place.

A small world: a queue, a dead-letter queue, an endpoint with outages, invocations that die, events published twice,
people who say STOP, operators who send dead letters back. In one kind of world the dead-letter queue is closed for long
times; in the worst kind sends are refused at random, and ACS answers otherwise when a message is delivered again: then
a recipient may be in two places, and is never in none.
"""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum, auto

import pytest

from optout_core.arrivals import Arrival
from optout_core.consent import OptInRule, microseconds, words
from optout_core.errors import EventError, SendFailed
from optout_core.events import OptIn, OptOut, decode
from optout_core.numbers import person_key, read_sender, sender_key
from optout_core.outcomes import Outcome, Verdict
from optout_core.outgoing import Queue
from optout_core.reports import RecipientOutcome
from tests.build import MINUTE, NOW, bare, canonical, text_message, wire
from tests.core.job import Job
from tests.fakes import CONFIRMED, FakeClock, FakeEndpoint, delivered

PEOPLE = [f"+1555000{number:04}" for number in range(40)]
SENDERS = ["+18001234567", "55555", "Contoso"]
#: How one and the same person may be written.
SPELLINGS = [str, lambda to: to[1:], lambda to: f"00{to[1:]}", lambda to: f"{to[:2]} {to[2:5]}\u2011{to[5:]}"]
VERDICTS = [Verdict.CONFIRMED] * 4 + [Verdict.FAILED, Verdict.REJECTED, Verdict.CONTRADICTED, Verdict.REFUSED]
MAX_AGE = timedelta(hours=72)
RULE = OptInRule(MAX_AGE, frozenset(map(read_sender, SENDERS[:2])))


def dice(*seed):
    """Give dice that fall alike on every run."""
    return random.Random("/".join(map(str, seed)))  # noqa: S311 - nothing here is secret


class Kind(StrEnum):
    """What goes wrong in a world."""

    DEATHS = auto()
    NO_DEAD_LETTERS = auto()
    REFUSALS = auto()


class Weather(FakeEndpoint):
    """An endpoint whose answer depends on whom, and on when; a redelivery at once is answered alike, or as it comes."""

    def __init__(self, seed, clock, *, is_moody):
        super().__init__()
        self.seed, self.clock, self.is_moody = seed, clock, is_moody
        self.asked_before = 0

    def answer(self, batch, recipient):
        hour = self.clock() - NOW
        if dice(self.seed, hour // timedelta(hours=6)).random() < 0.3:
            return Outcome(Verdict.UNAVAILABLE, "no answer")
        self.asked_before += self.is_moody
        verdict = dice(self.seed, batch.sender.text, recipient.text, hour, self.asked_before).choice(VERDICTS)
        return CONFIRMED if verdict is Verdict.CONFIRMED else Outcome(verdict, "words", 400)


class World:
    """Everything outside the processor, and the books of what must be somewhere."""

    def __init__(self, seed, kind):
        self.random = dice(seed)
        self.kind = kind
        self.clock = FakeClock(NOW)
        self.queue = []  # (when it becomes visible, message)
        self.letters = []
        self.expected: Counter[tuple[str, str]] = Counter()
        self.removed: Counter[tuple[str, str]] = Counter()
        self.unreadable: Counter[bytes] = Counter()
        self.seen = set()
        self.job = Job(
            endpoint=Weather(seed, self.clock, is_moody=kind is Kind.REFUSALS),
            rule=RULE,
            now=self.clock,
            chance=self.random.random,
        )
        self.outbox = self.job.outbox

    def enqueue(self, message, at=None):
        # A broker gives no two messages of a queue the same moment and place; here the moment alone tells.
        self.clock.time += timedelta(microseconds=1)
        self.queue.append((at or self.clock.time, message))

    def publish(self, number):
        """Publish an event in some form, now and then twice."""
        chosen = [self.random.choice(SPELLINGS)(to) for to in self.random.choices(PEOPLE, k=self.random.randint(1, 8))]
        sender = self.random.choice(SENDERS)
        said = (self.clock.time - self.random.choice([MINUTE, MAX_AGE - MINUTE, 2 * MAX_AGE])).isoformat()
        body = self.random.choice(
            [
                bare(*chosen, sender=sender),
                canonical(id=f"e{number}", time=said, data=bare(*chosen, sender=sender)),
                canonical(id=f"e{number}", time=None, data=bare(*chosen, sender=sender)),
                [canonical(id=f"e{number}.{part}", time=said, data=bare(to)) for part, to in enumerate(chosen)],
                text_message("START", id=f"t{number}", person=chosen[0], received=said),
                text_message("STOP", id=f"t{number}", person=chosen[0], received=said),
                text_message("hello", id=f"t{number}"),
                {"neither": number},
            ]
        )
        for copy in range(self.random.choice([1, 1, 1, 2])):
            self.enqueue(self.arrival(wire(body), f"m{number}.{copy}"))

    def arrival(self, body, message_id):
        message = Arrival(body=body, enqueued_at=self.clock.time + timedelta(microseconds=1), message_id=message_id)
        self.expected += people_of(message)
        self.unreadable[body] += not readable(message)
        return message

    def invoke(self):
        """Take some of what is due through an invocation that may die and be delivered again."""
        due = [entry for entry in self.queue if entry[0] <= self.clock.time]
        taken = self.random.sample(due, min(len(due), self.random.randint(1, 12)))
        if self.kind is Kind.REFUSALS:
            self.outbox.accepts = [self.random.randint(0, 5) for _ in range(self.random.choice([0, 0, 1, 2]))]
        if self.kind is Kind.NO_DEAD_LETTERS:
            self.outbox.closed = {Queue.DEAD_LETTERS} if dice(self.clock() - NOW).random() < 0.5 else set()
        while True:
            try:
                report = asyncio.run(self.job.process([message for _, message in taken]))
            except SendFailed:
                continue
            if self.kind is not Kind.NO_DEAD_LETTERS and self.random.random() < 0.2:
                continue  # died between the last send and completing
            break
        for entry in taken:
            self.queue.remove(entry)
        self.collect()
        self.book(report, stops_in(message for _, message in taken))

    def collect(self):
        """Put what the broker newly accepted where it belongs."""
        for message in [*self.outbox.retries, *self.outbox.dead_letters]:
            if (message.queue, message.message_id) not in self.seen:
                self.seen.add((message.queue, message.message_id))
                arrived = delivered(message, self.clock.time + timedelta(microseconds=1))
                if message.reason is None:
                    self.enqueue(arrived, message.scheduled_at)
                else:
                    self.letters.append((message, arrived))

    def book(self, report, stops):
        for each in report.recipients:
            if each.outcome is RecipientOutcome.REMOVED:
                self.removed[each.event.raw, each.recipient.text] += 1
                stopped = stops.get((sender_key(each.sender), person_key(each.recipient)))
                said = self.clock.time - timedelta(seconds=each.age)
                assert each.effect or stopped is None or stopped < microseconds(said)
                assert each.sender.text != "Contoso"
                assert timedelta(seconds=each.age) <= MAX_AGE

    def send_back(self):
        """Send a dead letter back: as it is, or only its body, as a person would who copies it."""
        message, _ = self.letters.pop(self.random.randrange(len(self.letters)))
        at = self.clock.time + timedelta(microseconds=1)
        self.enqueue(delivered(message, at, with_properties=self.random.random() < 0.5))

    def check(self):
        """Every recipient, and every message nobody can read, is in exactly one place."""
        lying = [message for _, message in self.queue] + [arrived for _, arrived in self.letters]
        places = self.removed + sum(map(people_of, lying), Counter())

        unreadable = Counter(message.body for message in lying if not readable(message))
        if self.kind is Kind.REFUSALS:
            assert places >= self.expected
            assert unreadable >= self.unreadable
            assert places.keys() == self.expected.keys()
        else:
            assert places == self.expected
            assert unreadable == +self.unreadable


_decoded: dict[int, tuple[Arrival, tuple]] = {}


def events_of(message):
    """Decode a message once, however often the books are checked; nothing for what nobody can read."""
    if id(message) not in _decoded:
        with suppress(EventError):
            _decoded[id(message)] = message, decode(message)
    return _decoded.setdefault(id(message), (message, ()))[1]


def readable(message):
    return bool(events_of(message))


def stops_in(messages):
    """Give the newest STOP of each person in some messages."""
    newest = {}
    for event in (event for message in messages for event in events_of(message)):
        if isinstance(event, OptOut):
            for word in words(event, event.sender, event.recipients, NOW):
                newest[word.key] = max(word.said_at, newest.get(word.key, word.said_at))
    return newest


def people_of(message):
    """Count the recipients of the opt-ins in a message."""
    events = [event for event in events_of(message) if isinstance(event, OptIn)]
    return Counter((event.id.raw, to.text) for event in events for to in event.recipients)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("seed", range(15))
def test_every_recipient_of_every_event_is_in_exactly_one_place(seed, kind):
    world = World(seed, kind)

    for number in range(25):
        world.publish(number)
        world.invoke()
        world.check()
        if world.letters and world.random.random() < 0.3:
            world.send_back()
            world.check()
        world.clock.time += world.random.choice([MINUTE, timedelta(hours=1), timedelta(hours=6)])
    world.kind = Kind.DEATHS if kind is Kind.NO_DEAD_LETTERS else kind
    world.outbox.closed = set()
    while world.queue:
        world.clock.time = max(world.clock.time, min(visible for visible, _ in world.queue))
        world.invoke()
        world.check()

    assert world.removed
    assert world.letters
