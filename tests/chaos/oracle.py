"""Judges a run by what was published, what ACS did, what lies in the queues and what was logged. Pure.

Nothing here asks the function: what it says of itself counts for nothing. Every recipient of every event has to be in
exactly one place. A place is a fact: ACS took the number off its list (its own journal), a message with it lies in a
queue. `journal` has the changes of the list in their order, those that ACS makes by itself on STOP included: who is on
the list in the end is its last word for them.
"""

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime

from optout_core.adapters import received
from optout_core.amqp import decode as decode_message
from optout_core.arrivals import Arrival
from optout_core.errors import EventError
from optout_core.events import OptIn, OptOut, decode
from optout_core.masking import holds_number
from tests.chaos.plan import Fate, Kind

#: The reasons that what ACS says of a number can end in; a place that is missing may not be.
_REASONS = {
    Fate.GOOD: set(),
    Fate.REJECTED: {"RecipientRejected"},
    Fate.POISON: {"RecipientRejected"},
    Fate.STILL: {"StillOptedOut"},
    Fate.FAILING: {"RetriesExhausted"},
    Fate.KILLER: {"RetriesExhausted", "RecipientRejected"},
}
#: On whom ACS fails for good: while nobody else is asked for, that is an outage, and they wait.
_MAY_WAIT = {Fate.FAILING, Fate.KILLER}
#: Whom the endpoint never takes off, whatever else goes wrong; and whom it takes off where something else does.
_REFUSED, _REFUSED_WHOLE = {Fate.REJECTED, Fate.STILL, Fate.FAILING}, {Fate.POISON, Fate.KILLER}
#: Where the broker may take a message without our hearing of it, both times that it is sent.
_ANSWERS_ARE_LOST = {Kind.CUT_BROKER, Kind.DROP_BROKER, Kind.LOSE_ANSWERS, Kind.DETACH}
#: Where sending a retry may fail for longer than it is tried.
_SENDS_FAIL = {Kind.REFUSE_OPT_INS, Kind.REFUSE_BOTH, *_ANSWERS_ARE_LOST}
_NUMBER = re.compile(r"1?555\d{7}")
_SHOWN = 8


@dataclass(frozen=True)
class Seen:
    """What can be seen of a run from outside, once it has ended.

    Attributes:
        journal: Changes of the list by ACS: {"sender", "to", "listed"}, in order.
        waiting: Messages of the queue of the opt-ins.
        dead: Messages of the dead-letter queue.
        logs: By name.
        codes: Exit codes of the processes that were asked to end.
    """

    journal: list = field(repr=False)
    waiting: list[Arrival] = field(repr=False)
    dead: list[Arrival] = field(repr=False)
    logs: dict[str, str] = field(repr=False)
    codes: list[int]


def arrival(encoded):
    """Read a message as it lies in a queue."""
    message = decode_message(encoded)
    return received.read(message, received.enqueued_at(message) or datetime.now(UTC))


def recipients(message):
    """Give who is in a message: (event id, sender, number) for each; nothing for what is no event."""
    try:
        events = decode(message)
    except EventError:
        return []
    return [
        (event.id.raw, event.sender.text, to.text)
        for event in events
        if isinstance(event, OptIn)
        for to in event.recipients
    ]


def stops(message):
    """Give who said STOP in a message."""
    try:
        return [to.text for event in decode(message) if isinstance(event, OptOut) for to in event.recipients]
    except EventError:
        return []


def still_to_do(plan, waiting):
    """Count the recipients that have no reason to wait once all is well, and the messages that hold no event."""
    return sum(
        sum(plan.fates.get(to) not in _MAY_WAIT for _, _, to in recipients(message)) or not recipients(message)
        for message in waiting
    )


def judge(plan, seen):
    """Give every way in which a run went wrong, in words; empty when all is well."""
    found = (_places(plan, seen), _stops(plan, seen), _unreadable(plan, seen), _reasons(plan, seen))
    return [*(each for some in found for each in some), *_privacy(seen), *_ends(seen)]


def _stops(plan, seen):
    last = {each["to"]: each["listed"] for each in seen.journal}
    open_ = {to for message in (*seen.waiting, *seen.dead) for to in stops(message)}
    yield from _each("a STOP still waits", {to for message in seen.waiting for to in stops(message)})
    yield from _each("said STOP last, and is not on the list", {to for to in plan.stoppers - open_ if not last.get(to)})


def _places(plan, seen):
    opt_ins = [event for event in plan.events if not event.is_stop]
    owners = {to: event.event_id for event in opt_ins for to in event.recipients}
    taken_off = [each for each in seen.journal if not each["listed"]]
    removed = Counter((owners[each["to"]], each["sender"], each["to"]) for each in taken_off if each["to"] in owners)
    waiting, dead = (
        Counter(one for message in messages for one in recipients(message)) for messages in (seen.waiting, seen.dead)
    )
    given_up = [message for message in seen.dead if _reason(message) == "MaxDeliveryCountExceeded"]
    undecided = {one for message in given_up for one in recipients(message)}
    published = {(event.event_id, event.sender, to) for event in opt_ins for to in event.recipients}
    # Of an opt-in that was under way when its STOP came, the dead letter says that the STOP takes it back.
    undecided |= {one for one in published if one[2] in plan.stoppers}
    for name, found in (("ACS", set(removed)), ("opt-ins", set(waiting)), ("the dead letters", set(dead))):
        yield from _each(f"nobody published it, and it is in {name}", found - published)
    yield from _each("ACS was asked for whom nobody published", {each["to"] for each in taken_off} - set(owners))
    yield from _each("lost: it is nowhere", published - set(removed) - set(waiting) - set(dead))
    yield from _each("it still waits", {one for one in waiting if plan.fates.get(one[2]) not in _MAY_WAIT})
    # An original that was delivered too often holds those whom it was done for as well; and in bad weather ACS may take
    # off whom it refuses at other times, without a word.
    undecided |= {one for one in removed if Kind.WEATHER in plan.kinds and plan.fates[one[2]] in _REFUSED_WHOLE}
    # Then the retry is there as well, and the dead letter says that nobody knew.
    unheard = [message for message in seen.dead if _reason(message) == "RetryRefused"]
    undecided |= {one for message in unheard for one in recipients(message) if _ANSWERS_ARE_LOST & set(plan.kinds)}
    yield from _each("removed and in a queue", (set(removed) & (set(waiting) | set(dead))) - undecided)
    if not plan.may_repeat:
        yield from _each("removed twice", (one for one, count in removed.items() if count > 1))
        yield from _each("dead twice", (one for one, count in dead.items() if count > 1))
        yield from _each("waiting and dead", set(waiting) & set(dead))


def _unreadable(plan, seen):
    expected = Counter(event.body for event in plan.events if not event.recipients)
    found = Counter(message.body for message in seen.dead if not recipients(message) and not stops(message))
    yield from _each("no event, and its bytes are not among the dead letters", (expected - found).elements())
    yield from _each("no event, and its bytes are too many dead letters", (found - expected).elements())


def _reasons(plan, seen):
    allowed = {fate: reasons | _of_refusals(plan) for fate, reasons in _REASONS.items()}
    wrong = defaultdict(set)
    for message in seen.dead:
        reason, people = _reason(message), recipients(message)
        count = message.properties.get("optout-recipients")
        if people and count not in {None, len(people)}:
            yield f"a dead letter says {count} recipients and holds {len(people)}: {people[0][0]}"
        if people and reason == "NewerOptOut" and {to for _, _, to in people} <= plan.stoppers:
            continue
        if not people and reason != "MalformedEvent" and reason not in _of_refusals(plan):
            wrong[f"no event, and dead-lettered as {reason}"].add(message.message_id)
        for one in people:
            fate = plan.fates.get(one[2])
            if fate is not None and reason not in allowed[fate]:
                wrong[f"{fate} and dead-lettered as {reason}"].add(one)
    for what, found in wrong.items():
        yield from _each(what, found)
    removed = {each["to"] for each in seen.journal if not each["listed"]}
    yield from _each("taken off the list, whom ACS refuses", {to for to in removed if plan.fates.get(to) in _REFUSED})


def _of_refusals(plan):
    # The retry was not taken, as far as the function could know, and the dead letter was.
    return {"RetryRefused"} if _SENDS_FAIL & set(plan.kinds) else set()


def _privacy(seen):
    for name, log in seen.logs.items():
        yield from _each(f"{name} logged a number", (line for line in log.splitlines() if _NUMBER.search(line)))
    for message in (*seen.waiting, *seen.dead):
        beside = {"MessageId": message.message_id, "CorrelationId": message.correlation_id, **message.properties}
        beside.pop("traceparent", None)
        held = [name for name, value in beside.items() if holds_number(str(value or ""))]
        yield from (f"the property {name} holds a number" for name in held)


def _ends(seen):
    yield from (f"a process that was asked to end ended with {code}" for code in seen.codes if code != 0)


def _reason(message):
    return message.properties.get("DeadLetterReason")


def _each(what, found):
    """Say it of some, and of how many."""
    found = sorted(map(str, found))
    if found:
        shown = ", ".join(found[:_SHOWN])
        yield f"{what} ({len(found)}): {shown}{' …' if len(found) > _SHOWN else ''}"


def read_journal(text):
    """Read the journal of ACS; its last line may be torn by a kill."""
    lines = text.split("\n")
    return [json.loads(line) for line in lines[:-1]]
