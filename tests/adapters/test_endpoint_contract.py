"""What the processor may expect of an endpoint: the fake and the client over a real socket keep the same promises."""

from time import monotonic

import pytest

from optout_core.batches import Operation, Pair, plan
from optout_core.outcomes import Outcome, Verdict
from sandbox.endpoint import Endpoint, Fault, Item
from tests.adapters.acs_client import ANOTHER, PERSON, SENDER, open_client, pair, people
from tests.build import wanted
from tests.fakes import FakeEndpoint


class Fake:
    """The fake, and how to make it fail."""

    def __init__(self):
        self.endpoint = FakeEndpoint()

    def fail_once(self, recipient):
        self.endpoint.script = {recipient: [Outcome(Verdict.FAILED, status=500)]}

    def go_down(self, *recipients):
        self.endpoint.script = {to: [Outcome(Verdict.UNAVAILABLE, status=503)] for to in recipients}

    def come_back(self):
        self.endpoint.script = {}


class Real:
    """The client in front of the sandbox's endpoint, and how to make that fail."""

    def __init__(self, caller, endpoint):
        self.endpoint = caller.client
        self._sandbox = endpoint

    def fail_once(self, recipient):
        self._sandbox.faults = [Fault(to=recipient, items=(Item(http_status_code=500),), times=1)]

    def go_down(self, *_):
        self._sandbox.faults = [Fault(status=503)]

    def come_back(self):
        self._sandbox.faults = []


@pytest.fixture(params=["fake", "real"])
async def side(request):
    if request.param == "fake":
        yield Fake()
        return
    async with Endpoint() as endpoint, open_client(endpoint) as caller:
        yield Real(caller, endpoint)


@pytest.fixture(params=[Operation.ADD, Operation.REMOVE])
def operation(request):
    return request.param


async def verdicts(side, batches):
    outcomes = await side.endpoint.call(batches, monotonic() + 20)
    return {Pair(sender, to): outcome.verdict for sender, by in outcomes.items() for to, outcome in by.items()}


async def test_everybody_asked_about_has_an_outcome_and_nobody_else(side, operation):
    pairs = {pair(to, sender) for sender in (SENDER, "+18009999999") for to in people(150)}

    assert await verdicts(side, plan(operation, wanted(pairs))) == dict.fromkeys(pairs, Verdict.CONFIRMED)


async def test_asking_about_nobody_gives_nothing(side):
    assert await verdicts(side, ()) == {}


async def test_one_that_fails_fails_alone_and_heals(side, operation):
    side.fail_once(PERSON)
    asked = plan(operation, wanted([pair(PERSON), pair(ANOTHER)]))

    first = await verdicts(side, asked)
    second = await verdicts(side, asked)

    assert first == {pair(PERSON): Verdict.FAILED, pair(ANOTHER): Verdict.CONFIRMED}
    assert set(second.values()) == {Verdict.CONFIRMED}


async def test_an_endpoint_that_is_down_raises_nothing_and_heals(side, operation):
    side.go_down(PERSON, ANOTHER)
    asked = plan(operation, wanted([pair(PERSON), pair(ANOTHER)]))

    first = await verdicts(side, asked)
    side.come_back()
    second = await verdicts(side, asked)

    assert set(first.values()) == {Verdict.UNAVAILABLE}
    assert set(second.values()) == {Verdict.CONFIRMED}


async def test_stops_and_opt_ins_are_asked_for_in_one_call(side):
    asked = [*plan(Operation.REMOVE, wanted([pair(ANOTHER)])), *plan(Operation.ADD, wanted([pair(PERSON)]))]

    assert set((await verdicts(side, asked)).values()) == {Verdict.CONFIRMED}


async def test_asking_is_worth_a_try_as_long_as_there_is_time(side):
    assert side.endpoint.refusal(monotonic() + 20) is None
