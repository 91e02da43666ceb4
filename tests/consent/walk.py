"""Every order of the steps of a small world, with the real processor and the real statements of SQLite.

**What walks** is the coroutine of `Processor.process`, stopped at each await: before the statement `admit`, before the
request, while it is unanswered, before the statement `record`, before the send, before it completes. A coroutine cannot
be copied, so a stopped invocation is known by the answers it has had, and a new one is led there by the same answers;
what follows is remembered. The statements are those of `SqliteLedger`: a database in memory is filled with the state
before and read after, and that is remembered too.

**The world** is one person, one sender, two words, two instances with one message each. An event is delivered at any
time after its word was said, in any order. Within a budget an instance dies, or loses its lock and goes on, wherever
it stands; a request times out, or is not sent in time; an event is there once more, also when all is quiet. A request
acts once, at any moment after it was sent, whoever waits for it; or never, when nobody does.

**Time** is known as far as it matters: the order of admissions, and which of them are older than the horizon. They
become so in their order, each only when its request can act no more (the assumption of docs/design.md, "Consent"), and
times are numbered anew after each step. What is scheduled comes at its moment or later. A failed request may wait for
its next try for any time, so its delay is none here, and the number of re-sends is not kept.

**Taken together**, unless the walk `stops_everywhere`, is what nobody can tell apart. Between an answer and `record`
nothing happens outside that could not happen before the answer is told. What is to be sent or completed is so at once,
or not at all: a message that is back in the queue, or new in it, may wait there instead.
"""

import sqlite3
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import coroutine
from typing import Any, NamedTuple
from unittest.mock import patch

from optout_core.adapters.ledger import schema
from optout_core.adapters.ledger import sqlite as sqlite_adapter
from optout_core.adapters.ledger.sqlite import SqliteLedger
from optout_core.arrivals import Arrival
from optout_core.batches import Operation
from optout_core.consent import Row, Word, microseconds, words
from optout_core.events import decode
from optout_core.keywords import Keywords
from optout_core.ledger import Admission, Confirmed
from optout_core.outgoing import Queue
from optout_core.processor import Processor
from optout_core.reasons import Reason
from optout_core.settlement import Schedule
from tests.build import NOW, PERSON, wire
from tests.consent.world import CONFIRMED, HORIZON, NO_ANSWER, RULE, Said, SilentTelemetry
from tests.fakes import delivered

_BASE = microseconds(NOW)
_HORIZON = HORIZON // timedelta(microseconds=1)
_SAID = _BASE - 86_400_000_000
#: When something was admitted: never, longer ago than the horizon, or 1 and up in their order; the last is now.
_NEVER, _OLD, _NOW = 0, -1, 50
_MOMENTS = {_NEVER: 0, _OLD: _BASE - 2 * _HORIZON} | {time: _BASE - (_NOW - time) * 1000 for time in range(1, _NOW + 1)}
_TIMES = {moment: time for time, moment in _MOMENTS.items()}
#: What an invocation is told in place of any moment within the horizon.
_RECENTLY = _NOW - 1
_BACK = _MOMENTS[_RECENTLY] + _HORIZON

_AT_ONCE = Schedule(retries=(), outage_first=timedelta(0), outage_max=timedelta(0))
_KEYWORDS = Keywords()


class Worker(NamedTuple):
    """An invocation that stands somewhere.

    Attributes:
        word: Which word its message tells of.
        again: Whether its message is one that an instance sent.
        told: The answers it has had.
        lock: Whether it may still complete.
        call: Of its unanswered request: when it was admitted, and whether it has acted; or None.
        admitted: When the request was admitted that it has not sent yet.
        opposite: When the opposite call was admitted that may act after its own.
    """

    word: int
    again: bool
    told: tuple = ()
    lock: bool = True
    call: tuple[int, bool] | None = None
    admitted: int = _NEVER
    opposite: int = _NEVER


class State(NamedTuple):
    """All that is, at one moment.

    Attributes:
        said: How many words were said.
        listed: What ACS's list says.
        row: The ledger's row of the person, or None.
        evidence: A bit for each word whose evidence is on the ledger.
        applied: A bit for each word that was recorded as applied.
        queue: Messages: the word, whether sent again, and whose horizon they wait for; `_NEVER` for nobody's.
        workers: The invocations.
        orphans: Requests on their way for which nobody waits: whether to add, when admitted, and whether it may be that
            they never act: not so when they were confirmed.
        faults: How many instances may still fail.
        time_outs: How many requests may still time out.
        copies: How many events may still be there once more.
    """

    said: int
    listed: bool
    row: Row | None
    evidence: int
    applied: int
    queue: tuple[tuple[int, bool, int], ...]
    workers: tuple[Worker, ...]
    orphans: tuple[tuple[bool, int, bool], ...]
    faults: int
    time_outs: int
    copies: int

    @property
    def is_quiet(self):
        return not (self.queue or self.workers or self.orphans)


#: What happened, what is then, and what is wrong about it, or None.
Step = tuple[str, State, str | None]


class _Stop(NamedTuple):
    """What an invocation waits for, and with what."""

    what: str
    of: Any = None


@coroutine
def _stop(what, of=None):
    return (yield _Stop(what, of))


class _Outside:
    """All that an invocation reaches: there it stops until it is told an answer."""

    is_in_doubt = False

    def refusal(self, deadline):
        del deadline

    async def admit(self, words):
        return await _stop("admit", words)

    async def record(self, answers):
        given = list(answers)
        return await _stop("record", given) if given else {}

    async def call(self, batches, deadline):
        del deadline
        outcomes = {}
        for batch in batches:
            outcome = await _stop("call", batch.operation is Operation.ADD)
            outcomes[batch.sender] = dict.fromkeys(batch.recipients, outcome)
        return outcomes

    async def send(self, outgoing):
        if outgoing:
            await _stop("send", outgoing)
        return []


async def _give_way():
    raise AssertionError("one message is no reason to give way")


class Walk:
    """The walk over one history of words.

    Attributes:
        states: How many were seen.
        steps: How many were taken.
        wrong: The first violation, a shortest one, and how it came; or None.
    """

    def __init__(self, said, budget, *, slots=2, answers_first=False, stops_everywhere=False):
        """Take kinds and times of the words; faults, time-outs and copies; and how many instances there are.

        Args:
            said: In the order of their times.
            budget: How many faults, time-outs and copies there may be.
            slots: How many instances there are.
            answers_first: Whether ACS may answer before a request acts.
            stops_everywhere: Whether nothing is taken together.
        """
        self._said = [Said(kind, f"{kind}-{number}", _SAID + at, (PERSON,)) for number, (kind, at) in enumerate(said)]
        self._messages = [
            Arrival(body=wire(each.body()), enqueued_at=NOW, message_id=f"message-{number}")
            for number, each in enumerate(self._said)
        ]
        self._words: list[Word] = []
        for message in self._messages:
            (event,) = decode(message, _KEYWORDS)
            self._words += words(event, event.sender, event.recipients, NOW)  # type: ignore[arg-type, union-attr]
        self._numbers = {word.event: number for number, word in enumerate(self._words)}
        self._sent_again: dict[int, Arrival] = {}
        self._slots, self._answers_first, self._stops_everywhere = slots, answers_first, stops_everywhere
        self._newest_is_stop = max((word.said_at, word.stop) for word in self._words)[1]
        # At the start the list says the opposite of what it is to say.
        self._start = State(0, not self._newest_is_stop, None, 0, 0, (), (), (), *budget)
        self._ledger = SqliteLedger(Path("nowhere"))
        # Opened here: the ledger itself would make a file.
        self._ledger._connection = sqlite3.connect(":memory:", isolation_level=None)
        sqlite_adapter._migrate(self._ledger._connection)
        self._stops: dict[tuple, _Stop] = {}
        self._answers: dict[tuple, tuple] = {}
        self.states = self.steps = 0
        self.wrong: tuple[str, list[str]] | None = None

    def explore(self):
        """Walk, the shortest ways first, until something is wrong or nothing is left."""
        try:
            with patch.object(sqlite_adapter, "time_ns", lambda: _BASE * 1000):
                self._explore()
        finally:
            self._ledger._close()
        return self

    def _explore(self):
        parents: dict[State, tuple[State, str] | None] = {self._start: None}
        waiting = deque([self._start])
        while waiting and not self.wrong:
            state = waiting.popleft()
            is_stuck = True
            for label, after, bad in self._steps(state):
                is_stuck = False
                self.steps += 1
                if bad:
                    self.wrong = bad, [*_way(parents, state), label]
                    break
                if after not in parents:
                    parents[after] = state, label
                    waiting.append(after)
            if not self.wrong and state.said == len(self._said) and (bad := self._verdict(state, is_stuck)):
                self.wrong = bad, _way(parents, state)
        self.states = len(parents)

    def _verdict(self, state, is_stuck):
        if state.is_quiet and state.listed != self._newest_is_stop:
            return (
                f"P1: the newest word is {'a STOP' if self._newest_is_stop else 'an opt-in'}, the list says otherwise"
            )
        if state.is_quiet and state.evidence != (1 << len(self._said)) - 1:
            return "P5: a word never reached the ledger"
        if is_stuck and not state.is_quiet:
            return "P5: something is left to do, and nobody can do it"
        return None

    # ---- the invocation ----

    def _stop_of(self, worker):
        """Say what an invocation waits for that had these answers."""
        key = worker[:3]
        if key not in self._stops:
            self._stops[key] = self._lead(*key)
        return self._stops[key]

    def _lead(self, word, again, told):
        outside: Any = _Outside()
        processor = Processor(
            endpoint=outside,
            outbox=outside,
            telemetry=SilentTelemetry(),
            ledger=outside,
            horizon=HORIZON,
            rule=RULE,
            schedule=_AT_ONCE,
            keywords=_KEYWORDS,
            now=lambda: NOW,
            chance=lambda: 0.0,
            give_way=_give_way,
        )
        running: Any = processor.process([self._sent_again[word] if again else self._messages[word]], 0)
        try:
            stop = running.send(None)
            for answer in told:
                stop = running.send(self._in_full(word, answer))
        except StopIteration:
            return _Stop("complete")
        running.close()
        return self._in_short(word, stop)

    def _in_full(self, word, answer):
        """Give an answer of a state as an invocation takes it."""
        what, of = answer
        mine = self._words[word]
        if what == "call":
            return CONFIRMED if of else NO_ANSWER
        if what == "send":
            return None
        said_at, row = of
        if row is None:
            return {}
        row = row._replace(add_at=_MOMENTS[row.add_at], remove_at=_MOMENTS[row.remove_at])
        return {mine.key: row} if what == "record" else Admission(_BASE, {mine.id: said_at}, {mine.key: row})

    def _in_short(self, word, stop):
        """Give what an invocation waits for as a state knows it."""
        mine = self._words[word]
        if stop.what == "admit":
            assert [each[:6] for each in stop.of] == [mine[:6]]
            return _Stop("admit")
        if stop.what == "record":
            ((recorded, settles, _),) = stop.of
            assert recorded[:6] == mine[:6]
            return _Stop("record", settles)
        if stop.what == "send":
            (message,) = stop.of
            if message.queue is Queue.DEAD_LETTERS:
                assert message.reason is Reason.NEWER_OPT_OUT
                return _Stop("send", None)
            copy = delivered(message, NOW)
            assert self._sent_again.setdefault(word, copy).body == copy.body
            due = microseconds(message.scheduled_at)
            assert due in {_BASE, _BACK}
            return _Stop("send", due == _BACK)
        return stop

    # ---- the ledger ----

    def _asks_ledger(self, key):
        if key not in self._answers:
            what, row, *of = key
            self._answers[key] = self._admits(row, *of) if what == "admit" else self._records(row, *of)
        return self._answers[key]

    def _admits(self, row, evidence, word):
        self._fill(row, evidence)
        mine = self._words[word]
        admission = self._ledger._admit([mine])
        events = [event for (event,) in self._run("SELECT event FROM consent_word")]
        found = sum(1 << self._numbers[event] for event in events)
        return self._kept(), found, admission.said_at.get(mine.id, mine.said_at), _timed(admission.row_of(mine))

    def _records(self, row, word, settles):
        self._fill(row, 0)
        mine = self._words[word]
        rows = self._ledger._record([Confirmed(mine, settles, CONFIRMED)])
        return self._kept(), _timed(rows[mine.key]) if rows else None

    def _fill(self, row, evidence):
        for table in ("consent", "consent_word", "consent_answer"):
            self._run(f"DELETE FROM {table}")  # noqa: S608 - names of ours
        known = [word for number, word in enumerate(self._words) if evidence >> number & 1]
        for columns in schema.written(known):
            self._run(f"INSERT INTO consent_word VALUES ({', '.join('?' * len(columns))})", columns)  # noqa: S608
        if row:
            columns = (*self._words[0].key, *row[:3], _MOMENTS[row.add_at], _MOMENTS[row.remove_at])
            self._run("INSERT INTO consent VALUES (?, ?, ?, ?, ?, ?, ?)", columns)

    def _kept(self):
        ((said_at, stop, settled, *times),) = self._run("SELECT said_at, stop, settled, add_at, remove_at FROM consent")
        return _timed(Row(said_at, bool(stop), bool(settled), *times))

    def _run(self, statement, values=()):
        return self._ledger._open().execute(statement, values).fetchall()

    # ---- the steps ----

    def _steps(self, state) -> Iterator[Step]:
        for label, after, bad in self._all_steps(state):
            yield label, _renumbered(after), bad

    def _all_steps(self, state) -> Iterator[Step]:
        yield from self._from_outside(state)
        if len(state.workers) < self._slots:
            for message in dict.fromkeys(state.queue):
                if message[2] <= _NEVER:
                    yield from self._delivers(state, message)
        for number, worker in enumerate(state.workers):
            rest = state._replace(workers=state.workers[:number] + state.workers[number + 1 :])
            yield from self._goes_on(rest, worker)
            if state.faults:
                yield from self._fails(rest, worker)

    def _from_outside(self, state) -> Iterator[Step]:
        if state.said < len(self._said):
            # Words of one moment are all said before anybody acts on one of them: ACS changes its list first.
            at = self._said[state.said].at
            now, listed, queue = state.said, state.listed, state.queue
            while now < len(self._said) and self._said[now].at == at:
                listed = self._said[now].is_stop if self._said[now].is_texted else listed
                queue, now = (*queue, (now, False, _NEVER)), now + 1
            yield f"{self._said[state.said].name} is said", state._replace(said=now, listed=listed, queue=queue), None
        if state.copies:
            for word in range(state.said):
                copied = state._replace(queue=(*state.queue, (word, False, _NEVER)), copies=state.copies - 1)
                yield f"{self._said[word].name} is there once more", copied, None
        for number, (is_add, _, may_not) in enumerate(state.orphans):
            rest = state._replace(orphans=state.orphans[:number] + state.orphans[number + 1 :])
            yield f"a :{_name(is_add)} acts for which nobody waits", rest._replace(listed=is_add), None
            if may_not:
                yield f"a :{_name(is_add)} never acts", rest, None
        if (first := min(_times(state), default=None)) is not None and first not in _may_act(state):
            yield "the oldest admission is older than the horizon", _renamed(state, {first: _OLD}), None

    def _delivers(self, state, message) -> Iterator[Step]:
        word, again, _ = message
        queue = list(state.queue)
        queue.remove(message)
        worker = Worker(word, again)
        label = f"{self._name_of(worker)} is delivered"
        taken = state._replace(queue=tuple(queue))
        if self._stops_everywhere:
            yield label, _with(taken, worker), None
            return
        yield from self._goes_through(taken, worker, label)
        if state.faults:
            lost = _with(state, worker._replace(lock=False))
            yield f"{label}, and the lock ends", lost._replace(faults=state.faults - 1), None

    def _goes_on(self, rest, worker) -> Iterator[Step]:
        stop = self._stop_of(worker)
        if stop.what == "call":
            yield from self._calls(rest, worker, is_add=stop.of)
        elif self._stops_everywhere:
            label, after, there, bad = self._step(rest, worker, stop)
            yield label, _with(after, there), bad
        else:
            yield from self._goes_through(rest, worker, f"{self._name_of(worker)} goes on")

    def _calls(self, rest, worker, *, is_add) -> Iterator[Step]:
        name = f":{_name(is_add)} of {self._name_of(worker)}"
        if worker.call is None:
            bad = None if rest.evidence >> worker.word & 1 else "P4: a call without evidence on the ledger"
            sent = worker._replace(call=(worker.admitted, False), admitted=_NEVER)
            yield f"{name} is sent", _with(rest, sent), bad
        else:
            admitted, has_acted = worker.call
            if has_acted:
                yield from self._answered(rest, worker, f"{name} is answered", is_done=True)
            else:
                acted = worker._replace(call=(_NEVER, True))
                yield f"{name} acts", _with(rest._replace(listed=is_add), acted), None
                if self._answers_first:
                    promised = _flying(rest, (is_add, admitted, False))
                    yield from self._answered(promised, worker, f"{name} is answered and acts later", is_done=True)
                rest = _flying(rest, (is_add, admitted, True))
        if rest.time_outs:
            less = rest._replace(time_outs=rest.time_outs - 1)
            yield from self._answered(less, worker, f"{name} times out", is_done=False)

    def _answered(self, rest, worker, label, *, is_done) -> Iterator[Step]:
        told = (*worker.told, ("call", is_done))
        worker = worker._replace(told=told, call=None, admitted=_NEVER)
        if self._stops_everywhere:
            yield label, _with(rest, worker), None
        else:
            yield from self._goes_through(rest, worker, label)

    def _goes_through(self, rest, worker, label) -> Iterator[Step]:
        """Go on until a request is to be sent, or to the end; it may die on the way."""
        wrong = None
        while worker and (stop := self._stop_of(worker)).what != "call":
            if rest.faults and worker.told and stop.what != "record":
                yield f"{label}, and it dies before `{stop.what}`", self._dies(rest, worker), wrong
            more, rest, worker, bad = self._step(rest, worker, stop)
            label, wrong = f"{label}; {more}", wrong or bad
        yield label, _with(rest, worker), wrong

    def _step(self, rest, worker, stop):
        """Let an invocation make one step; give what happened, all else, where it stands now, and what is wrong."""
        word, what = worker.word, stop.what
        if what == "admit":
            return self._step_of_admit(rest, worker)
        if what == "record":
            row, told = self._asks_ledger(("record", rest.row, word, stop.of))
            codes = [each[4:6][::-1] for number, each in enumerate(self._words) if rest.evidence >> number & 1]
            if stop.of and max(codes) == self._words[word][4:6][::-1]:
                rest = rest._replace(applied=rest.applied | 1 << word)
            shown = told and told._replace(add_at=_NEVER, remove_at=_NEVER)
            worker = worker._replace(told=(*worker.told, ("record", (self._words[word].said_at, shown))))
            return "recorded", rest._replace(row=row), worker, None
        if what == "send":
            label = "dead letter"
            if stop.of is not None:
                due = worker.opposite if stop.of else _NEVER
                rest = rest._replace(queue=(*rest.queue, (word, True, due)))
                label = "comes back when the opposite call acts no more" if stop.of else "is tried again"
            return label, rest, worker._replace(told=(*worker.told, ("send", None)), opposite=_NEVER), None
        return "completed" if worker.lock else "over, without the lock", rest, None, None

    def _step_of_admit(self, rest, worker):
        mine = self._words[worker.word]
        row, evidence, said_at, told = self._asks_ledger(("admit", rest.row, rest.evidence, worker.word))
        opposite = told.remove_at if mine.stop else told.add_at
        shown = _RECENTLY if opposite > _NEVER else opposite
        shown = told._replace(**{"add_at": _NOW, "remove_at": _NOW} | {"remove_at" if mine.stop else "add_at": shown})
        worker = worker._replace(told=(("admit", (said_at, shown)),))
        rest = rest._replace(row=row, evidence=evidence)
        if self._stop_of(worker).what != "call":
            return "admitted to no call", rest, worker, None
        bad = None
        if not mine.stop and any(
            each.stop and each.said_at >= mine.said_at and evidence >> number & 1
            for number, each in enumerate(self._words)
        ):
            bad = "P2: an opt-in is admitted with a STOP at or after it on the ledger"
        if rest.applied >> worker.word & 1:
            bad = "P3: a word is admitted again that was recorded as applied"
        return "admitted to call", rest, worker._replace(admitted=_NOW, opposite=max(opposite, _NEVER)), bad

    def _fails(self, rest, worker) -> Iterator[Step]:
        name = self._name_of(worker)
        yield f"the instance of {name} dies", self._dies(rest, worker), None
        if worker.lock:
            back = self._is_back(rest, worker)
            yield f"the instance of {name} loses its lock", _with(back, worker._replace(lock=False)), None

    def _dies(self, rest, worker):
        after = self._is_back(rest, worker)
        if worker.call and not worker.call[1]:
            after = _flying(after, (self._stop_of(worker).of, worker.call[0], True))
        return after

    def _is_back(self, rest, worker):
        queue = (*rest.queue, (worker.word, worker.again, _NEVER)) if worker.lock else rest.queue
        return rest._replace(queue=queue, faults=rest.faults - 1)

    def _name_of(self, worker):
        return self._said[worker.word].name + (" (sent again)" if worker.again else "")


def _name(is_add):
    return "add" if is_add else "remove"


def _timed(row):
    return row._replace(add_at=_TIMES[row.add_at], remove_at=_TIMES[row.remove_at])


def _flying(state, call):
    return state._replace(orphans=(*state.orphans, call))


def _with(state, worker):
    return state._replace(workers=(*state.workers, worker)) if worker else state


def _times(state):
    """Give all admissions within the horizon that matter to anybody."""
    times = {
        *(state.row[3:] if state.row else ()),
        *(due for *_, due in state.queue),
        *(at for _, at, _ in state.orphans),
    }
    for worker in state.workers:
        times |= {worker.admitted, worker.opposite, worker.call[0] if worker.call else _NEVER}
    return times - {_NEVER, _OLD}


def _may_act(state):
    """Give the admissions whose request may still act."""
    waiting = {worker.call[0] if worker.call else worker.admitted for worker in state.workers}
    return waiting | {at for _, at, _ in state.orphans}


def _renumbered(state):
    """Number the admissions anew, and put in order what has none: what is alike becomes the same."""
    return _renamed(state, {time: number for number, time in enumerate(sorted(_times(state)), 1)})


def _renamed(state, names):
    said, listed, row, evidence, applied, queue, workers, orphans, *budget = state
    new = ({_NEVER: _NEVER, _OLD: _OLD} | names).get
    if row:
        row = row._replace(add_at=new(row.add_at, row.add_at), remove_at=new(row.remove_at, row.remove_at))
    if workers:
        workers = tuple(
            Worker(
                word, again, told, lock, call and (new(call[0], call[0]), call[1]), new(mine, mine), new(other, other)
            )
            for word, again, told, lock, call, mine, other in workers
        )
        if len(workers) > 1:
            workers = tuple(sorted(workers, key=_order))
    if queue:
        # What was due is due.
        queue = tuple(sorted([(word, again, max(new(due, due), _NEVER)) for word, again, due in queue]))
    if orphans:
        orphans = tuple(sorted([(is_add, new(at, at), may_not) for is_add, at, may_not in orphans]))
    return State(said, listed, row, evidence, applied, queue, workers, orphans, *budget)


def _order(worker):
    return worker.word, worker.again, worker.lock, worker.admitted, worker.opposite, worker.call or (), worker.told


def _way(parents, state):
    labels = []
    while found := parents[state]:
        state, label = found
        labels.append(label)
    return labels[::-1]
