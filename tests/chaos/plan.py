"""What happens under a seed: who is published when, whom ACS refuses, what breaks and when. Pure; a seed is a plan."""

import json
import random
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any

SENDERS = ("+18001234567", "55555", "Contoso")
#: Seconds in which events are published.
PUBLISHING = 5.0


class Fate(StrEnum):
    """What ACS does whenever it is asked for a number."""

    GOOD = auto()
    REJECTED = auto()
    """An item of 400."""
    POISON = auto()
    """The whole request is refused, with a 400 that names nobody."""
    STILL = auto()
    """Success, and still opted out."""
    FAILING = auto()
    """An item of 500."""
    KILLER = auto()
    """The whole request fails, with 500."""


_FAULTS: dict[Fate, dict[str, Any]] = {
    Fate.REJECTED: {"items": [{"httpStatusCode": 400, "errorMessage": "Invalid recipient phone number format"}]},
    Fate.POISON: {"status": 400, "body": "invalid-input"},
    Fate.STILL: {"items": [{"httpStatusCode": 200, "isOptedOut": True}]},
    Fate.FAILING: {"items": [{"httpStatusCode": 500, "errorMessage": "Internal Server Error"}]},
    Fate.KILLER: {"status": 500},
}
#: What goes wrong with whole requests; some of them have an effect all the same.
_WEATHER = (
    {"status": 503, "retryAfter": 1, "times": 4},
    {"status": 429, "retryAfter": 1, "times": 3},
    {"status": 500, "applied": True, "times": 3},
    {"drop": "silence", "applied": True, "times": 2},
    {"drop": "reset", "applied": True, "times": 3},
    {"drop": "close-mid-body", "times": 3},
    {"body": "truncated", "times": 3},
    {"body": "garbage", "times": 3},
    {"body": "html", "status": 502, "times": 3},
    {"delay": 0.6, "times": 10},
)


class Kind(StrEnum):
    """What breaks; `repeats` says whether somebody may be asked for twice because of it."""

    CALM = auto()
    STOP_FUNCTION = auto()
    REFUSE_DEAD_LETTERS = auto()
    REFUSE_OPT_INS = auto()
    REFUSE_BOTH = auto()
    KILL_FUNCTION = auto()
    KILL_ACS = auto()
    CUT_BROKER = auto()
    DROP_BROKER = auto()
    CUT_ACS = auto()
    LOSE_ANSWERS = auto()
    DETACH = auto()
    WEATHER = auto()
    TWO_FUNCTIONS = auto()

    @property
    def repeats(self):
        return self not in _ONCE


_ONCE = {Kind.CALM, Kind.STOP_FUNCTION, Kind.REFUSE_DEAD_LETTERS, Kind.REFUSE_OPT_INS}
#: Seconds for which a queue takes nothing: many times every time-out and pause.
_LONG, _VERY_LONG = 9.0, 30.0


@dataclass(frozen=True)
class Step:
    """One thing that is done at a moment, in seconds from the start; `arguments` depend on `what`."""

    at: float
    what: str
    arguments: tuple = ()


@dataclass(frozen=True)
class Event:
    """A message that is published; what is no event has no recipients."""

    at: float
    message_id: str
    source: str | None
    event_id: str
    sender: str
    recipients: tuple[str, ...]
    body: bytes = field(repr=False)
    copies: int = 1
    is_stop: bool = False


@dataclass(frozen=True)
class Plan:
    """A seed, worked out."""

    seed: int
    kinds: tuple[Kind, ...]
    events: tuple[Event, ...]
    fates: dict[str, Fate] = field(repr=False)
    steps: tuple[Step, ...]
    batch: int
    functions: int

    @property
    def stoppers(self):
        """Who says STOP after having opted in."""
        return {to for event in self.events if event.is_stop for to in event.recipients}

    @property
    def may_repeat(self):
        """Whether an answer may get lost, so that somebody is asked for, or dead-lettered, more than once."""
        return any(kind.repeats for kind in self.kinds)

    @property
    def faults(self):
        """What the endpoint does wrong for good."""
        return [{"to": to, **_FAULTS[fate]} for to, fate in self.fates.items() if fate in _FAULTS]


def plan(seed):
    """Work out a seed. The first seeds have each kind of trouble alone; later ones have up to three at once."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    others = dice.sample(list(Kind), dice.choice([0, 1, 2])) if seed >= len(Kind) else []
    kinds = tuple(dict.fromkeys([list(Kind)[seed % len(Kind)], *others]))
    steps = sorted((step for kind in kinds for step in _TROUBLE[kind](dice)), key=lambda step: step.at)
    fates: dict[str, Fate] = {}
    return Plan(
        seed=seed,
        kinds=kinds,
        events=tuple(_events(dice, seed, fates)),
        fates=fates,
        steps=tuple(steps),
        batch=dice.choice([3, 8, 20, 100]),
        functions=2 if Kind.TWO_FUNCTIONS in kinds else 1,
    )


def _events(dice, seed, fates):
    has_killer = dice.random() < 0.4
    # ACS refuses +15550000000.
    people = iter(range(1, 10_000))
    for number in range(dice.randint(60, 120)):
        at = dice.uniform(0, PUBLISHING)
        sender = dice.choice(SENDERS)
        message_id = f"m{seed}-{number}"
        copies = dice.choice([1, 1, 1, 1, 1, 2])
        if dice.random() < 0.05:
            body = dice.choice([b"{", b"\xff\xfe", b"[]", b'"{}"']) + b" " * number
            yield Event(at, message_id, None, message_id, sender, (), body, copies)
            continue
        recipients = [f"+1555{seed % 1000:03}{next(people):04}" for _ in range(dice.choice([1, 1, 1, 2, 5, 30]))]
        for to in recipients:
            fates[to] = dice.choices([*Fate][:5], [88, 4, 1, 2, 3])[0]
        if has_killer and number == 20:
            fates[recipients[0]] = Fate.KILLER
        request = {"from": sender, "recipients": [{"to": to} for to in recipients]}
        if dice.random() < 0.15:
            yield Event(
                at, message_id, None, message_id, sender, tuple(recipients), json.dumps(request).encode(), copies
            )
            continue
        source, event_id = f"urn:chaos:{number % 3}", f"e{seed}-{number}"
        document = {"specversion": "1.0", "type": "sms.opt-in.v1", "source": source, "id": event_id, "data": request}
        yield Event(at, message_id, source, event_id, sender, tuple(recipients), json.dumps(document).encode(), copies)
        # Later than every copy: neither says a time, so that their arrival counts.
        if not dice.randrange(3) and (stoppers := [to for to in recipients if fates[to] is Fate.GOOD][:2]):
            said = {"from": sender, "recipients": [{"to": to} for to in stoppers]}
            document |= {"type": "sms.opt-out.v1", "id": f"stop-{event_id}", "data": said}
            body = json.dumps(document).encode()
            later = at + dice.choice([0.05, 0.5, 2.0])
            yield Event(
                later, f"stop-{message_id}", source, f"stop-{event_id}", sender, tuple(stoppers), body, is_stop=True
            )


def _times(dice, count, first=0.5, last=PUBLISHING + 1):
    return sorted(dice.uniform(first, last) for _ in range(count))


def _often(what, count, *choices):
    def steps(dice):
        return [Step(at, what, tuple(dice.choice(each) for each in choices)) for at in _times(dice, count)]

    return steps


def _refusing(*queues):
    def steps(dice):
        at, is_full, lasts = dice.uniform(0.2, 1.0), dice.random() < 0.5, _LONG if dice.random() < 0.8 else _VERY_LONG
        for queue in queues:
            yield Step(at, "refuse", (queue, is_full))
            yield Step(at + lasts, "admit", (queue,))

    return steps


def _kills(what):
    def steps(dice):
        at = dice.uniform(1, 2)
        for _ in range(dice.choice([2, 3])):
            yield Step(at, what)
            # Python takes a second or two to be up again.
            at += dice.uniform(2.5, 3.5)

    return steps


def _drops(dice):
    at = dice.uniform(0.5, 2)
    for _ in range(2):
        yield Step(at, "drop_broker", (dice.choice([("up",), ("down",), ("up", "down")]),))
        at += dice.uniform(2.5, 3.5)
        yield Step(at, "heal_broker")
        at += 0.5


def _weather(dice):
    for at in _times(dice, 4):
        yield Step(at, "weather", tuple(dice.sample(_WEATHER, 2)))


_TROUBLE = {
    Kind.CALM: lambda _: [],
    Kind.STOP_FUNCTION: _kills("stop_function"),
    Kind.REFUSE_DEAD_LETTERS: _refusing("opt-ins-dead-letter"),
    Kind.REFUSE_OPT_INS: _refusing("opt-ins"),
    Kind.REFUSE_BOTH: _refusing("opt-ins-dead-letter", "opt-ins"),
    Kind.KILL_FUNCTION: _kills("kill_function"),
    Kind.KILL_ACS: _kills("kill_acs"),
    Kind.CUT_BROKER: _often("cut_broker", 5),
    Kind.DROP_BROKER: _drops,
    Kind.CUT_ACS: _often("cut_acs", 12),
    Kind.LOSE_ANSWERS: _often("lose_answers", 4, (1, 2)),
    Kind.DETACH: _often("detach", 8),
    Kind.WEATHER: _weather,
    Kind.TWO_FUNCTIONS: lambda _: [],
}
