"""What becomes of each recipient: the table of docs/design.md, "Outcomes"."""

from datetime import timedelta

import pytest

from optout_core.batches import Operation
from optout_core.outcomes import Verdict
from optout_core.reasons import Reason
from optout_core.settlement import DeadLetter, Done, RetryLater, Schedule, settle
from tests.build import MINUTE, NOW, SCHEDULE, lineage, outcome

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def settled(verdict, attempt=0, hop=0, chance=0.0, operation=Operation.REMOVE, schedule=SCHEDULE, **facts):
    came = lineage(attempt, hop)
    return settle(
        outcome(verdict, **facts), operation=operation, lineage=came, schedule=schedule, now=NOW, chance=chance
    )


def dead(reason, verdict):
    return DeadLetter(reason, outcome(verdict))


def later(delay, attempt):
    return RetryLater(NOW + delay, attempt)


@pytest.mark.parametrize(
    ("what_happened", "attempts_used_up", "hops", "then"),
    [
        # what is final is final at any attempt
        (Verdict.CONFIRMED, 0, 0, Done()),
        (Verdict.CONFIRMED, 5, 9, Done()),
        (Verdict.REJECTED, 0, 0, dead(Reason.RECIPIENT_REJECTED, Verdict.REJECTED)),
        (Verdict.REJECTED, 5, 9, dead(Reason.RECIPIENT_REJECTED, Verdict.REJECTED)),
        (Verdict.CONTRADICTED, 0, 0, dead(Reason.STILL_OPTED_OUT, Verdict.CONTRADICTED)),
        (Verdict.SENDER_REJECTED, 0, 0, dead(Reason.SENDER_REJECTED, Verdict.SENDER_REJECTED)),
        # a failure of the recipient uses up an attempt
        (Verdict.FAILED, 0, 0, later(30 * SECOND, 1)),
        (Verdict.FAILED, 1, 1, later(2 * MINUTE, 2)),
        (Verdict.FAILED, 2, 2, later(10 * MINUTE, 3)),
        (Verdict.FAILED, 3, 3, later(30 * MINUTE, 4)),
        (Verdict.FAILED, 4, 4, later(2 * HOUR, 5)),
        (Verdict.FAILED, 5, 5, dead(Reason.RETRIES_EXHAUSTED, Verdict.FAILED)),
        (Verdict.FAILED, 99, 5, dead(Reason.RETRIES_EXHAUSTED, Verdict.FAILED)),
        # so does a refusal of our configuration, which ends under its own reason
        (Verdict.REFUSED, 0, 0, later(30 * SECOND, 1)),
        (Verdict.REFUSED, 4, 9, later(2 * HOUR, 5)),
        (Verdict.REFUSED, 5, 9, dead(Reason.REQUEST_REFUSED, Verdict.REFUSED)),
        # a failure of the endpoint uses up none, however often; its delay doubles with each hop and is capped
        (Verdict.UNAVAILABLE, 0, 0, later(30 * SECOND, 0)),
        (Verdict.UNAVAILABLE, 0, 1, later(1 * MINUTE, 0)),
        (Verdict.UNAVAILABLE, 3, 2, later(2 * MINUTE, 3)),
        (Verdict.UNAVAILABLE, 5, 4, later(8 * MINUTE, 5)),
        (Verdict.UNAVAILABLE, 5, 5, later(15 * MINUTE, 5)),
        (Verdict.UNAVAILABLE, 99, 999_999, later(15 * MINUTE, 99)),
    ],
)
def test_what_becomes_of_a_recipient(what_happened, attempts_used_up, hops, then):
    assert settled(what_happened, attempts_used_up, hops) == then


@pytest.mark.parametrize(
    ("verdict", "attempt", "reason"),
    [
        (Verdict.REJECTED, 0, Reason.OPT_OUT_REJECTED),
        (Verdict.CONTRADICTED, 0, Reason.NOT_OPTED_OUT),
        (Verdict.SENDER_REJECTED, 0, Reason.OPT_OUT_SENDER_REJECTED),
        (Verdict.FAILED, 5, Reason.OPT_OUT_RETRIES_EXHAUSTED),
        (Verdict.REFUSED, 5, Reason.OPT_OUT_REFUSED),
    ],
)
def test_a_stop_that_acs_does_not_take_has_a_reason_of_its_own(verdict, attempt, reason):
    assert settled(verdict, attempt, operation=Operation.ADD) == dead(reason, verdict)


@pytest.mark.parametrize("verdict", [Verdict.CONFIRMED, Verdict.FAILED, Verdict.REFUSED, Verdict.UNAVAILABLE])
def test_a_stop_is_done_or_waits_as_an_opt_in_does(verdict):
    assert settled(verdict, 1, 2, operation=Operation.ADD) == settled(verdict, 1, 2)


def test_every_verdict_is_settled_at_every_attempt():
    for verdict in Verdict:
        for attempt in range(8):
            assert isinstance(settled(verdict, attempt), Done | RetryLater | DeadLetter)


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999999])
@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.REFUSED, Verdict.UNAVAILABLE])
def test_jitter_lengthens_a_delay_by_up_to_a_fifth_and_never_shortens_it(verdict, chance):
    delay = settled(verdict, attempt=2, hop=2, chance=chance).at - NOW
    plain = settled(verdict, attempt=2, hop=2).at - NOW

    assert plain <= delay < plain * 1.2
    assert delay - plain == plain * 0.2 * chance


@pytest.mark.parametrize(
    ("asked", "delay"),
    [
        (None, 30 * SECOND),
        (0.0, 30 * SECOND),
        (29.0, 30 * SECOND),
        (31.0, 31 * SECOND),
        (3600.0, HOUR),
    ],
)
@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.UNAVAILABLE])
def test_retry_after_is_honoured_when_it_is_longer(verdict, asked, delay):
    assert settled(verdict, retry_after=asked).at == NOW + delay


def test_those_who_were_asked_to_wait_do_not_all_come_back_in_the_same_second():
    assert settled(Verdict.UNAVAILABLE, retry_after=100.0, chance=0.5).at == NOW + 110 * SECOND


def test_without_a_schedule_the_first_failure_is_the_last():
    schedule = Schedule((), SCHEDULE.outage_first, SCHEDULE.outage_max)

    assert settled(Verdict.FAILED, schedule=schedule) == dead(Reason.RETRIES_EXHAUSTED, Verdict.FAILED)


def test_the_longest_delays_that_can_be_set_stay_in_the_calendar():
    year = timedelta(days=365)
    schedule = Schedule((year,), year, year)

    for verdict in (Verdict.FAILED, Verdict.UNAVAILABLE):
        settlement = settled(verdict, hop=999_999, chance=0.5, schedule=schedule)

        assert settlement == RetryLater(NOW + 1.1 * year, attempt=verdict is Verdict.FAILED)


def test_who_made_whole_requests_fail_is_asked_for_apart_next_time():
    assert settled(Verdict.FAILED, alone=True).alone
    assert not settled(Verdict.FAILED).alone
