"""What may be replayed, under which id, and what is chosen: the pure rules."""

import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from optout_core.numbers import read_sender
from optout_core.outgoing import Outgoing
from optout_core.properties import REPLAY_COUNT
from optout_core.reasons import Reason, Replay
from optout_ops.letters.filters import Filter
from optout_ops.letters.letter import read_letter
from optout_ops.letters.replacement import edited_replacement, replacement, restored
from optout_ops.letters.verdicts import ReplayRule
from tests.build import NOW, OTHER, PERSON, SENDER, canonical, dead_letter

RULE = ReplayRule(max_age=timedelta(hours=72), max_replays=3)


def letter(reason="RetriesExhausted", *recipients, **fields):
    return read_letter(dead_letter(1, reason, *recipients or (PERSON,), **fields))


def advice(reason="RetriesExhausted", **fields):
    return RULE.judge(letter(reason, **fields), NOW).advice


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_is_judged_as_its_advice_says_or_because_it_can_be_read_now(reason):
    unread = reason in {Reason.MALFORMED_EVENT, Reason.UNSUPPORTED_EVENT}

    assert advice(reason) is (Replay.AFTER_A_FIX if unread else reason.replay)


@pytest.mark.parametrize("reason", ["RetriesExhausted", "MaxDeliveryCountExceeded", "MalformedEvent", "Foreign"])
def test_what_cannot_be_read_is_never_replayed(reason):
    verdict = RULE.judge(letter(reason, body=b"{"), NOW)

    assert verdict.advice is Replay.NEVER
    assert "optout dlq edit 1" in verdict.why


def test_an_opt_in_is_replayed_until_it_is_as_old_as_the_limit():
    assert advice(time=NOW - timedelta(hours=72)) is Replay.SAFE


def test_an_opt_in_is_never_replayed_once_it_is_older_than_the_limit():
    verdict = RULE.judge(letter(time=NOW - timedelta(hours=72, seconds=1)), NOW)

    assert verdict.advice is Replay.NEVER
    assert "3 d old, more than 3 d" in verdict.why


def test_an_opt_in_is_as_old_as_its_first_arrival_at_least():
    first = (NOW - timedelta(days=5)).isoformat()

    assert advice(time=NOW, **{"optout-first-enqueued": first}) is Replay.NEVER


def test_a_stop_may_be_replayed_however_old_it_is():
    stop = canonical(type="sms.opt-out.v1", time=(NOW - timedelta(days=30)).isoformat())

    assert advice("MaxDeliveryCountExceeded", body=stop) is Replay.SAFE


def test_a_stop_without_a_time_may_be_replayed_and_gets_the_time_of_its_arrival():
    stop = letter(
        "TTLExpiredException",
        body=canonical(type="sms.opt-out.v1", time=None),
        **{"optout-first-enqueued": NOW.isoformat()},
    )

    body = json.loads(replacement(stop, "r1").body)

    assert RULE.judge(stop, NOW + timedelta(days=30)).advice is Replay.SAFE
    assert body["type"] == "sms.opt-out.v1"
    assert datetime.fromisoformat(body["time"]) == NOW


def test_an_opt_in_that_says_a_time_after_its_arrival_is_sent_with_the_time_of_its_arrival():
    early = letter(time=NOW + timedelta(hours=10), **{"optout-first-enqueued": NOW.isoformat()})

    body = json.loads(replacement(early, "r1").body)

    assert RULE.judge(early, NOW).advice is Replay.SAFE
    assert datetime.fromisoformat(body["time"]) == NOW


def test_several_events_of_which_one_has_no_believable_time_are_never_replayed():
    events = [canonical(id="a"), canonical(id="b", time=None)]

    verdict = RULE.judge(letter(body=events), NOW)

    assert verdict.advice is Replay.NEVER
    assert "one of its events has no time, or one after its arrival" in verdict.why


def test_a_dead_letter_too_large_to_be_sent_with_what_a_replay_adds_is_never_replayed():
    assert advice(body=canonical(padding="x" * (255 * 1024))) is Replay.NEVER


@pytest.mark.parametrize("written", ["+18005550100", "+1 800 555 0100"])
def test_an_opt_in_of_a_sender_that_the_function_refuses_is_replayed_after_it_is_allowed(written):
    others, ours = (replace(RULE, allowed_senders=frozenset({read_sender(each)})) for each in (written, SENDER))

    verdict = others.judge(letter(), NOW)

    assert verdict.advice is Replay.AFTER_A_FIX
    assert "its sender is not in ALLOWED_SENDERS" in verdict.why
    assert ours.judge(letter(), NOW).advice is Replay.SAFE


def test_a_stop_is_never_refused_for_its_sender():
    others = replace(RULE, allowed_senders=frozenset({read_sender("+18005550100")}))
    stop = letter("RetriesExhausted", body=canonical(type="sms.opt-out.v1"))

    assert others.judge(stop, NOW).advice is Replay.SAFE


def test_what_came_back_as_often_as_allowed_is_never_replayed():
    assert advice(**{REPLAY_COUNT: 2}) is Replay.SAFE
    assert advice(**{REPLAY_COUNT: 3}) is Replay.NEVER


def test_only_the_operator_says_that_a_cause_is_fixed():
    verdict = RULE.judge(letter("SenderRejected"), NOW)

    assert not RULE.chooses(verdict)
    assert replace(RULE, fixed=True).chooses(verdict)


def test_the_same_dead_letter_always_gets_the_same_id_whoever_replays_it():
    assert replacement(letter(), "a").message_id == replacement(letter(), "b").message_id


def test_no_two_hops_reasons_or_recipients_share_an_id():
    ids = {
        replacement(each, "a").message_id
        for each in (
            letter(),
            letter(**{"optout-hop": 7}),
            letter("StillOptedOut"),
            letter("RetriesExhausted", OTHER),
            letter(body=b"{"),
            letter(body=b"{ "),
        )
    }

    assert len(ids) == 6
    assert all(len(name) <= 128 for name in ids)


def test_unreadable_bytes_are_sent_as_they_are():
    unreadable = letter(body=b"\xff\x00{")

    back = restored(unreadable)

    assert isinstance(back, Outgoing)
    assert replacement(unreadable, "a").body == back.body == b"\xff\x00{"


def test_an_edited_dead_letter_gets_an_id_of_its_own():
    edited = edited_replacement(letter(), "a")

    assert edited.message_id != replacement(letter(), "a").message_id
    assert edited.properties["optout-hop"] == 7


def test_a_restored_dead_letter_keeps_its_facts_under_a_new_id():
    back = restored(letter(**{"optout-http-status": 503}))

    assert isinstance(back, Outgoing)
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
        ({"numbers": frozenset({1, 7})}, True),
        ({"numbers": frozenset({7})}, False),
        ({"reasons": frozenset({"(none)"})}, False),
        ({"reasons": frozenset({"(foreign)"})}, False),
        ({"code": "E1"}, True),
        ({"code": "E2"}, False),
        ({"source": "urn:test"}, True),
        ({"source": "urn:other"}, False),
        ({"replay": "r1"}, True),
        ({"replay": "r2"}, False),
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
    assert Filter(**conditions).matches(letter(**{"optout-replay-id": "r1", "optout-error-code": "E1"})) is matches


@pytest.mark.parametrize(
    ("code", "chosen_by"), [("", "(none)"), ("ProcessingError", "(foreign)"), ("ProcessingError", "processingerror")]
)
def test_a_dead_letter_of_another_tool_can_be_chosen_by_its_reason(code, chosen_by):
    foreign = letter(code)

    assert Filter(reasons=frozenset({chosen_by})).matches(foreign)


def test_a_filter_is_written_down_without_a_number():
    written = Filter(to="+15555555551", sender="+18001234567", limit=3).as_document()

    assert written == {"to": "+1555•••5551", "sender": "+1800•••4567", "limit": 3}
    assert "5555551" not in repr(Filter(to="+15555555551"))


def test_a_number_is_found_in_a_body_that_cannot_be_read_and_not_across_two_fields():
    apart = letter(body=b'{"a": "+1 (555) 555-5551", "b": 12')

    assert apart.has_recipient(PERSON)
    assert not apart.has_recipient("+15555555551212")
