"""The oracle sees each way in which a run can go wrong, and nothing where all went well."""

import json
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from msgspec import structs

from optout_core.arrivals import Arrival
from tests.chaos.oracle import Seen, judge, read_journal
from tests.chaos.plan import Fate, Kind, plan

PLAN = plan(0)
REASONS = {
    Fate.REJECTED: "RecipientRejected",
    Fate.POISON: "RecipientRejected",
    Fate.STILL: "StillOptedOut",
    Fate.FAILING: "RetriesExhausted",
    Fate.KILLER: "RetriesExhausted",
}


def message(body, message_id="id", **properties):
    return Arrival(body=body, enqueued_at=datetime.now(UTC), message_id=message_id, properties=properties)


def letter(event, people, reason):
    request = {"from": event.sender, "recipients": [{"to": to} for to in people]}
    document = {"specversion": "1.0", "type": "sms.opt-in.v1", "source": "s", "id": event.event_id, "data": request}
    return message(json.dumps(document).encode(), **{"DeadLetterReason": reason, "optout-recipients": len(people)})


def all_well():
    """What is seen when everything ended as it should."""
    journal, dead = [], []
    for event in sorted(PLAN.events, key=lambda event: event.is_stop):
        if not event.recipients:
            dead.append(message(event.body, DeadLetterReason="MalformedEvent"))
        for to in event.recipients:
            if event.is_stop:
                journal.append({"sender": event.sender, "to": to, "listed": True})
            elif PLAN.fates[to] is Fate.GOOD:
                journal.append({"sender": event.sender, "to": to, "listed": False})
            else:
                dead.append(letter(event, [to], REASONS[PLAN.fates[to]]))
    return Seen(journal=journal, waiting=[], dead=dead, logs={"function": "fine"}, codes=[0])


def event_of(fate):
    return next(
        (event, to)
        for event in PLAN.events
        for to in event.recipients
        if PLAN.fates[to] is fate and to not in PLAN.stoppers
    )


def without_first_dead(seen, *, readable):
    dead = list(seen.dead)
    dead.remove(next(each for each in dead if (each.properties["DeadLetterReason"] != "MalformedEvent") is readable))
    return replace(seen, dead=dead)


GOOD_EVENT, GOOD = event_of(Fate.GOOD)
BAD_EVENT, BAD = event_of(Fate.REJECTED)
STRANGER = {"sender": "55555", "to": "+15559999999", "listed": False}

REMOVED = {"sender": GOOD_EVENT.sender, "to": GOOD, "listed": False}
STOP_EVENT = next(event for event in PLAN.events if event.is_stop)

SABOTAGE = {
    "said STOP last, and is not on the list": lambda seen: replace(
        seen, journal=[*seen.journal, {"sender": STOP_EVENT.sender, "to": STOP_EVENT.recipients[0], "listed": False}]
    ),
    "a STOP still waits": lambda seen: replace(seen, waiting=[message(STOP_EVENT.body)]),
    "lost: it is nowhere": lambda seen: replace(seen, journal=seen.journal[1:]),
    "lost: it is nowhere ": lambda seen: without_first_dead(seen, readable=True),
    "removed twice": lambda seen: replace(seen, journal=[*seen.journal, REMOVED]),
    "dead twice": lambda seen: replace(seen, dead=[*seen.dead, letter(BAD_EVENT, [BAD], "RecipientRejected")]),
    "removed and in a queue": lambda seen: replace(seen, waiting=[letter(GOOD_EVENT, [GOOD], None)]),
    "it still waits": lambda seen: replace(seen, waiting=[letter(GOOD_EVENT, [GOOD], None)]),
    "good and dead-lettered as RetriesExhausted": lambda seen: replace(
        seen, dead=[*seen.dead, letter(GOOD_EVENT, [GOOD], "RetriesExhausted")]
    ),
    "good and dead-lettered as MaxDeliveryCountExceeded": lambda seen: replace(
        seen, dead=[*seen.dead, letter(GOOD_EVENT, [GOOD], "MaxDeliveryCountExceeded")]
    ),
    "rejected and dead-lettered as StillOptedOut": lambda seen: replace(
        seen, dead=[*seen.dead, letter(BAD_EVENT, [BAD], "StillOptedOut")]
    ),
    "taken off the list, whom ACS refuses": lambda seen: replace(
        seen, journal=[*seen.journal, {"sender": BAD_EVENT.sender, "to": BAD, "listed": False}]
    ),
    "ACS was asked for whom nobody published": lambda seen: replace(seen, journal=[*seen.journal, STRANGER]),
    "nobody published it, and it is in ACS": lambda seen: replace(
        seen, journal=[*seen.journal, {"sender": "+18009999999", "to": GOOD, "listed": False}]
    ),
    "a dead letter says 7 recipients and holds 1": lambda seen: replace(
        seen,
        dead=[structs.replace(each, properties={**each.properties, "optout-recipients": 7}) for each in seen.dead],
    ),
    "no event, and its bytes are not among the dead letters": lambda seen: without_first_dead(seen, readable=False),
    "no event, and its bytes are too many dead letters": lambda seen: replace(
        seen, dead=[*seen.dead, message(b"{]", DeadLetterReason="MalformedEvent")]
    ),
    "function logged a number": lambda seen: replace(seen, logs={"function": f"removed {GOOD}"}),
    "the property MessageId holds a number": lambda seen: replace(
        seen, dead=[structs.replace(seen.dead[0], message_id=f"call {GOOD}"), *seen.dead[1:]]
    ),
    "a process that was asked to end ended with -9": lambda seen: replace(seen, codes=[0, -9]),
}


def test_nothing_is_wrong_where_all_went_well():
    assert judge(PLAN, all_well()) == []


@pytest.mark.parametrize("what", SABOTAGE)
def test_what_goes_wrong_is_seen(what):
    assert any(each.startswith(what.strip()) for each in judge(PLAN, SABOTAGE[what](all_well())))


def test_who_may_be_asked_for_twice_is_not_blamed_for_it():
    seen = all_well()

    assert judge(replace(PLAN, kinds=(Kind.KILL_FUNCTION,)), replace(seen, journal=[*seen.journal, REMOVED])) == []


def test_a_stop_that_acs_heard_by_itself_is_no_removal():
    seen = all_well()
    stop = {"sender": GOOD_EVENT.sender, "to": GOOD, "listed": True}

    assert judge(PLAN, replace(seen, journal=[*seen.journal, stop])) == []


def test_a_journal_that_a_kill_tore_is_read_up_to_there():
    assert read_journal('{"to": "1"}\n{"to"') == [{"to": "1"}]


def test_the_same_seed_is_the_same_plan_and_the_first_seeds_have_each_kind_alone():
    assert plan(17) == plan(17)
    assert [plan(seed).kinds for seed in range(len(Kind))] == [(kind,) for kind in Kind]
    assert max(len(plan(seed).kinds) for seed in range(14, 60)) == 3


@pytest.mark.parametrize("seed", range(20))
def test_every_number_of_a_plan_is_fictitious_and_belongs_to_one_event(seed):
    people = Counter(to for event in plan(seed).events if not event.is_stop for to in event.recipients)

    assert set(people.values()) == {1}
    assert all(re.fullmatch(r"\+1555\d{7}", to) for to in people)
    assert set(people) == set(plan(seed).fates)
