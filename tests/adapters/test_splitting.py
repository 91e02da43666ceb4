"""Who is to blame: the one who spoils a request is found, those beside it are removed, and an outage blames nobody."""

import pytest

from optout_core.batches import Operation, plan
from optout_core.outcomes import Verdict
from sandbox.endpoint import Fault, Item
from tests.adapters.acs_client import PERSON, batch, first, last, open_client, pair, people
from tests.build import wanted

CULPRIT = "+15556666666"
#: The sandbox refuses any request that holds it, as ACS does (RemoveOptOutToInvalidNumberShouldThrow.json).
REFUSED = "+15550000000"
OTHER_SENDER = "+18009999999"
ACCEPTED = {Verdict.CONFIRMED}

#: Whatever ACS, or the edge before it, makes of a request that holds one certain number.
SPOILING = [
    Fault(to=CULPRIT, status=500),
    Fault(to=CULPRIT, status=400, body="html"),
    Fault(to=CULPRIT, status=403, body="html"),
    Fault(to=CULPRIT, body="garbage"),
    Fault(to=CULPRIT, drop="reset"),
    Fault(to=CULPRIT, drop="silence"),
]


def of(outcomes, verdict):
    """Give the recipients with a verdict."""
    return {to for to, outcome in outcomes.items() if outcome.verdict is verdict}


@pytest.mark.parametrize(("index", "choose"), [(0, first), (50, first), (99, last)])
@pytest.mark.parametrize("fault", SPOILING, ids=str)
async def test_a_number_that_spoils_the_whole_request_harms_nobody_else(endpoint, fault, index, choose):
    recipients = list(people(100))
    recipients[index] = CULPRIT
    endpoint.faults = [fault]

    async with open_client(endpoint, timeout=0.5, failures=5, choose=choose) as caller:
        outcomes = await caller.remove(*recipients)

        assert not caller.client.gate_is_open
    assert of(outcomes, Verdict.CONFIRMED) == {*recipients} - {CULPRIT}
    assert outcomes[CULPRIT].verdict is Verdict.FAILED
    assert outcomes[CULPRIT].alone


async def test_invocations_that_follow_do_not_notice(endpoint):
    endpoint.faults = [Fault(to=to, status=500) for to in people(5)]

    async with open_client(endpoint, failures=5) as caller:
        for to in people(5):
            outcomes = await caller.remove(to, *people(60)[10:], sender=f"{OTHER_SENDER[:-1]}{to[-1]}")
            assert of(outcomes, Verdict.FAILED) == {to}
        outcomes = await caller.remove(*people(109)[10:])

    assert {outcome.verdict for outcome in outcomes.values()} == {Verdict.CONFIRMED}


async def test_a_marked_culprit_costs_one_request_uses_up_a_try_and_does_not_open_the_gate(endpoint):
    endpoint.faults = [Fault(to=CULPRIT, status=500)]

    async with open_client(endpoint, failures=1) as caller:
        outcomes = await caller.ask(plan(Operation.REMOVE, (), apart=[wanted([pair(CULPRIT)])]))

        assert not caller.client.gate_is_open
    assert outcomes[pair(CULPRIT)].verdict is Verdict.FAILED
    assert len(endpoint.requests) == 1


async def test_in_an_outage_a_marked_recipient_is_put_off_like_the_others(endpoint):
    endpoint.faults = [Fault(status=503)]

    async with open_client(endpoint, failures=2) as caller:
        await caller.remove(*people(100))
        outcomes = await caller.ask(plan(Operation.REMOVE, (), apart=[wanted([pair(CULPRIT)])]))

    assert outcomes[pair(CULPRIT)].verdict is Verdict.UNAVAILABLE


async def test_one_that_is_alone_in_its_request_is_to_blame_once_others_were_answered_between_its_tries(endpoint):
    endpoint.faults = [Fault(to=CULPRIT, status=500)]

    async with open_client(endpoint, failures=5) as caller:
        assert await caller.verdict(CULPRIT) is Verdict.UNAVAILABLE
        assert await caller.verdict(PERSON) is Verdict.CONFIRMED
        assert await caller.verdict(CULPRIT) is Verdict.FAILED


async def test_a_batch_that_fails_item_by_item_while_others_succeed_is_split_too(endpoint):
    """Nobody in it succeeds, which may be an outage; the probe shows that it is none."""
    recipients = [CULPRIT, *people(9)]
    endpoint.faults = [Fault(items=(Item(http_status_code=500),), times=1), Fault(to=CULPRIT, items=())]

    async with open_client(endpoint, choose=last) as caller:
        outcomes = await caller.remove(*recipients)

    assert of(outcomes, Verdict.CONFIRMED) == {*recipients} - {CULPRIT}
    assert of(outcomes, Verdict.FAILED) == {CULPRIT}


async def test_an_outage_that_begins_while_a_batch_is_split_blames_nobody(endpoint):
    recipients = [CULPRIT, *people(99)]
    endpoint.faults = [Fault(to=CULPRIT, status=500), Fault(status=503, after=4)]

    async with open_client(endpoint, failures=5, choose=last) as caller:
        outcomes = await caller.remove(*recipients)

    assert of(outcomes, Verdict.FAILED) == set()
    assert CULPRIT in of(outcomes, Verdict.UNAVAILABLE)
    assert len(of(outcomes, Verdict.UNAVAILABLE)) > 1
    assert len(endpoint.requests) < 20


# Refused as a whole, without a word on who is to blame.


@pytest.mark.parametrize("index", [0, 50, 99])
async def test_a_refused_number_is_found_in_two_requests_a_level_and_everybody_else_is_removed(endpoint, index):
    recipients = list(people(100))
    recipients[index] = REFUSED

    async with open_client(endpoint, choose=last if index < 99 else first) as caller:
        outcomes = await caller.remove(*recipients)

    assert of(outcomes, Verdict.REJECTED) == {REFUSED}
    assert of(outcomes, Verdict.CONFIRMED) == {*recipients} - {REFUSED}
    assert len(endpoint.requests) <= 16


async def test_two_refused_numbers_are_found_and_everybody_else_is_removed_once(endpoint):
    recipients = list(people(100))
    endpoint.faults = [Fault(to=recipients[0], status=400, body="problem"), Fault(to=recipients[99], status=400)]

    async with open_client(endpoint) as caller:
        outcomes = await caller.remove(*recipients)

    asked = [to for request in endpoint.requests if request.status == 200 for to in request.recipients]
    assert of(outcomes, Verdict.REJECTED) == {recipients[0], recipients[99]}
    assert sorted(asked) == sorted(recipients[1:99])


async def test_many_refused_numbers_among_others_cost_two_requests_each(endpoint):
    recipients = people(100)
    refused = {*recipients[::2]}
    endpoint.faults = [Fault(to=to, status=400) for to in refused]

    async with open_client(endpoint, choose=last) as caller:
        outcomes = await caller.remove(*recipients)

    assert of(outcomes, Verdict.REJECTED) == refused
    assert of(outcomes, Verdict.CONFIRMED) == {*recipients} - refused
    assert len(endpoint.requests) <= 4 * len(refused)


async def test_fewer_than_ten_are_refused_one_by_one(endpoint):
    endpoint.faults = [Fault(status=400, code="InvalidInput")]

    async with open_client(endpoint) as caller:
        outcomes = await caller.remove(*people(5))

    assert of(outcomes, Verdict.REJECTED) == {*people(5)}


async def test_ten_or_more_refused_to_the_last_one_are_no_bad_numbers(endpoint):
    """ACS answers every request 400 for hours: nothing is wrong with the numbers, and ACS is left in peace."""
    endpoint.faults = [Fault(status=400, body="invalid-input")]

    async with open_client(endpoint) as caller:
        outcomes = await caller.remove(*people(100))
        asked = len(endpoint.requests)
        later = await caller.remove(*people(10_000))

        assert caller.client.gate_is_open
    assert of(outcomes, Verdict.REFUSED) == {*people(100)}
    assert of(later, Verdict.UNAVAILABLE) == {*people(10_000)}
    assert asked <= 11
    assert len(endpoint.requests) == asked


async def test_while_everything_is_refused_one_request_a_cooldown_looks_whether_it_still_is(endpoint):
    endpoint.faults = [Fault(status=400, body="invalid-input")]

    async with open_client(endpoint, cooldown=5.2) as caller:
        await caller.remove(*people(100))
        caller.client._gate._not_before = 0.0
        asked = len(endpoint.requests)
        outcomes = await caller.remove(*people(1000))
        assert len(endpoint.requests) - asked == 1
        assert of(outcomes, Verdict.REJECTED) == set()

        endpoint.faults = []
        caller.client._gate._not_before = 0.0
        outcomes = await caller.remove(*people(1000))
    assert {outcome.verdict for outcome in outcomes.values()} == ACCEPTED


async def test_single_recipients_refused_ten_times_in_a_row_are_no_bad_numbers_either(endpoint):
    endpoint.faults = [Fault(status=400, body="invalid-input")]

    async with open_client(endpoint) as caller:
        verdicts = [await caller.verdict(person) for person in people(30)]

    assert verdicts[:9] == [Verdict.REJECTED] * 9
    assert {*verdicts[9:]} == {Verdict.REFUSED, Verdict.UNAVAILABLE}
    assert len(endpoint.requests) == 10


async def test_a_sender_with_nothing_but_refused_numbers_does_not_keep_another_from_its_turn(endpoint):
    garbage = people(3000)
    endpoint.faults = [Fault(sender=OTHER_SENDER, status=400, body="invalid-input")]
    asked = plan(Operation.REMOVE, wanted([*(pair(to, OTHER_SENDER) for to in garbage), pair(PERSON)]))

    async with open_client(endpoint, budget=60) as caller:
        outcomes = await caller.ask(asked)

        assert not caller.client.gate_is_open
    refused = [asked for asked, outcome in outcomes.items() if outcome.verdict is Verdict.REFUSED]
    assert outcomes[pair(PERSON)].verdict is Verdict.CONFIRMED
    assert len(refused) == len(garbage)
    assert len(endpoint.requests) <= len(garbage) / 5


async def test_each_round_settles_more_where_the_budget_does_not_suffice(endpoint):
    garbage = people(3000)
    endpoint.faults = [Fault(delay=0.02), Fault(sender=OTHER_SENDER, status=400, body="invalid-input")]
    left = {pair(PERSON), *(pair(to, OTHER_SENDER) for to in garbage)}
    rounds: list[int] = []

    async with open_client(endpoint, budget=0.5) as caller:
        while left and len(rounds) < 30:
            outcomes = await caller.ask(
                plan(Operation.REMOVE, wanted(sorted(left, key=lambda asked: asked.recipient.text)))
            )
            settled = {asked for asked, outcome in outcomes.items() if outcome.verdict is not Verdict.UNAVAILABLE}
            rounds.append(len(settled))
            left -= settled

    assert not left
    assert all(rounds)


async def test_with_a_slow_endpoint_every_round_makes_progress_and_marks_who_is_still_suspect(endpoint):
    """Scaled: a budget of 60 s and answers after 9 s."""
    recipients = [REFUSED, *people(99)]
    endpoint.faults = [Fault(delay=0.45)]

    async with open_client(endpoint, budget=3, choose=last) as caller:
        outcomes = await caller.remove(*recipients)
        removed, left = of(outcomes, Verdict.CONFIRMED), of(outcomes, Verdict.UNAVAILABLE)
        assert len(removed) >= 80
        assert {outcomes[to].alone for to in left} == {True}
        again = await caller.ask(
            plan(Operation.REMOVE, (), apart=[wanted([pair(to) for to in recipients if to in left])])
        )

    verdicts = {asked.recipient.text: outcome.verdict for asked, outcome in again.items()}
    assert verdicts.pop(REFUSED) in {Verdict.REJECTED, Verdict.UNAVAILABLE}
    assert Verdict.CONFIRMED in verdicts.values()


async def test_the_end_of_the_budget_keeps_what_was_found_by_then(endpoint):
    recipients = [*people(9), REFUSED]
    endpoint.faults = [Fault(to=REFUSED, delay=60, after=1)]

    async with open_client(endpoint, budget=1.5) as caller:
        outcomes = await caller.remove(*recipients)

    assert of(outcomes, Verdict.CONFIRMED) == {*people(5)}
    assert of(outcomes, Verdict.UNAVAILABLE) == {*recipients[5:]}


async def test_a_refusal_of_us_that_turns_up_while_splitting_ends_it_there(endpoint):
    recipients = [REFUSED, *people(9)]
    endpoint.faults = [Fault(to=recipients[9], status=401, code="Denied", after=1)]

    async with open_client(endpoint, choose=first) as caller:
        outcomes = await caller.remove(*recipients)

    assert Verdict.REFUSED in {outcome.verdict for outcome in outcomes.values()}
    assert outcomes[recipients[9]].verdict is Verdict.REFUSED


async def test_a_sender_that_is_refused_by_name_is_not_split(endpoint):
    endpoint.faults = [Fault(status=400, body="problem-from")]

    async with open_client(endpoint) as caller:
        outcomes = await caller.ask([batch(*people(100))])

    assert {outcome.verdict for outcome in outcomes.values()} == {Verdict.SENDER_REJECTED}
    assert len(endpoint.requests) == 1
