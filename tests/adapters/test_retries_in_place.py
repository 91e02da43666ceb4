"""Short retries in place: bounded by number and by time, spread by jitter, and as the server wishes."""

import asyncio

import pytest

from optout_core.api import Verdict
from sandbox.endpoint import Fault
from tests.adapters.acs_client import PERSON, open_client, people, removing_one_by_one


@pytest.mark.parametrize("attempts", [1, 2, 5])
async def test_a_request_is_tried_as_often_as_the_setting_says(endpoint, attempts):
    endpoint.faults = [Fault(status=503)]

    async with open_client(endpoint, attempts=attempts) as caller:
        assert await caller.verdict() is Verdict.UNAVAILABLE

    assert len(endpoint.requests) == attempts


async def test_waits_double_and_carry_a_jitter_that_only_lengthens(endpoint):
    endpoint.faults = [Fault(status=503)]

    async with open_client(endpoint, attempts=4) as caller:
        for person in people(10):
            await caller.remove(person)

    first, second, third = caller.naps.seconds[0::3], caller.naps.seconds[1::3], caller.naps.seconds[2::3]
    assert all(0.2 <= wait <= 0.4 for wait in first)
    assert all(0.4 <= wait <= 0.6 for wait in second)
    assert all(0.8 <= wait <= 1.0 for wait in third)
    assert len(set(first)) > 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_retry_after_in_seconds_is_waited_for_in_place(endpoint, status):
    endpoint.faults = [Fault(status=status, retry_after=3, times=1)]

    async with open_client(endpoint) as caller:
        assert await caller.verdict() is Verdict.REMOVED

    assert len(caller.naps.seconds) == 1
    assert 3 <= caller.naps.seconds[0] <= 3.2


async def test_those_who_were_told_the_same_retry_after_do_not_come_back_at_once(endpoint):
    endpoint.faults = [Fault(status=429, retry_after=2, times=8)]

    async with open_client(endpoint) as caller:
        await removing_one_by_one(caller, people(8))

    assert len(set(caller.naps.seconds)) == len(caller.naps.seconds) == 8
    assert min(caller.naps.seconds) >= 2


async def test_retry_after_as_a_date_is_waited_for_in_place(endpoint):
    endpoint.faults = [Fault(status=503, retry_after_date=4, times=1)]

    async with open_client(endpoint) as caller:
        assert await caller.verdict() is Verdict.REMOVED

    # The date has no fractions of a second.
    assert len(caller.naps.seconds) == 1
    assert 2.5 < caller.naps.seconds[0] <= 4.2


@pytest.mark.parametrize("fault", [{"retry_after": 0}, {"retry_after_date": -60}, {"retry_after": "soon"}], ids=str)
async def test_a_retry_after_that_asks_for_nothing_leaves_the_usual_wait(endpoint, fault):
    endpoint.faults = [Fault(status=503, times=1, **fault)]

    async with open_client(endpoint) as caller:
        assert await caller.verdict() is Verdict.REMOVED

    assert 0.2 <= caller.naps.seconds[0] <= 0.4


@pytest.mark.parametrize(("fault", "asked"), [({"retry_after": 6}, 6), ({"retry_after": 86400}, 3600)], ids=str)
async def test_a_long_retry_after_is_handed_on_and_not_waited_for(endpoint, fault, asked):
    endpoint.faults = [Fault(status=429, **fault)]

    async with open_client(endpoint) as caller:
        outcome = (await caller.remove(PERSON))[PERSON]

    assert (outcome.verdict, outcome.retry_after) == (Verdict.UNAVAILABLE, asked)
    assert len(endpoint.requests) == 1
    assert caller.naps.seconds == []


async def test_a_long_retry_after_as_a_date_is_handed_on_too(endpoint):
    endpoint.faults = [Fault(status=503, retry_after_date=600)]

    async with open_client(endpoint) as caller:
        outcome = (await caller.remove(PERSON))[PERSON]

    assert 595 < outcome.retry_after <= 600
    assert len(endpoint.requests) == 1


async def test_a_wait_that_would_reach_into_the_second_half_of_the_budget_is_not_begun(endpoint):
    endpoint.faults = [Fault(status=503, retry_after=2)]

    async with open_client(endpoint, budget=3.5) as caller:
        assert await caller.verdict() is Verdict.UNAVAILABLE

    assert caller.naps.seconds == []


async def test_a_request_that_waits_for_its_next_try_leaves_its_place_to_others(endpoint):
    endpoint.faults = [Fault(to=PERSON, status=503)]
    resumed = asyncio.Event()

    async def wait_for_the_others(_):
        await resumed.wait()

    async with open_client(endpoint, concurrency=1, attempts=2, sleep=wait_for_the_others) as caller:
        waiting = asyncio.create_task(caller.verdict(PERSON))
        other = await caller.verdict(people(1)[0])
        resumed.set()

        assert other is Verdict.REMOVED
        assert await waiting is Verdict.UNAVAILABLE
