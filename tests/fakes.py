"""Stand-ins with memory for what the processor needs from the outside."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from optout_core.arrivals import Arrival
from optout_core.consent import NOTHING_SAID, microseconds
from optout_core.ledger import Admission
from optout_core.outcomes import Outcome, Verdict
from optout_core.outgoing import NotTaken, Outgoing, Queue

CONFIRMED = Outcome(Verdict.CONFIRMED, status=200)


class MemoryLedger:
    """A consent ledger in memory."""

    def __init__(self, now):
        self._now = now
        self._said_at = {}
        self._rows = {}

    async def admit(self, words):
        now = microseconds(self._now())
        known, newest = {}, {}
        for word in words:
            said_at = self._said_at.setdefault(word.id, word.said_at)
            if said_at != word.said_at:
                known[word.id] = said_at
            said = (said_at, word.stop)
            newest[word.key] = max(said, newest.get(word.key, said))
        rows = {key: self._rows.get(key, NOTHING_SAID).admit(*said, now) for key, said in newest.items()}
        self._rows |= rows
        return Admission(now, known, rows)

    async def record(self, answers):
        newer = {}
        for word, settles, _ in answers:
            row = self._rows[word.key]
            if (row.said_at, row.stop) != (word.said_at, word.stop):
                newer[word.key] = row
            elif settles:
                self._rows[word.key] = row._replace(settled=True)
        return newer


@dataclass
class FakeEndpoint:
    """Answer by script: each call takes the next outcome of a recipient, and who has none left is confirmed.

    Attributes:
        script: Outcomes by number, in the order of the calls.
        batches: What was asked, in order.
        refuses: The outcome of everybody while nobody is asked.
    """

    script: Mapping[str, list[Outcome]] = field(default_factory=dict)
    batches: list = field(default_factory=list)
    refuses: Outcome | None = None

    def refusal(self, deadline):
        del deadline
        return self.refuses

    async def call(self, batches, deadline):
        del deadline
        self.batches += batches
        outcomes = defaultdict(dict)
        for batch in batches:
            outcomes[batch.sender] |= {to: self.answer(batch, to) for to in batch.recipients}
        return outcomes

    def answer(self, _batch, recipient):
        outcomes = self.script.get(recipient.text)
        return outcomes.pop(0) if outcomes else CONFIRMED

    @property
    def asked(self):
        """Every number asked for, in order, as often as it was asked for."""
        return [to.text for batch in self.batches for to in batch.recipients]

    @property
    def removed(self):
        """Every number that was to be taken off the list, in order."""
        return [to for operation, to in self.operations if operation == "remove"]

    @property
    def operations(self):
        """What was asked for whom, in order."""
        return [(batch.operation.value, to.text) for batch in self.batches for to in batch.recipients]


@dataclass
class FakeOutbox:
    """Keep what was sent as a broker does: a repeated id is accepted and dropped.

    Attributes:
        accepts: How many messages are accepted before each send fails, one entry for each send that fails.
        closed: The queues that take nothing.
        is_in_doubt: Whether nothing was taken when something was last to be sent.
    """

    accepts: list[int] = field(default_factory=list)
    closed: set[Queue] = field(default_factory=set)
    is_in_doubt: bool = False
    _kept: dict = field(default_factory=dict)

    async def send(self, outgoing):
        room = self.accepts.pop(0) if self.accepts else len(outgoing)
        taken = [message for message in outgoing[:room] if message.queue not in self.closed]
        for message in taken:
            self.keep(message)
        if outgoing:
            self.is_in_doubt = not taken
        return [
            NotTaken(message, ConnectionError("the broker went away"))
            for position, message in enumerate(outgoing)
            if position >= room or message.queue in self.closed
        ]

    def keep(self, message: Outgoing):
        self._kept.setdefault((message.queue, message.message_id), message)

    @property
    def retries(self):
        return [message for (queue, _), message in self._kept.items() if queue is Queue.OPT_INS]

    @property
    def dead_letters(self):
        return [message for (queue, _), message in self._kept.items() if queue is Queue.DEAD_LETTERS]


@dataclass
class FakeTelemetry:
    """Remember what was measured.

    Attributes:
        invocations: The lineages of each invocation that ended, well or not.
        reports: Every report.
    """

    invocations: list = field(default_factory=list)
    reports: list = field(default_factory=list)

    @contextmanager
    def invocation(self, lineages):
        try:
            yield
        finally:
            self.invocations.append(list(lineages))

    def report(self, report):
        self.reports.append(report)


@dataclass
class FakeClock:
    """Say what time it is, until somebody moves it."""

    time: datetime

    def __call__(self):
        return self.time


def delivered(message: Outgoing, enqueued_at: datetime, *, with_properties: bool = True) -> Arrival:
    """Deliver what was sent, as the trigger would; without its properties, as a person who copies only the body."""
    return Arrival(
        body=message.body,
        enqueued_at=enqueued_at,
        message_id=message.message_id if with_properties else None,
        content_type=message.content_type,
        correlation_id=message.correlation_id,
        properties=message.properties if with_properties else {},
    )
