"""What the client does not do: wait without end, read without end, call without end."""

import asyncio

import pytest
from pydantic import SecretStr

from optout_core.adapters.signing import HmacSigner
from optout_core.api import MAX_ANSWER_BYTES
from optout_core.outcomes import Verdict
from sandbox.endpoint import Fault
from tests.adapters.acs_client import PERSON, RawServer, open_client, people, removing_one_by_one

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


async def test_ten_thousand_pairs_of_one_sender_cost_a_hundred_requests(endpoint):
    async with open_client(endpoint, budget=60) as caller:
        outcomes = await caller.remove(*people(10_000))

    assert len(outcomes) == 10_000
    assert {outcome.verdict for outcome in outcomes.values()} == {Verdict.CONFIRMED}
    assert len(endpoint.requests) == 100
    assert [recipients for recipients, _ in caller.watch.requests] == [100] * 100


async def test_nobody_asked_about_costs_no_request(endpoint):
    async with open_client(endpoint) as caller:
        assert await caller.remove() == {}

    assert endpoint.requests == []


async def test_no_more_requests_are_in_flight_than_the_setting_says(endpoint):
    endpoint.faults = [Fault(delay=0.02)]

    async with open_client(endpoint, concurrency=16) as caller:
        await asyncio.gather(removing_one_by_one(caller, people(64)[:32]), removing_one_by_one(caller, people(64)[32:]))

    assert len(endpoint.requests) == 64
    assert endpoint.most_in_flight == 16


async def test_an_answer_without_end_is_not_read_to_its_end():
    sent = 0

    async def flood(_, writer):
        nonlocal sent
        writer.write(OK + b"\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()
            sent += 65536

    async with RawServer(flood) as server, open_client(server) as caller:
        outcome = (await caller.remove(PERSON))[PERSON]

    assert (outcome.verdict, outcome.detail) == (Verdict.UNAVAILABLE, "the answer is too long to be one")
    assert sent < 48 * MAX_ANSWER_BYTES


@pytest.mark.parametrize("part", [b"HTTP/1.1 200 OK\r\nX-Slow: ", OK + b"\r\n"], ids=["headers", "body"])
async def test_an_answer_that_trickles_is_cut_off(part):
    gone = asyncio.Event()

    async def trickle(_, writer):
        try:
            writer.write(part)
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        finally:
            gone.set()

    async with RawServer(trickle) as server, open_client(server, timeout=0.2) as caller:
        outcome = (await caller.remove(PERSON))[PERSON]
        async with asyncio.timeout(5):
            await gone.wait()

    assert (outcome.verdict, outcome.detail) == (Verdict.UNAVAILABLE, "no answer within 0.2 s")


async def test_requests_that_timed_out_give_their_places_back(endpoint):
    endpoint.faults = [Fault(delay=60)]

    async with open_client(endpoint, timeout=0.2, concurrency=4) as caller:
        first = await removing_one_by_one(caller, people(4))
        endpoint.faults = []
        second = await removing_one_by_one(caller, people(8))

    assert set(first) == {Verdict.UNAVAILABLE}
    assert set(second) == {Verdict.CONFIRMED}


async def test_when_the_budget_ends_what_was_answered_is_kept_and_the_rest_is_later(endpoint):
    endpoint.faults = [Fault(to=PERSON, delay=60)]
    quick = people(20)

    async with open_client(endpoint, budget=2) as caller:
        verdicts = await removing_one_by_one(caller, [PERSON, *quick])

    assert verdicts == [Verdict.UNAVAILABLE, *[Verdict.CONFIRMED] * 20]


async def test_the_budget_also_ends_a_wait_for_the_next_try(endpoint):
    endpoint.faults = [Fault(status=503)]

    async def forever(_):
        await asyncio.Event().wait()

    async with open_client(endpoint, budget=0.3, sleep=forever) as caller:
        assert await caller.verdict() is Verdict.UNAVAILABLE


async def test_cancelling_the_invocation_hangs_up_and_is_not_swallowed():
    asked, hung_up = asyncio.Event(), asyncio.Event()

    async def never(reader, _):
        asked.set()
        try:
            await reader.read()
        finally:
            hung_up.set()

    async with RawServer(never) as server, open_client(server) as caller:
        invocation = asyncio.create_task(caller.remove(PERSON))
        await asked.wait()
        invocation.cancel()
        with pytest.raises(asyncio.CancelledError):
            await invocation
        await hung_up.wait()


async def test_what_nobody_foresaw_leaves_its_recipients_for_later_and_stops_nobody_else(endpoint):
    signer = HmacSigner(endpoint.url, SecretStr(endpoint.access_key))

    async def moody(target, body):
        if PERSON.encode() in body:
            raise ValueError(f"never seen before: {PERSON}")
        return await signer(target, body)

    async with open_client(endpoint, sign=moody) as caller:
        outcomes = await caller.remove(PERSON, *people(3))

    assert outcomes[PERSON].verdict is Verdict.FAILED
    assert outcomes[PERSON].detail == "ValueError"
    assert {outcomes[to].verdict for to in people(3)} == {Verdict.CONFIRMED}


async def test_a_client_that_was_closed_is_opened_again_by_the_next_request(endpoint):
    async with open_client(endpoint) as caller:
        await caller.remove(PERSON)
        await caller.acs.__aexit__()

        assert await caller.verdict() is Verdict.CONFIRMED
