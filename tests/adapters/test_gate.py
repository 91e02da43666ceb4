"""The breaker: it stops calling an endpoint that is down, looks again after a while, and minds nothing else."""

import asyncio

import pytest

from optout_core.api import Verdict
from optout_core.errors import RequestRefused
from sandbox.endpoint import Fault
from tests.adapters.acs_client import PERSON, open_client, people, removing_one_by_one

COOLDOWN = 0.1


async def cool_down():
    """Wait until the breaker lets somebody through; its clock is the machine's."""
    await asyncio.sleep(COOLDOWN + 0.02)


async def test_an_endpoint_that_is_down_is_called_no_longer(endpoint):
    endpoint.faults = [Fault(status=503)]

    async with open_client(endpoint, attempts=1, concurrency=1, breaker_failures=5) as caller:
        verdicts = await removing_one_by_one(caller, people(20))

        assert caller.client.breaker_open
    assert set(verdicts) == {Verdict.UNAVAILABLE}
    assert len(endpoint.requests) == 5


async def test_who_was_not_called_comes_back_when_the_breaker_may_be_closed_again(endpoint):
    endpoint.faults = [Fault(status=503)]

    async with open_client(endpoint, attempts=1, breaker_failures=1, breaker_cooldown=30) as caller:
        await caller.remove(PERSON)
        outcome = (await caller.remove(PERSON))[PERSON]

    assert (outcome.status, outcome.detail) == (None, "the breaker is open")
    assert 29 <= outcome.retry_after <= 30


async def test_an_endpoint_that_asks_for_longer_than_the_cooldown_gets_it_from_everybody(endpoint):
    endpoint.faults = [Fault(status=429, retry_after=600)]

    async with open_client(endpoint, attempts=1, breaker_failures=1, breaker_cooldown=COOLDOWN) as caller:
        await caller.remove(PERSON)
        await cool_down()
        outcome = (await caller.remove(PERSON))[PERSON]

        assert caller.client.breaker_open
    assert 599 < outcome.retry_after <= 600
    assert len(endpoint.requests) == 1


async def test_it_counts_as_open_until_the_endpoint_has_answered_again(endpoint):
    endpoint.faults = [Fault(status=503, times=1)]

    async with open_client(endpoint, attempts=1, breaker_failures=1, breaker_cooldown=COOLDOWN) as caller:
        await caller.remove(PERSON)
        await cool_down()

        assert caller.client.breaker_open
        await caller.remove(PERSON)
        assert not caller.client.breaker_open


async def test_a_token_that_we_do_not_get_says_nothing_about_the_endpoint(endpoint):
    class Forgetful:
        refuse = False

        async def __call__(self, *_):
            if self.refuse:
                raise RequestRefused("no token")
            return {}

    signer = Forgetful()
    async with open_client(endpoint, sign=signer, attempts=1, breaker_failures=1, breaker_cooldown=COOLDOWN) as caller:
        endpoint.faults = [Fault(status=503)]
        await caller.remove(PERSON)
        await cool_down()
        signer.refuse = True

        assert await caller.verdict() is Verdict.REFUSED
        assert caller.client.breaker_open


async def test_an_open_breaker_ends_the_tries_in_place(endpoint):
    endpoint.faults = [Fault(status=503)]

    async with open_client(endpoint, attempts=10, breaker_failures=2) as caller:
        await caller.remove(PERSON)

    assert len(endpoint.requests) == 2


async def test_after_the_cooldown_one_request_looks_and_finds_the_endpoint_still_down(endpoint):
    endpoint.faults = [Fault(status=503)]

    async with open_client(endpoint, attempts=1, breaker_failures=3, breaker_cooldown=COOLDOWN) as caller:
        await removing_one_by_one(caller, people(3))
        await cool_down()
        before = len(endpoint.requests)
        verdicts = await removing_one_by_one(caller, people(40))

    assert set(verdicts) == {Verdict.UNAVAILABLE}
    assert len(endpoint.requests) == before + 1


async def test_after_the_cooldown_everybody_goes_when_the_endpoint_is_back(endpoint):
    endpoint.faults = [Fault(status=503, times=3)]

    async with open_client(endpoint, attempts=1, breaker_failures=3, breaker_cooldown=COOLDOWN) as caller:
        await removing_one_by_one(caller, people(3))
        await cool_down()
        verdicts = await removing_one_by_one(caller, people(40))

        assert not caller.client.breaker_open
    assert set(verdicts) == {Verdict.REMOVED}


@pytest.mark.parametrize("status", [307, 400, 401, 403, 404])
async def test_an_answer_that_is_about_us_or_them_shows_that_the_endpoint_is_up(endpoint, status):
    endpoint.faults = [Fault(status=status)]

    async with open_client(endpoint, breaker_failures=2) as caller:
        await removing_one_by_one(caller, people(10))

        assert not caller.client.breaker_open
    assert len(endpoint.requests) == 10


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": "reset"}, {"delay": 60}, {"body": "html"}], ids=str)
async def test_whatever_gives_no_answer_opens_it(endpoint, fault):
    endpoint.faults = [Fault(**fault)]

    async with open_client(endpoint, timeout=0.2, attempts=1, breaker_failures=2) as caller:
        await removing_one_by_one(caller, people(2))

        assert caller.client.breaker_open


async def test_only_failures_in_a_row_open_it(endpoint):
    endpoint.faults = [Fault(to=PERSON, status=503)]

    async with open_client(endpoint, attempts=1, breaker_failures=2) as caller:
        for person in people(3):
            await caller.remove(PERSON)
            await caller.remove(person)

        assert not caller.client.breaker_open


async def test_the_end_of_the_budget_says_nothing_about_an_endpoint_that_answers(endpoint):
    endpoint.faults = [Fault(delay=0.1)]

    async with open_client(endpoint, budget=0.35, concurrency=4, breaker_failures=2) as caller:
        verdicts = await removing_one_by_one(caller, people(40))

        assert not caller.client.breaker_open
    assert {*verdicts} == {Verdict.REMOVED, Verdict.UNAVAILABLE}


async def test_the_end_of_the_budget_does_not_close_a_breaker_either(endpoint):
    endpoint.faults = [Fault(delay=60, times=1), Fault(status=503)]

    async with open_client(endpoint, budget=0.4, concurrency=2, attempts=1, breaker_failures=2) as caller:
        await removing_one_by_one(caller, people(3))

        assert caller.client.breaker_open
