"""A 400 that names nobody: the batch is split until the one who spoils it stands alone."""

import pytest

from optout_core.api import Verdict
from sandbox.endpoint import Fault
from tests.adapters.acs_client import SENDER, open_client, people

#: The sandbox refuses any request that holds it, as ACS does (RemoveOptOutToInvalidNumberShouldThrow.json).
POISON = "+15550000000"


@pytest.mark.parametrize(("index", "calls"), [(0, 13), (50, 13), (99, 15)])
async def test_one_poison_among_a_hundred_costs_two_calls_a_level(endpoint, index, calls):
    recipients = list(people(100))
    recipients[index] = POISON
    endpoint.opted_out = {(SENDER, to) for to in recipients}

    async with open_client(endpoint) as caller:
        outcomes = await caller.remove(*recipients)

    assert {to for to, outcome in outcomes.items() if outcome.verdict is Verdict.REJECTED} == {POISON}
    assert {to for to, outcome in outcomes.items() if outcome.verdict is Verdict.REMOVED} == {*recipients} - {POISON}
    assert endpoint.opted_out == {(SENDER, POISON)}
    assert len(endpoint.requests) == calls


async def test_two_poisons_are_found_and_everybody_else_is_removed_once(endpoint):
    recipients = list(people(100))
    endpoint.faults = [Fault(to=recipients[0], status=400, body="problem"), Fault(to=recipients[99], status=400)]

    async with open_client(endpoint) as caller:
        outcomes = await caller.remove(*recipients)

    asked = [to for request in endpoint.requests if request.status == 200 for to in request.recipients]
    assert [outcomes[to].verdict for to in recipients] == [Verdict.REJECTED, *[Verdict.REMOVED] * 98, Verdict.REJECTED]
    assert sorted(asked) == sorted(recipients[1:99])
    assert len(endpoint.requests) == 25


async def test_when_everybody_is_poison_each_is_refused_alone(endpoint):
    endpoint.faults = [Fault(status=400, code="InvalidInput")]

    async with open_client(endpoint) as caller:
        outcomes = await caller.remove(*people(100))

    assert {outcome.verdict for outcome in outcomes.values()} == {Verdict.REJECTED}
    assert len(outcomes) == 100
    assert len(endpoint.requests) == 199


async def test_a_half_that_finds_the_endpoint_down_is_not_held_against_anybody(endpoint):
    recipients = [POISON, *people(9)]
    endpoint.faults = [Fault(to=recipients[9], status=503, after=1)]

    async with open_client(endpoint) as caller:
        outcomes = await caller.remove(*recipients)

    verdicts = [outcomes[to].verdict for to in recipients]
    assert verdicts == [Verdict.REJECTED, *[Verdict.REMOVED] * 4, *[Verdict.UNAVAILABLE] * 5]


async def test_a_refusal_that_turns_up_while_bisecting_stops_it_there(endpoint):
    recipients = [POISON, *people(9)]
    endpoint.faults = [Fault(to=recipients[9], status=401, code="Denied", after=1)]

    async with open_client(endpoint) as caller:
        outcomes = await caller.remove(*recipients)

    assert [outcomes[to].verdict for to in recipients[5:]] == [Verdict.REFUSED] * 5
    assert sum(recipients[9] in request.recipients for request in endpoint.requests) == 2


async def test_the_end_of_the_budget_in_the_middle_keeps_what_was_found_by_then(endpoint):
    recipients = [*people(9), POISON]
    endpoint.faults = [Fault(to=POISON, delay=60, after=1)]

    async with open_client(endpoint, budget=0.6) as caller:
        outcomes = await caller.remove(*recipients)

    assert [outcomes[to].verdict for to in recipients] == [Verdict.REMOVED] * 5 + [Verdict.UNAVAILABLE] * 5
