"""A world around the real `Processor`: people, a broker, ACS, instances that stop anywhere, and books on all of it.

- **Instances** run `Processor.process` and stand still before and after each await: before and after each statement of
  the ledger, before each request, while it is unanswered, before and after each send, and before they complete. There
  they may die, or lose the lock and go on.
- **ACS** keeps a set without times. A call takes effect when the test says so: before its answer, after it, after a
  time-out, after its caller's death, twice, or never. For a texted word ACS changes the set itself.
- **The broker** delivers at least once: what was locked comes again, what is scheduled comes later, copies come at any
  time.
- **The books** know what was published, what was put to the ledger, and what ACS was asked. They never read the table
  `consent`: who is to judge the ledger may not ask it who is right.

There is one clock, and it is the ledger's too: SQLite's adapter reads it in place of the machine's, PostgreSQL through
a function of ours that stands before its own on the search path.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count, product
from types import coroutine
from typing import Any, Protocol
from unittest.mock import patch

from psycopg import AsyncConnection, Connection

from optout_core.adapters.ledger import sqlite as sqlite_adapter
from optout_core.adapters.ledger.postgres import PostgresLedger
from optout_core.adapters.ledger.sqlite import SqliteLedger
from optout_core.addresses import PostgresAddress, read_ledger
from optout_core.arrivals import Arrival
from optout_core.batches import Operation
from optout_core.consent import ConsentKey, OptInRule, OptOutScope, Word, microseconds, moment_of
from optout_core.errors import LedgerUnavailable, SendFailed
from optout_core.keywords import Keywords
from optout_core.numbers import person_key, sender_key
from optout_core.outcomes import Outcome, Verdict
from optout_core.outgoing import NotTaken, Queue
from optout_core.processor import Processor
from optout_core.settlement import Schedule
from tests.build import NOW, PERSON, SENDER, canonical, text_message, wire
from tests.fakes import delivered

SECOND = timedelta(seconds=1)
#: How long after its admission a call may act, and how long after its start an invocation may send one.
HORIZON, BUDGET = timedelta(minutes=5), timedelta(minutes=1)
#: Whether a word is a STOP, and whether it was texted: then ACS changes its list itself.
KINDS = {"web": (False, False), "START": (False, True), "out": (True, False), "STOP": (True, True)}
#: No opt-in is too old here, and no failure the last: what ends as a dead letter for that is no matter of order.
RULE = OptInRule(timedelta(days=1000))
SCHEDULE = Schedule(retries=(30 * SECOND,) * 1000, outage_first=30 * SECOND, outage_max=15 * 60 * SECOND)

_KEYWORDS = Keywords()
CONFIRMED = Outcome(Verdict.CONFIRMED, "", 200)
NO_ANSWER = Outcome(Verdict.UNAVAILABLE, "no answer in time")
_NOT_SENT = Outcome(Verdict.UNAVAILABLE, "no time left")


class Clock:
    """Says what time it is; it only goes forward."""

    def __init__(self, start=NOW):
        self.now = microseconds(start)

    def __call__(self) -> datetime:
        return moment_of(self.now)

    def time_ns(self):
        return self.now * 1000


# ---- ledgers -------------------------------------------------------------------------------------------------------


class Store(Protocol):
    """A ledger, and what else a world needs of its database."""

    ledger: Any

    async def tells(self, now: int) -> None:
        """Let the ledger's clock say this: microseconds since 1970."""

    async def has(self, word: Word) -> bool:
        """Say whether the evidence of a word is on the ledger."""


class _InTurn(SqliteLedger):
    """The adapter without its thread: here one statement runs at a time anyway."""

    async def _run(self, work, *arguments):
        return work(*arguments)


class OverSqlite:
    """A ledger in a file."""

    def __init__(self, path):
        self.ledger = _InTurn(path)
        self.clock = Clock()
        self._reader = sqlite3.connect(path, isolation_level=None)

    async def tells(self, now):
        self.clock.now = now

    async def has(self, word):
        asked = "SELECT 1 FROM consent_word WHERE (sender, person, source, event, stop) = (?, ?, ?, ?, ?)"
        return self._reader.execute(asked, word.id).fetchone() is not None

    def close(self):
        self._reader.close()


@asynccontextmanager
async def over_sqlite(path):
    """Open a ledger in a file whose clock is set by hand."""
    store = OverSqlite(path)
    with patch.object(sqlite_adapter, "time_ns", store.clock.time_ns):
        async with store.ledger:
            await store.ledger.migrate()
            try:
                yield store
            finally:
                store.close()


class OverPostgres:
    """A ledger on a server."""

    def __init__(self, ledger, connection):
        self.ledger = ledger
        self._connection = connection
        self._told = None

    async def tells(self, now):
        if now != self._told:
            await self._connection.execute("SELECT setval('world_now', %s)", (now,))
            self._told = now

    async def has(self, word):
        asked = "SELECT 1 FROM consent_word WHERE (sender, person, source, event, stop) = (%s, %s, %s, %s, %s)"
        return await (await self._connection.execute(asked, word.id)).fetchone() is not None


def open_ledger(url, **parts):
    """Make the ledger at an address that holds a password."""
    address = read_ledger(url)
    assert isinstance(address, PostgresAddress)
    return PostgresLedger(address, _no_credential, **parts)


def _no_credential():
    raise AssertionError("the address holds a password")


#: What stands before `pg_catalog` on the search path is found first. A sequence is read without a snapshot.
_OUR_CLOCK = """
CREATE SCHEMA world;
ALTER DATABASE "{name}" SET search_path = world, pg_catalog;
CREATE SEQUENCE world.world_now;
CREATE FUNCTION world.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
AS 'SELECT timestamptz ''epoch'' + (SELECT last_value FROM world.world_now) * interval ''1 microsecond''';
"""


def give_clock(url):
    """Let a database's clock be set by hand."""
    with Connection.connect(url, autocommit=True) as connection:
        connection.execute(_OUR_CLOCK.format(name=url.rpartition("/")[2]).encode())


@asynccontextmanager
async def over_postgres(url):
    """Open a ledger in a database that has a clock of ours (`give_clock`)."""
    async with (
        open_ledger(url, connections=1) as ledger,
        await AsyncConnection.connect(url, autocommit=True) as connection,
    ):
        await ledger.migrate()
        await connection.execute("TRUNCATE consent, consent_word, consent_answer")
        yield OverPostgres(ledger, connection)


# ---- standing still ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pause:
    """Where an instance stands still."""

    where: str


@coroutine
def pause(where) -> Generator[Pause, None, None]:
    """Stand still until somebody lets the instance go on."""
    yield Pause(where)


@coroutine
def _to_next_pause(running: Coroutine) -> Generator[Any, Any, str | None]:
    """Run to the next pause, and give where that is; what it waits for otherwise, the loop is asked for."""
    try:
        waits = running.send(None)
        while not isinstance(waits, Pause):
            try:
                came = yield waits
            except BaseException as error:  # noqa: BLE001 - everything that the loop throws is the instance's
                waits = running.throw(error)
            else:
                waits = running.send(came)
    except StopIteration:
        return None
    return waits.where


# ---- ACS -----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Call:
    """One request on its way.

    Attributes:
        operation: What it asks.
        entries: Of the list: sender and recipient, as they are written.
        admitted_at: When the ledger admitted it: microseconds since 1970. It acts within the horizon, or never.
        answer: What its caller is told.
        is_flying: Whether it may still act.
        waits: Whether it acts apart from its answer.
    """

    acs: "Acs"
    operation: Operation
    entries: tuple[tuple[str, str], ...]
    admitted_at: int
    answer: Outcome = CONFIRMED
    is_flying: bool = True
    waits: bool = False

    def acts(self, *, again=False):
        """Take effect; once, unless another one follows."""
        assert self.is_flying
        assert self.acs.clock.now < self.last_moment, "no call acts later than the horizon after its admission"
        self.acs.put(self.operation is Operation.ADD, self.entries)
        self.is_flying = again

    def never_acts(self):
        self.is_flying = False

    def times_out(self):
        """Let the caller give up; the call flies on."""
        self.answer, self.waits = NO_ANSWER, True
        return self

    def is_answered_first(self):
        """Let the caller be answered; the call acts later."""
        self.waits = True
        return self

    def is_answered(self):
        """Tell the caller; unless something else was said of it, the call acts now."""
        if self.is_flying and not self.waits:
            self.acts()
        return self.answer

    @property
    def last_moment(self):
        return self.admitted_at + HORIZON // timedelta(microseconds=1)


class Acs:
    """The opt-out list, and the requests that are on their way to it."""

    def __init__(self, clock):
        self.clock = clock
        self.listed = set()
        self.calls = []

    def put(self, is_stop, entries):
        (self.listed.update if is_stop else self.listed.difference_update)(entries)

    @property
    def flying(self):
        return [call for call in self.calls if call.is_flying]


# ---- what is said, and the queue -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """A word that a person says, and the event that tells of it."""

    kind: str
    name: str
    at: int
    people: tuple[str, ...]
    sender: str = SENDER
    is_timed: bool = True

    @property
    def is_stop(self):
        return KINDS[self.kind][0]

    @property
    def is_texted(self):
        return KINDS[self.kind][1]

    def body(self):
        time = moment_of(self.at).isoformat()
        if self.is_texted:
            person, number = self.people[0].removeprefix("+"), self.sender.removeprefix("+")
            return text_message(self.kind, received=time, person=person, number=number, id=self.name)
        kind = "sms.opt-out.v1" if self.is_stop else "sms.opt-in.v1"
        facts = {"id": self.name, "type": kind, "time": time if self.is_timed else None}
        event = canonical(*self.people, **facts)
        return event | {"data": event["data"] | {"from": self.sender}}


@dataclass(eq=False)
class Message:
    """A message in the queue; due at this time: microseconds since 1970."""

    arrival: Arrival
    due: int


# ---- the books -----------------------------------------------------------------------------------------------------


@dataclass
class Admitted:
    """What was known when an instance put its words to the ledger."""

    words: dict[ConsentKey, list[Word]]
    stops: dict[ConsentKey, int]
    applied: set[tuple[ConsentKey, int, bool]]
    at: int


class Books:
    """What was said, and what was done about it: they say what is wrong.

    Attributes:
        wrong: What must not be, in the order in which it was seen.
    """

    def __init__(self):
        self.published = {}
        self.wrong = []
        self.times = {}
        self._stops = {}
        self._newest = {}
        self._applied = set()

    def publishes(self, said: Said):
        self.published[said.name, said.is_stop] = said

    def admits(self, words, at) -> Admitted:
        """Write down what is put to the ledger; an event that says no time has that of its first admission."""
        applied = set(self._applied)
        by_key = defaultdict(list)
        for word in words:
            said = self.published[word.event, word.stop]
            time = self.times.setdefault(word.id, said.at if said.is_timed else word.said_at)
            by_key[word.key].append(word)
            self._newest[word.key] = max(self._newest.get(word.key, (time, word.stop)), (time, word.stop))
            if word.stop:
                self._stops[word.key] = max(self._stops.get(word.key, time), time)
        return Admitted(dict(by_key), dict(self._stops), applied, at)

    def records(self, answers):
        """Write down what counts as applied: confirmed, settled, and still the newest."""
        for word, settles, _ in answers:
            said = self.times[word.id], word.stop
            if settles and self._newest[word.key] == said:
                self._applied.add((word.key, *said))

    async def asks(self, key, is_stop, admitted, store):
        """Look at a call before it is sent."""
        mine = [word for word in admitted.words.get(key, ()) if word.stop == is_stop]
        if not mine:
            self.wrong.append("P4: a call for somebody of whom nothing was put to the ledger")
            return
        said = max(self.times[word.id] for word in mine)
        if not is_stop and admitted.stops.get(key, said - 1) >= said:
            self.wrong.append("P2: :remove for an opt-in with a STOP at or after it on the ledger")
        if (key, said, is_stop) in admitted.applied:
            self.wrong.append("P3: a call for a word that was recorded as applied")
        newest = [word for word in mine if self.times[word.id] == said]
        if not [word for word in newest if await store.has(word)]:
            self.wrong.append("P4: a call without evidence on the ledger")

    def closes(self, listed, rule):
        """Compare ACS's list with the newest words, when nothing is on its way any more."""
        told = {(word[:2], *word[3:]) for word in self.times}
        for said in self.published.values():
            everywhere = said.is_stop and rule.scope is OptOutScope.ALL
            senders = {sender.text for sender in rule.allowed_senders} if everywhere else {said.sender}
            for sender, person in sorted(product(senders, said.people)):
                key = ConsentKey(sender, person)
                if (key, said.name, said.is_stop) not in told:
                    self.wrong.append(f"P5: {said.kind} {said.name} never reached the ledger")
        for key, (_, is_stop) in self._newest.items():
            if (tuple(key) in listed) != is_stop:
                newest = "a STOP" if is_stop else "an opt-in"
                self.wrong.append(f"P1: the newest word is {newest}, and the list says the opposite")
        return self.wrong


# ---- instances -----------------------------------------------------------------------------------------------------


class SilentTelemetry:
    @contextmanager
    def invocation(self, lineages):
        del lineages
        yield

    def report(self, report):
        pass


class Instance:
    """One invocation: it stands still before it begins, and wherever it waits for something outside.

    Attributes:
        where: Where it stands: "start", "admit", "admitted", "call", "answer", "record", "recorded", "send", "sent",
            "complete", or None when it is over.
        call: The request that it sent last.
        has_lock: Whether it may still complete its messages.
        fails: How its next statement or send fails: "before" it is done, or "after"; or, of a send, only for "letters";
            None for not at all.
        refuses: The outcome of everybody while nobody is asked.
        completes_first: Whether it completes its messages before it sends others: it must not.
    """

    completes_first = False

    def __init__(self, world, messages):
        self.world = world
        self.messages = messages
        self.where: str | None = "start"
        self.call: Call | None = None
        self.has_lock = True
        self.fails: str | None = None
        self.refuses: Outcome | None = None
        self.is_in_doubt = False
        self._admitted: Admitted | None = None
        self._deadline = world.clock.now + BUDGET // timedelta(microseconds=1)
        self._number = next(world.numbers)
        self._running = self._run()

    def __str__(self):
        return f"instance {self._number}"

    async def _run(self):
        processor = Processor(
            endpoint=_Endpoint(self),
            outbox=self,
            telemetry=SilentTelemetry(),
            ledger=self,
            horizon=HORIZON,
            rule=self.world.rule,
            schedule=SCHEDULE,
            keywords=_KEYWORDS,
            now=self.world.clock,
            chance=lambda: 0.0,
            give_way=lambda: pause("give way"),
        )
        try:
            await processor.process([message.arrival for message in self.messages], self._deadline)
        except SendFailed:
            self.loses_lock()
            return
        await pause("complete")
        self._completes()

    def _completes(self):
        if self.has_lock:
            self.messages, self.has_lock = [], False

    # What a test does with it.

    async def goes_on(self):
        """Go to the next place."""
        self.where = await _to_next_pause(self._running)
        if self.where is None:
            self.world.instances.remove(self)
        return self.where

    async def reaches(self, *places):
        """Go on until it stands at one of these places."""
        while await self.goes_on() not in places:
            assert self.where, f"it never reached {places}"
        return self

    async def finishes(self):
        """Go on to the end."""
        while self.where:
            await self.goes_on()

    def dies(self):
        """End here; what was locked comes again."""
        self._running.close()
        self.where = None
        self.world.instances.remove(self)
        self.loses_lock()

    def loses_lock(self):
        """Go on without the lock: the messages are somebody else's now."""
        if self.has_lock:
            self.has_lock = False
            self.world.queue += self.messages

    # The ledger.

    async def admit(self, words):
        await pause("admit")
        admission = await self._asks(self.world.store.ledger.admit(words), lambda: self._takes_in(words))
        await pause("admitted")
        return admission

    async def record(self, answers):
        await pause("record")
        rows = await self._asks(self.world.store.ledger.record(answers), lambda: self.world.books.records(answers))
        await pause("recorded")
        return rows

    def _takes_in(self, words):
        self._admitted = self.world.books.admits(words, self.world.clock.now)

    async def _asks(self, statement: Coroutine, note):
        fails, self.fails = self.fails, None
        if fails == "before":
            statement.close()
            raise LedgerUnavailable("says the test")
        await self.world.store.tells(self.world.clock.now + self.world.skew)
        answer = await statement
        note()
        if fails == "after":
            # It was kept, and nobody was told.
            raise LedgerUnavailable("says the test")
        return answer

    # ACS.

    async def sends(self, batch):
        """Send one request, and wait for its answer."""
        await pause("call")
        world, admitted = self.world, self._admitted
        if world.clock.now >= self._deadline:
            return _NOT_SENT
        assert admitted is not None
        is_stop = batch.operation is Operation.ADD
        for to in batch.recipients:
            key = ConsentKey(sender_key(batch.sender), person_key(to))
            await world.books.asks(key, is_stop, admitted, world.store)
        entries = tuple((batch.sender.text, to.text) for to in batch.recipients)
        self.call = call = Call(world.acs, batch.operation, entries, admitted.at)
        world.acs.calls.append(call)
        await pause("answer")
        return call.is_answered()

    # The broker.

    async def send(self, outgoing):
        if self.completes_first:
            self._completes()
        if outgoing:
            await pause("send")
        fails, self.fails = self.fails, None
        # All of it is refused now and at the second try; or only dead letters are, which then wait in the other queue.
        self.fails = fails if fails == "before" else None
        refused = [each for each in outgoing if fails == "before" or (fails and each.queue is Queue.DEAD_LETTERS)]
        for message in outgoing:
            if message not in refused:
                self.world.keeps(message)
        if outgoing:
            await pause("sent")
        return [NotTaken(message, ConnectionError("the broker went away")) for message in refused]


class _Endpoint:
    """ACS, as an instance reaches it."""

    def __init__(self, instance):
        self._instance = instance

    def refusal(self, deadline):
        del deadline
        return self._instance.refuses

    async def call(self, batches, deadline):
        del deadline
        outcomes = defaultdict(dict)
        for batch in batches:
            for part in self._instance.world.cut(batch):
                outcome = await self._instance.sends(part)
                outcomes[part.sender] |= dict.fromkeys(part.recipients, outcome)
        return outcomes


# ---- the world -----------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class World:
    """Everything outside the processor.

    Attributes:
        store: The ledger.
        drops_duplicates: Whether the broker drops a message whose id it has seen.
        rule: What a word has to satisfy.
        cut: Gives the requests into which a batch is cut; ACS's adapter cuts what fails as a whole.
        mishap: What is done with every new instance before it begins.
        skew: By how much the ledger's clock is ahead of the broker's: microseconds.
    """

    store: Store
    drops_duplicates: bool = False
    rule: OptInRule = RULE
    cut: Any = lambda batch: (batch,)
    mishap: Any = None
    skew: int = 0
    clock: Clock = field(default_factory=Clock)
    books: Books = field(default_factory=Books)
    queue: list = field(default_factory=list)
    letters: list = field(default_factory=list)
    instances: list = field(default_factory=list)

    def __post_init__(self):
        self.acs = Acs(self.clock)
        self._seen = set()
        self._ids, self.numbers = count(1), count(1)

    # People.

    def at(self, seconds):
        return microseconds(NOW + seconds * SECOND)

    def says(self, kind, at, *people, **facts):
        """Say a word so many seconds after the start; a texted one changes ACS's list at once. No event comes yet."""
        said = Said(kind, facts.pop("name", f"{kind}-{at}"), self.at(at), people or (PERSON,), **facts)
        self.is_said(said)
        return said

    def is_said(self, said):
        self.waits_until(said.at)
        self.books.publishes(said)
        if said.is_texted:
            self.acs.put(said.is_stop, {(said.sender, person) for person in said.people})

    # Time.

    def waits_until(self, moment):
        """Let time go by: microseconds since 1970."""
        self.clock.now = max(self.clock.now, moment)
        assert all(self.clock.now < call.last_moment for call in self.acs.flying), "a call is still flying"

    def waits(self, seconds):
        self.waits_until(self.clock.now + seconds * 1_000_000)

    # The broker.

    def arrives(self, said):
        """Put the event of a word into the queue: each time a copy more."""
        arrival = Arrival(body=wire(said.body()), enqueued_at=self.clock(), message_id=f"copy-{next(self._ids)}")
        message = Message(arrival, self.clock.now)
        self.queue.append(message)
        return message

    def keeps(self, outgoing):
        """Take what an instance sends."""
        if self.drops_duplicates and (outgoing.queue, outgoing.message_id) in self._seen:
            return
        self._seen.add((outgoing.queue, outgoing.message_id))
        if outgoing.queue is Queue.DEAD_LETTERS:
            self.letters.append(outgoing)
            return
        due = self.clock.now if outgoing.scheduled_at is None else microseconds(outgoing.scheduled_at)
        # The broker enqueues what is scheduled when it is due.
        due = max(due, self.clock.now)
        self.queue.append(Message(delivered(outgoing, moment_of(due)), due))

    @property
    def due(self):
        return [message for message in self.queue if message.due <= self.clock.now]

    def takes(self, *messages):
        """Let an instance take these messages, or what is put into the queue for these words now."""
        taken = [self.arrives(each) if isinstance(each, Said) else each for each in messages]
        self.queue = [message for message in self.queue if message not in taken]
        instance = Instance(self, taken)
        self.instances.append(instance)
        if self.mishap:
            self.mishap(instance)
        return instance

    async def rests(self):
        """Let everything go on, one after the other, until nothing is on its way; give what is wrong."""
        turns = 0
        while self.instances or self.queue:
            assert (turns := turns + 1) < 100, "it goes on for ever"
            for instance in list(self.instances):
                await instance.finishes()
            if due := self.due:
                await self.takes(due[0]).finishes()
            elif self.queue:
                self.waits_until(min(message.due for message in self.queue))
        assert not self.acs.flying, "the test must say what becomes of every call"
        return self.books.closes(self.acs.listed, self.rule)

    @property
    def asked(self):
        """Give what ACS was asked, in order."""
        return [call.operation.value for call in self.acs.calls]

    @property
    def reasons(self):
        """Give why there are dead letters."""
        return [letter.reason.value for letter in self.letters]
