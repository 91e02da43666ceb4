"""A seeded history: what can go wrong at any moment goes wrong now and then, alike on every run with the same seed.

Several people, one or two senders, up to three instances beside zombies; batches, in one slice or in several; events
without a time, or of one id; copies; instances that die, sleep, or lose their lock; requests that are cut, time out,
act late, twice or never; statements whose answer is lost; a ledger whose clock is corrected; sends that fail; a gate
that is closed; dead letters that are sent back. Times lie close together or far apart, by the seed.
"""

import heapq
import random
from datetime import timedelta
from itertools import count
from unittest.mock import patch

from optout_core import processor
from optout_core.consent import OptInRule, OptOutScope, moment_of
from optout_core.numbers import read_sender
from optout_core.outcomes import Outcome, Verdict
from optout_core.reasons import Reason
from tests.build import SENDER
from tests.consent import world
from tests.consent.world import HORIZON, KINDS, RULE, Message, Said, World
from tests.fakes import delivered

_SECOND = 1_000_000
_HORIZON = HORIZON // timedelta(seconds=1)
_FAILED = Outcome(Verdict.FAILED, "Internal Server Error", 500)
_OTHER_SENDER = "+18001234568"
_ALL_SENDERS = OptInRule(RULE.max_age, tuple(map(read_sender, (SENDER, _OTHER_SENDER))), OptOutScope.ALL)
#: A history that goes on for longer than this many steps goes on for ever.
_ENDLESS = 20_000


class History:
    """One history.

    Attributes:
        world: The world in which it happens.
        story: What happened, in order, in words; only where somebody wants to read it.
    """

    def __init__(self, seed, store, *, tell=False):
        self.random = random.Random(seed)  # noqa: S311 - nothing here is secret
        self.story: list[str] | None = [] if tell else None
        self.world = World(store, drops_duplicates=self.random.random() < 0.5, cut=self._cut, mishap=self._mishap)
        self._later: list = []
        self._tick = count()
        self._replays = 3
        self._letters = 0
        self._people = [f"+1555{seed:05}{number:02}" for number in range(self.random.randint(1, 3))]
        self._senders = [SENDER]
        if self.random.random() < 0.25:
            self._senders.append(_OTHER_SENDER)
            if self.random.random() < 0.5:
                self.world.rule = _ALL_SENDERS
        if self.random.random() < 0.5:
            self.world.acs.put(True, {(sender, to) for sender in self._senders for to in self._people})
        self._lock = self.random.choice((60, 300))
        self._slice = self.random.choice((5_000, 5_000, 5_000, 2, 1))
        # Corrections of the ledger's clock have to stay below what the horizon leaves.
        self._correction = self.random.choice((0, 0, 0, 30))
        for said in self._words():
            self._at(said.at, 0, self._is_said, said)
            for _ in range(self.random.choice((1, 1, 1, 2, 3))):
                delay = self.random.choice((0, 1, 30, 400, 100_000)) * self.random.random()
                self._at(said.at + int(delay) * _SECOND, 1, self._arrives, said)

    def _words(self):
        density, at, before = self.random.choice((2, 60, 1000)), 10, None
        ids = set()
        for number in range(self.random.randint(2, 5)):
            at += int(self.random.expovariate(1 / density))
            kind = self.random.choice(tuple(KINDS))
            is_texted = KINDS[kind][1]
            who = self.random.sample(self._people, 1 if is_texted else self.random.randint(1, len(self._people)))
            is_timed = is_texted or self.random.random() > 0.15
            sender = self.random.choice(self._senders)
            name = f"{kind}-{number}"
            if before and (before.name, KINDS[kind][0]) not in ids and self._happens(0.1):
                # A publisher that uses an id twice hides no word of the other kind by that.
                name = before.name
            ids.add((name, KINDS[kind][0]))
            before = Said(kind, name, self.world.at(at), tuple(who), sender, is_timed)
            yield before

    async def run(self):
        """Let it happen; give what is wrong."""
        with patch.object(processor, "SLICE", self._slice):
            return await self._run()

    async def _run(self):
        here = self.world
        for _ in range(_ENDLESS):
            due = min((message.due for message in here.queue), default=None)
            is_free = sum(instance.has_lock for instance in here.instances) < 3
            if due is not None and is_free and (not self._later or due < self._later[0][0]):
                here.waits_until(due)
                self._takes()
            elif self._later:
                moment, _, _, what, *of = heapq.heappop(self._later)
                here.waits_until(moment)
                if (more := what(*of)) is not None:
                    await more
            else:
                break
        else:
            here.books.wrong.append("P5: it goes on for ever")
        for letter in here.letters:
            if letter.reason is not Reason.NEWER_OPT_OUT:
                here.books.wrong.append(f"P5: dead letter {letter.reason.value}")
        return here.books.closes(here.acs.listed, here.rule)

    def _at(self, moment, rank, what, *of):
        """Plan something. What is said in a moment is said before anybody acts on it: ACS's own list comes first."""
        heapq.heappush(self._later, (moment, rank, next(self._tick), what, *of))

    def _in(self, seconds, what, *of):
        self._at(self.world.clock.now + seconds * _SECOND, 1, what, *of)

    def _happens(self, chance):
        return self.random.random() < chance

    def _tells(self, *what):
        if self.story is not None:
            self.story.append(f"{self.world.clock():%d. %H:%M:%S}  {' '.join(map(str, what))}")

    # What happens.

    def _is_said(self, said):
        self._tells(said.name, "is said to", said.sender, "by", said.people)
        self.world.is_said(said)

    def _arrives(self, said):
        self._tells(said.name, "arrives")
        self.world.arrives(said)

    def _takes(self):
        due = self.world.due
        taken = self.random.sample(due, self.random.randint(1, min(3, len(due))))
        instance = self.world.takes(*taken)
        self._tells(instance, "takes", [message.arrival.message_id for message in taken])
        self._in(self._lock, self._lock_ends, instance)
        self._in(0, self._goes_on, instance)

    def _mishap(self, instance):
        if self._happens(0.04):
            instance.refuses = world.NO_ANSWER
        instance.is_in_doubt = self._happens(0.02)

    def _cut(self, batch):
        if len(batch) > 1 and self._happens(0.4):
            return batch.halves()
        return (batch,)

    def _lock_ends(self, instance):
        if instance.has_lock and instance.where:
            self._tells(instance, "loses its lock")
            instance.loses_lock()

    async def _goes_on(self, instance):
        if self._happens(0.03):
            self._tells(instance, "dies at", instance.where)
            instance.dies()
            return
        if instance.where in {"admit", "record"} and self._happens(0.04):
            instance.fails = self.random.choice(("before", "after"))
        if instance.where in {"admit", "record"} and self._correction and self._happens(0.2):
            self.world.skew = self.random.randint(-self._correction, self._correction) * _SECOND
        if instance.where == "send" and self._happens(0.05):
            instance.fails = self.random.choice(("before", "letters"))
        where = await instance.goes_on()
        self._tells(
            instance,
            f"is at {where}" if where else "is over",
            *([f"of :{instance.call.operation}"] if where == "answer" else []),
        )
        pause = self.random.choice((0, 0, 0, 0, 1, 5)) if self._happens(0.97) else self.random.choice((30, 100, 400))
        if where == "answer":
            pause = self._decides(instance.call)
        if where:
            self._in(pause, self._goes_on, instance)
        self._sends_back()

    def _decides(self, call):
        """Say what becomes of a request; give the seconds until its caller is answered or gives up."""
        longest = (call.last_moment - self.world.clock.now) // _SECOND - 1 - 2 * self._correction
        late = self.random.choice((0, 1, 60, longest - 1, int(longest * self.random.random())))
        what = self.random.choices(("done", "no answer", "answered first", "twice", "failed"), (65, 15, 10, 5, 5))[0]
        if what == "done":
            soon = self.random.choice((0, 0, 1, 5))
            self._acts_in(soon, call)
            return soon + self.random.choice((0, 0, 1, 3))
        call.waits = True
        if what == "twice":
            self._in(0, self._acts, call, True)
            self._acts_in(late, call)
            return 1
        if what == "answered first":
            self._acts_in(late, call)
            return self.random.choice((0, 1, 5))
        call.answer = world.NO_ANSWER if what == "no answer" else _FAILED
        if self._happens(0.3):
            call.never_acts()
        else:
            self._acts_in(late, call)
        return 10 if what == "no answer" else 1

    def _acts_in(self, seconds, call):
        self._in(seconds, self._acts, call)

    def _acts(self, call, again=False):  # noqa: FBT002 - of a request that acts twice
        self._tells(f"a :{call.operation} acts")
        call.acts(again=again)

    def _sends_back(self):
        """Let somebody send a dead letter back by hand, as it is or only its body."""
        letters = self.world.letters
        while self._letters < len(letters):
            letter, self._letters = letters[self._letters], self._letters + 1
            if self._replays and self._happens(0.3):
                self._replays -= 1
                self._in(self.random.choice((0, 60, 1000)), self._comes_back, letter, self._happens(0.5))

    def _comes_back(self, letter, with_properties):
        self._tells("a dead letter is sent back")
        arrival = delivered(letter, moment_of(self.world.clock.now), with_properties=with_properties)
        self.world.queue.append(Message(arrival, self.world.clock.now))
