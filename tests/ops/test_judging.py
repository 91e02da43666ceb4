"""What may be replayed, under which id, and what is chosen: the pure rules."""

import json
from datetime import timedelta

import pytest

from optout_core.arrivals import REPLAY_COUNT
from optout_core.reasons import Reason, Replay
from optout_ops.letters.dead_letters import read_dead_letter
from optout_ops.letters.filters import Filter
from optout_ops.letters.verdicts import Rule
from optout_ops.replay.messages import edited, replay, restored
from tests.ops.making import NOW, event, message, properties

RULE = Rule(timedelta(hours=72), max_replays=3)


def understood(reason="RetriesExhausted", body=None, **more):
    return read_dead_letter(message(body, properties=properties(reason, **more)))


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_is_judged_as_its_advice_says_or_because_it_can_be_read_now(reason):
    verdict = RULE.judge(understood(reason), NOW)

    unread = reason in (Reason.MALFORMED_EVENT, Reason.UNSUPPORTED_EVENT)
    assert verdict.replay is (Replay.AFTER_A_FIX if unread else reason.replay)


@pytest.mark.parametrize("reason", ["RetriesExhausted", "MaxDeliveryCountExceeded", "MalformedEvent", "Foreign"])
def test_what_cannot_be_read_is_never_replayed(reason):
    verdict = RULE.judge(understood(reason, "{"), NOW)

    assert verdict.replay is Replay.NEVER
    assert "optout dlq edit 1" in verdict.why


def test_an_opt_in_is_never_replayed_once_it_is_older_than_the_limit():
    old = understood(body=json.dumps(event(time=NOW - timedelta(hours=72, seconds=1))))
    just = understood(body=json.dumps(event(time=NOW - timedelta(hours=72))))

    assert RULE.judge(old, NOW).replay is Replay.NEVER
    assert "3 d old, more than 3 d" in RULE.judge(old, NOW).why
    assert RULE.judge(just, NOW).replay is Replay.SAFE


def test_an_opt_in_is_as_old_as_its_first_arrival_at_least():
    first = (NOW - timedelta(days=5)).isoformat()
    dead = understood(body=json.dumps(event(time=NOW)), **{"optout-first-enqueued": first})

    assert RULE.judge(dead, NOW).replay is Replay.NEVER


def test_a_stop_may_be_replayed_however_old_it_is():
    stop = event(type="sms.opt-out.v1", time=NOW - timedelta(days=30))

    assert RULE.judge(understood("MaxDeliveryCountExceeded", json.dumps(stop)), NOW).replay is Replay.SAFE


def test_what_came_back_as_often_as_allowed_is_never_replayed():
    assert RULE.judge(understood(**{REPLAY_COUNT: 2}), NOW).replay is Replay.SAFE
    assert RULE.judge(understood(**{REPLAY_COUNT: 3}), NOW).replay is Replay.NEVER


def test_only_the_operator_says_that_a_cause_is_mended():
    verdict = RULE.judge(understood("SenderRejected"), NOW)

    assert not RULE.chooses(verdict)
    assert Rule(RULE.max_age, 3, fixed=True).chooses(verdict)


def test_the_same_dead_letter_always_gets_the_same_id_whoever_replays_it():
    dead = understood()

    assert replay(dead, "a").message_id == replay(dead, "b").message_id


def test_no_two_hops_reasons_or_recipients_share_an_id():
    other = json.dumps(event(numbers=["+15555555552"], time=NOW - timedelta(hours=1)))
    ids = {
        replay(dead, "a").message_id
        for dead in (
            understood(),
            understood(**{"optout-hop": 7}),
            understood("StillOptedOut"),
            understood(body=other),
            understood(body="{"),
            understood(body="{ "),
        )
    }

    assert len(ids) == 6
    assert all(len(name) <= 128 for name in ids)


def test_unreadable_bytes_are_sent_as_they_are():
    body = b"\xff\x00{"

    assert replay(understood(body=body), "a").body == body
    assert restored(understood(body=body)).body == body


def test_an_edited_dead_letter_gets_an_id_of_its_own():
    plain, mended = replay(understood(), "a"), edited(understood(), "a")

    assert plain.message_id != mended.message_id
    assert mended.properties["optout-hop"] == 7


def test_a_restored_dead_letter_keeps_its_facts_under_a_new_id():
    dead = understood(**{"optout-http-status": 503})
    back = restored(dead)

    assert back.message_id.startswith("urn:test/e1:d7:")
    assert back.properties["DeadLetterReason"] == "RetriesExhausted"
    assert back.properties["optout-http-status"] == 503
    assert back.properties["optout-attempt"] == 5


@pytest.mark.parametrize(
    ("conditions", "matches"),
    [
        ({}, True),
        ({"reasons": frozenset({"retriesexhausted"})}, True),
        ({"reasons": frozenset({"staleoptin"})}, False),
        ({"sender": "+1 800 123 4567"}, True),
        ({"sender": "+18001234568"}, False),
        ({"to": "+1 (555) 555-5551"}, True),
        ({"to": "+15555555552"}, False),
        ({"event": "e1"}, True),
        ({"event": "e2"}, False),
        ({"since": NOW}, True),
        ({"since": NOW + timedelta(seconds=1)}, False),
        ({"until": NOW}, False),
        ({"until": NOW + timedelta(seconds=1)}, True),
        ({"older_than": timedelta(minutes=10)}, True),
        ({"older_than": timedelta(minutes=11)}, False),
        ({"attempts": 5}, True),
        ({"attempts": 6}, False),
        ({"status": "500"}, True),
        ({"status": "5xx"}, True),
        ({"status": "429"}, False),
        ({"status": "4xx"}, False),
        ({"attempts": 5, "event": "e2"}, False),
    ],
)
def test_a_filter_matches_when_all_its_conditions_are_met(conditions, matches):
    assert Filter(**conditions).matches(understood(), NOW + timedelta(minutes=10)) is matches


def test_a_filter_is_written_down_without_a_number():
    written = Filter(to="+15555555551", sender="+18001234567", limit=3).as_document()

    assert written == {"to": "+1555•••5551", "sender": "+1800•••4567", "limit": 3}
    assert "5555551" not in repr(Filter(to="+15555555551"))
