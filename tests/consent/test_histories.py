"""Histories that broke other protocols, one by one, over both databases.

H1 to H12 are the shortest counterexamples that the model found (docs/design.md, "Consent"): each ends well here, and
what stands beside it in the docstring is the mistake that it would show.
"""

import asyncio

import pytest

from tests.build import PERSON, SENDER
from tests.consent.said import key, people, stop, web
from tests.consent.world import HORIZON, KINDS, NO_ANSWER

ENTRY = (SENDER, PERSON)


async def test_h1_a_stop_that_overlaps_an_older_opt_in_stands_though_the_opt_in_acts_last(world):
    """NoComeBack, SettlesAnything, NotedAfterwards, JudgedLate."""
    opt_in, stop = world.says("web", 1), world.says("out", 2)
    one = await world.takes(opt_in).reaches("answer")
    other = await world.takes(stop).reaches("answer")
    one.call.is_answered_first()
    other.call.acts()

    await one.finishes()
    await other.finishes()
    world.waits(200)
    one.call.acts()
    assert ENTRY not in world.acs.listed

    assert await world.rests() == []
    assert ENTRY in world.acs.listed
    assert world.asked == ["remove", "add", "add"]
    assert world.reasons == ["NewerOptOut"]


async def test_h2_an_opt_in_that_overlaps_an_older_stop_stands_though_the_stop_acts_last(world):
    """StopAlwaysAdds, LastArrivalWins; and the design before this one."""
    stop, opt_in = world.says("out", 1), world.says("web", 2)
    one = await world.takes(stop).reaches("answer")
    other = await world.takes(opt_in).reaches("answer")
    other.call.acts()
    await other.finishes()

    one.call.acts()
    await one.finishes()
    assert ENTRY in world.acs.listed

    assert await world.rests() == []
    assert ENTRY not in world.acs.listed
    assert world.asked == ["add", "remove", "remove"]
    assert world.reasons == []


async def test_h3_a_stop_stands_though_an_opt_in_that_timed_out_acts_after_its_own_repetition(world):
    """RowLock, AnswerClearsAll, TimeoutIsDone; and the design before this one."""
    opt_in = world.says("web", 1)
    one = await world.takes(opt_in).reaches("answer")
    late = one.call.times_out()
    await one.finishes()
    world.waits(30)
    again = world.takes(*world.due)
    await again.finishes()
    stop = world.says("out", 40)
    await world.takes(stop).finishes()
    assert ENTRY in world.acs.listed

    late.acts()
    assert ENTRY not in world.acs.listed

    assert await world.rests() == []
    assert ENTRY in world.acs.listed
    assert world.asked == ["remove", "remove", "add", "add"]


async def test_h4_an_opt_in_that_was_recorded_is_not_called_again_when_its_instance_dies_before_completing(world):
    """NeverSettled."""
    opt_in = world.says("web", 1)
    one = await world.takes(opt_in).reaches("recorded")

    one.dies()

    assert await world.rests() == []
    assert world.asked == ["remove"]


@pytest.mark.parametrize("place", ["record", "recorded", "send", "sent", "complete"])
async def test_h5_a_stop_that_overlaps_an_opt_in_is_called_again_wherever_its_instance_dies_after_the_answer(
    world, place
):
    """CompletesFirst, SettlesAnything."""
    opt_in, stop = world.says("web", 1), world.says("out", 2)
    one = await world.takes(opt_in).reaches("answer")
    one.call.is_answered_first()
    other = await world.takes(stop).reaches("answer")
    await other.reaches(place)
    other.dies()
    await one.finishes()

    world.waits(100)
    one.call.acts()

    assert await world.rests() == []
    assert ENTRY in world.acs.listed


async def test_h6_what_comes_back_asks_the_ledger_again_before_it_calls(world):
    """ComesBackBlind."""
    stop, opt_in = world.says("out", 1), world.says("web", 2)
    one = await world.takes(stop).reaches("call")
    await world.takes(opt_in).finishes()
    one.dies()
    (back,) = [message for message in world.queue if message.due > world.clock.now]
    world.waits_until(back.due)
    await world.takes(opt_in).finishes()
    assert world.asked == ["remove", "remove"]

    assert await world.rests() == []
    assert world.asked == ["remove", "remove"]
    assert ENTRY not in world.acs.listed


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("together", [True, False])
async def test_h7_of_a_stop_and_an_opt_in_in_one_moment_the_stop_stands(world, turn, together):
    """TieToOptIn, LastArrivalWins."""
    words = [world.says("out", 1), world.says("web", 1)][::turn]

    if together:
        await world.takes(*words).finishes()
    else:
        for each in words:
            await world.takes(each).finishes()

    assert await world.rests() == []
    assert ENTRY in world.acs.listed


async def test_h8_a_newer_opt_in_calls_though_an_older_one_was_settled_before_a_texted_stop(world):
    """SameKindKeepsSettled, StopAlwaysAdds."""
    await world.takes(world.says("web", 1)).finishes()
    stop = world.says("STOP", 2)
    assert ENTRY in world.acs.listed
    await world.takes(world.says("web", 3)).finishes()
    assert ENTRY not in world.acs.listed

    await world.takes(stop).finishes()

    assert await world.rests() == []
    assert ENTRY not in world.acs.listed
    assert world.asked == ["remove", "remove"]


async def test_h9_a_newer_stop_calls_though_an_older_one_was_settled_before_a_texted_start(world):
    """SameKindKeepsSettled."""
    await world.takes(world.says("out", 1)).finishes()
    start = world.says("START", 2)
    assert ENTRY not in world.acs.listed
    await world.takes(world.says("out", 3)).finishes()

    await world.takes(start).finishes()

    assert await world.rests() == []
    assert ENTRY in world.acs.listed
    assert world.asked == ["add", "add"]
    assert world.reasons == ["NewerOptOut"]


async def test_h10_the_evidence_of_an_opt_in_is_on_the_ledger_before_acs_is_asked(world):
    """ProofAfterwards."""
    opt_in = world.says("web", 1)
    one = await world.takes(opt_in).reaches("admit")
    (word,) = web(1, id=opt_in.name)
    assert not await world.store.has(word)

    await one.reaches("call")

    assert world.asked == []
    assert await world.store.has(word)
    assert await world.rests() == []


async def test_h11_an_opt_in_without_a_time_that_is_published_again_after_a_stop_is_no_newer_word(world):
    """Each copy brings its own time."""
    opt_in = world.says("web", 1, is_timed=False)
    await world.takes(opt_in).finishes()
    await world.takes(world.says("out", 2)).finishes()
    world.waits(600)

    await world.takes(opt_in).finishes()

    assert await world.rests() == []
    assert ENTRY in world.acs.listed
    assert world.reasons == ["NewerOptOut"]


async def test_h12_batches_of_the_same_people_in_opposite_order_do_not_wait_for_each_other(ledger):
    """An unsorted statement: a deadlock."""
    crowd = people(300)

    await asyncio.gather(
        *(ledger.admit(words) for _ in range(6) for words in (web(1, *crowd), stop(2, *reversed(crowd))))
    )

    admission = await ledger.admit(web(1, *crowd))
    assert {admission.rows[key(person)].stop for person in crowd} == {True}


# ---- what broke the design before this one -------------------------------------------------------------------------


async def test_a_stop_stands_though_an_opt_in_acts_after_its_instance_died_and_was_repeated(world):
    one = await world.takes(world.says("web", 1)).reaches("answer")
    late = one.call
    one.dies()
    await world.takes(*world.due).finishes()
    await world.takes(world.says("STOP", 2)).finishes()
    assert ENTRY in world.acs.listed

    world.waits(250)
    late.acts()
    assert ENTRY not in world.acs.listed

    assert await world.rests() == []
    assert ENTRY in world.acs.listed
    assert world.asked == ["remove", "remove", "add", "add"]


async def test_an_opt_in_that_lost_to_a_stop_undoes_no_newer_opt_in(world):
    oldest, stop, newest = world.says("web", 1), world.says("out", 2), world.says("web", 3)
    one = await world.takes(oldest).reaches("answer")
    other = await world.takes(newest).reaches("answer")
    one.call.acts()
    other.call.acts()
    await other.finishes()

    await world.takes(stop).finishes()
    await one.finishes()

    assert await world.rests() == []
    assert ENTRY not in world.acs.listed
    assert world.asked == ["remove", "remove"]


async def test_an_old_stop_undoes_no_opt_in_that_is_under_way(world):
    stop, opt_in = world.says("out", 1), world.says("web", 2)
    one = await world.takes(opt_in).reaches("answer")

    await world.takes(stop).finishes()

    assert await world.rests() == []
    assert one.where is None
    assert ENTRY not in world.acs.listed
    assert world.asked == ["remove"]


# ---- beyond the model ----------------------------------------------------------------------------------------------


async def test_a_word_without_an_overlap_makes_exactly_one_call(world):
    await world.takes(world.says("out", 1)).finishes()
    world.waits(HORIZON.seconds)
    await world.takes(world.says("web", HORIZON.seconds + 1)).finishes()

    assert await world.rests() == []
    assert world.asked == ["add", "remove"]


@pytest.mark.parametrize("kind", ["web", "START", "out", "STOP"])
async def test_a_zombie_whose_lock_ended_changes_nothing_for_good(world, kind):
    zombie = await world.takes(world.says(kind, 1)).reaches("call")
    zombie.loses_lock()
    await world.takes(*world.due).finishes()
    await world.takes(world.says("web" if KINDS[kind][0] else "out", 2)).finishes()

    await zombie.finishes()

    assert await world.rests() == []
    assert (ENTRY in world.acs.listed) is not KINDS[kind][0]


async def test_an_instance_that_slept_past_its_budget_sends_nothing(world):
    sleeper = await world.takes(world.says("web", 1)).reaches("call")
    world.waits(61)
    await sleeper.finishes()

    assert world.asked == []
    assert await world.rests() == []
    assert world.asked == ["remove"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("place", "calls"), [("admit", 1), ("record", 2)])
async def test_a_statement_whose_answer_is_lost_may_be_repeated(world, place, when, calls):
    one = await world.takes(world.says("web", 1)).reaches(place)
    one.fails = when
    await one.finishes()

    assert await world.rests() == []
    # What was recorded is settled, also where nobody was told of it.
    assert len(world.asked) == (1 if (place, when) == ("record", "after") else calls)


async def test_a_closed_gate_lets_a_stop_hold_back_older_opt_ins_though_nothing_is_called(world):
    opt_in, stop = world.says("web", 1), world.says("out", 2)
    one = world.takes(stop)
    one.refuses = NO_ANSWER
    await one.finishes()
    await world.takes(opt_in).finishes()

    assert world.asked == []
    assert world.reasons == ["NewerOptOut"]
    assert await world.rests() == []
    assert world.asked == ["add"]


@pytest.mark.parametrize("seconds", [-40, -1, 1, 40])
async def test_what_comes_back_does_not_call_again_and_again_where_the_ledgers_clock_is_not_the_brokers(world, seconds):
    world.skew = seconds * 1_000_000
    one = await world.takes(world.says("web", 1)).reaches("answer")
    await world.takes(world.says("out", 2)).finishes()
    await one.finishes()

    assert await world.rests() == []
    assert world.asked[:3] == ["remove", "add", "add"]
    assert len(world.asked) <= 5
