"""The gate: closed, open until a moment, or probing; what opens and closes it, alone and in front of an endpoint."""

import asyncio

import pytest

from optout_core.adapters.gate import FIRST_WAIT, LONGEST_WAIT, REFUSED_TO_THE_LAST, Gate
from optout_core.errors import NotSent, RequestRefused
from optout_core.outcomes import Verdict
from sandbox.endpoint import Fault, Item
from tests.adapters.acs_client import PERSON, open_client, people, removing_one_by_one

COOLDOWN = 30


class Clock:
    """A clock that only sleeping moves on."""

    def __init__(self):
        self.time = 1000.0
        self.naps = []

    def __call__(self):
        return self.time

    async def sleep(self, seconds):
        self.naps.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def gate(clock):
    return Gate(failures=5, cooldown=COOLDOWN, now=clock, sleep=clock.sleep)


async def fail(gate, clock, count=1, retry_after=None, patience=60.0):
    """Let requests pass one after the other, and fail."""
    for _ in range(count):
        async with gate.passage(patience):
            gate.failed(clock(), retry_after)


async def test_failures_in_a_row_open_it_and_the_waits_between_them_grow(gate, clock):
    await fail(gate, clock, 4)
    assert not gate.is_open
    await fail(gate, clock)

    assert gate.is_open
    expected = [FIRST_WAIT * factor for factor in (1, 1, 2, 4)]
    assert [wait - nap <= 0 <= wait + FIRST_WAIT - nap for wait, nap in zip(expected, clock.naps, strict=True)] == [
        True
    ] * 4


async def test_nobody_passes_an_open_gate_and_is_told_for_how_long(gate, clock):
    await fail(gate, clock, 5)

    with pytest.raises(NotSent) as raised:
        async with gate.passage(60):
            pytest.fail("it is open")
    assert raised.value.retry_after == pytest.approx(COOLDOWN)


async def test_many_that_fail_at_once_are_a_blip_until_one_sent_later_fails_as_well(gate, clock):
    sent_at = clock()
    clock.time += 1
    for _ in range(16):
        gate.failed(sent_at)
    assert not gate.is_open

    await fail(gate, clock)

    assert gate.is_open


async def test_an_answer_closes_it_and_what_was_asked_of_us_before_is_forgotten(gate, clock):
    await fail(gate, clock, retry_after=3600)
    clock.time += 3600
    async with gate.passage(0):
        gate.answered(clock())
    assert gate.is_closed

    await fail(gate, clock, 5)
    with pytest.raises(NotSent) as raised:
        async with gate.passage(60):
            pytest.fail("it is open")

    assert raised.value.retry_after == pytest.approx(COOLDOWN)


async def test_retry_after_on_one_request_holds_back_all_and_the_longer_wait_counts(gate, clock):
    await fail(gate, clock, retry_after=60)

    assert gate.is_open
    with pytest.raises(NotSent) as raised:
        async with gate.passage(60):
            pytest.fail("it is open")
    assert raised.value.retry_after == 60


async def test_an_answer_to_what_was_sent_before_retry_after_came_does_not_close_it(gate, clock):
    sent_at = clock()
    clock.time += 1
    gate.failed(sent_at, retry_after=60)

    gate.answered(sent_at)

    assert gate.is_open


async def test_a_short_retry_after_is_waited_for_in_place(gate, clock):
    await fail(gate, clock, retry_after=3)

    async with gate.passage(60):
        gate.answered(clock())

    assert len(clock.naps) == 1
    assert 3 <= clock.naps[0] <= 3 + FIRST_WAIT


@pytest.mark.parametrize("patience", [1.0, 60.0])
async def test_a_wait_that_is_too_long_or_outlasts_the_budget_is_not_begun(gate, clock, patience):
    await fail(gate, clock, retry_after=min(patience, LONGEST_WAIT) + 1)

    with pytest.raises(NotSent):
        async with gate.passage(patience):
            pytest.fail("it is open")
    assert clock.naps == []


async def test_after_the_cooldown_one_probes_while_the_others_wait(gate, clock):
    await fail(gate, clock, 5)
    clock.time += COOLDOWN
    inside, probing, results = 0, asyncio.Event(), []

    async def ask():
        nonlocal inside
        try:
            async with gate.passage(0):
                inside += 1
                await probing.wait()
                gate.failed(clock())
        except NotSent:
            results.append("not sent")

    asking = [asyncio.create_task(ask()) for _ in range(10)]
    await asyncio.sleep(0.01)
    assert inside == 1
    probing.set()
    await asyncio.gather(*asking)

    assert (inside, results) == (1, ["not sent"] * 9)


async def test_once_the_probe_is_answered_all_pass_side_by_side(gate, clock):
    await fail(gate, clock, 5)
    clock.time += COOLDOWN
    inside, everybody = 0, asyncio.Event()

    async def ask(number):
        nonlocal inside
        async with gate.passage(0):
            if number == 0:
                gate.answered(clock())
                return
            inside += 1
            if inside == 9:
                everybody.set()
            await everybody.wait()

    async with asyncio.timeout(5):
        await asyncio.gather(*map(ask, range(10)))


async def test_a_probe_that_fails_costs_another_cooldown(gate, clock):
    await fail(gate, clock, 5)
    for _ in range(3):
        clock.time += COOLDOWN
        await fail(gate, clock)
        with pytest.raises(NotSent):
            await fail(gate, clock)


async def test_who_is_refused_alone_is_to_blame_until_ten_in_a_row_are(gate, clock):
    assert [gate.refused(clock(), 1) for _ in range(REFUSED_TO_THE_LAST)] == [False] * 9 + [True]
    assert gate.is_open


async def test_while_others_are_accepted_the_refused_do_not_open_it(gate, clock):
    gate.accepted(clock())
    clock.time += COOLDOWN
    assert [gate.refused(clock(), 1) for _ in range(REFUSED_TO_THE_LAST)][-1]

    assert gate.is_closed


async def test_a_refusal_does_not_close_what_refusals_opened(gate, clock):
    for _ in range(REFUSED_TO_THE_LAST):
        gate.refused(clock(), 1)
    clock.time += COOLDOWN
    async with gate.passage(0):
        gate.refused(clock(), 1)
    assert gate.is_open

    clock.time += COOLDOWN
    async with gate.passage(0):
        gate.accepted(clock())
    assert gate.is_closed


# In front of an endpoint.


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503),
        Fault(status=503, body="html"),
        Fault(items=()),
        Fault(items=(Item(http_status_code=500),)),
        Fault(items=(Item(http_status_code=429),)),
        Fault(drop="reset"),
        Fault(delay=60),
    ],
    ids=str,
)
async def test_an_outage_is_told_in_many_ways_and_costs_a_handful_of_requests(endpoint, fault):
    endpoint.faults = [fault]

    async with open_client(endpoint, timeout=0.3, failures=5) as caller:
        first = await caller.remove(*people(10_000))
        asked = len(endpoint.requests)
        second = await caller.remove(*people(10_000))

        assert caller.client.gate_is_open
    assert {outcome.verdict for outcome in (*first.values(), *second.values())} == {Verdict.UNAVAILABLE}
    assert {outcome.alone for outcome in first.values()} == {False}
    assert asked <= 16 + 5
    assert len(endpoint.requests) == asked


async def test_a_blip_that_all_requests_meet_at_once_costs_nobody_a_try(endpoint):
    endpoint.faults = [Fault(status=503, times=16)]

    async with open_client(endpoint, failures=5) as caller:
        outcomes = await caller.remove(*people(3000))

    assert {outcome.verdict for outcome in outcomes.values()} == {Verdict.CONFIRMED}


async def test_throttling_with_retry_after_stops_all_batches(endpoint):
    endpoint.faults = [Fault(status=429, retry_after=60, share=0.75)]

    async with open_client(endpoint, failures=5) as caller:
        outcomes = await caller.remove(*people(10_000))

    waiting = [outcome for outcome in outcomes.values() if outcome.verdict is Verdict.UNAVAILABLE]
    assert len(endpoint.requests) <= 16
    assert len(waiting) > 8000
    assert all(59 < outcome.retry_after <= 60 for outcome in waiting)


async def test_an_endpoint_that_is_back_is_called_at_the_next_probe(endpoint):
    endpoint.faults = [Fault(status=503)]

    async with open_client(endpoint, failures=2, cooldown=0.2, sleep=asyncio.sleep) as caller:
        await caller.remove(*people(300))
        assert caller.client.gate_is_open
        endpoint.faults = []
        await asyncio.sleep(0.25)
        outcomes = await caller.remove(*people(300))

        assert not caller.client.gate_is_open
    assert {outcome.verdict for outcome in outcomes.values()} == {Verdict.CONFIRMED}


@pytest.mark.parametrize("status", [307, 401, 403, 404])
async def test_an_answer_that_is_about_us_shows_that_the_endpoint_is_up(endpoint, status):
    endpoint.faults = [Fault(status=status)]

    async with open_client(endpoint, failures=2) as caller:
        await removing_one_by_one(caller, people(10))

        assert not caller.client.gate_is_open
    assert len(endpoint.requests) == 10


async def test_a_token_that_we_do_not_get_says_nothing_about_the_endpoint(endpoint):
    class Forgetful:
        refuse = False

        async def __call__(self, *_):
            if self.refuse:
                raise RequestRefused("no token")
            return {}

    signer = Forgetful()
    endpoint.faults = [Fault(status=503)]
    async with open_client(endpoint, sign=signer, failures=1, cooldown=0.1) as caller:
        await caller.remove(PERSON)
        await asyncio.sleep(0.12)
        signer.refuse = True

        assert await caller.verdict() is Verdict.REFUSED
        assert caller.client.gate_is_open


async def test_the_end_of_the_budget_says_nothing_about_an_endpoint_that_answers(endpoint):
    endpoint.faults = [Fault(delay=0.2)]

    async with open_client(endpoint, budget=0.7, concurrency=4, failures=2) as caller:
        verdicts = await removing_one_by_one(caller, people(40))

        assert not caller.client.gate_is_open
    assert {*verdicts} == {Verdict.CONFIRMED, Verdict.UNAVAILABLE}
