"""What the processor may expect of an endpoint: the fake and the client over a real socket keep the same promises."""

from time import monotonic

import pytest

from optout_core.api import Outcome, Verdict
from optout_core.batches import plan
from sandbox.endpoint import Endpoint, Fault, Item
from tests.adapters.acs_client import ANOTHER, PERSON, SENDER, batch, open_client, pair, people
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


def verdicts(outcomes):
    return {pair: outcome.verdict for pair, outcome in outcomes.items()}


async def test_everybody_asked_about_has_an_outcome_and_nobody_else(side):
    pairs = {pair(to, sender) for sender in (SENDER, "+18009999999") for to in people(150)}

    outcomes = await side.endpoint.remove(plan(pairs), monotonic() + 20)

    assert verdicts(outcomes) == dict.fromkeys(pairs, Verdict.REMOVED)
    assert {outcome.status for outcome in outcomes.values()} == {200}


async def test_asking_about_nobody_gives_nothing(side):
    assert await side.endpoint.remove((), monotonic() + 20) == {}


async def test_one_that_fails_fails_alone_and_heals(side):
    side.fail_once(PERSON)
    asked = batch(PERSON, ANOTHER)

    first = await side.endpoint.remove([asked], monotonic() + 20)
    second = await side.endpoint.remove([asked], monotonic() + 20)

    assert verdicts(first) == {pair(PERSON): Verdict.FAILED, pair(ANOTHER): Verdict.REMOVED}
    assert set(verdicts(second).values()) == {Verdict.REMOVED}


async def test_an_endpoint_that_is_down_raises_nothing_and_heals(side):
    side.go_down(PERSON, ANOTHER)
    asked = batch(PERSON, ANOTHER)

    first = await side.endpoint.remove([asked], monotonic() + 20)
    side.come_back()
    second = await side.endpoint.remove([asked], monotonic() + 20)

    assert set(verdicts(first).values()) == {Verdict.UNAVAILABLE}
    assert set(verdicts(second).values()) == {Verdict.REMOVED}
