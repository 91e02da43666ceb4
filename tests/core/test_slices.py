"""An invocation is worked off in slices: what publishers send bounds neither memory nor the time of others."""

from typing import Any

import pytest

from optout_core.processor import SLICE, STRETCH
from optout_core.reasons import Reason
from tests.build import MINUTE, NOW, arrival, bare, canonical, text_message
from tests.core.job import FAILED, Job, waiting
from tests.fakes import FakeEndpoint


def crowd(number, size):
    """A message of so many people."""
    return arrival(
        bare(*(f"+1555{number:02}{index:05}" for index in range(size)), sender=f"+1800555{number:04}"),
        message_id=f"m-{number}",
    )


class Witness(FakeEndpoint):
    """Remembers how many recipients each call brought, and what had been sent before it."""

    def __init__(self, outcome=None):
        super().__init__()
        self.outcome = outcome
        self.calls = []
        self.outbox: Any = None

    async def call(self, batches, deadline):
        self.calls.append((sum(map(len, batches)), len(self.outbox.retries)))
        return await super().call(batches, deadline)

    def answer(self, batch, recipient):
        return self.outcome or super().answer(batch, recipient)


def job_with(endpoint, **parts):
    job = Job(endpoint=endpoint, **parts)
    endpoint.outbox = job.outbox
    return job


async def test_each_slice_is_asked_settled_and_sent_before_the_next_one_is_decoded():
    endpoint = Witness(FAILED)
    job = job_with(endpoint)

    report = await job.process([crowd(number, SLICE // 2) for number in range(6)])

    assert endpoint.calls == [(SLICE, 0), (SLICE, 2), (SLICE, 4)]
    assert len(report.slices) == 3
    assert report.messages == 6
    assert len(waiting(job)) == 3 * SLICE


async def test_a_message_larger_than_a_slice_is_one_by_itself():
    endpoint = Witness()
    job = job_with(endpoint)

    await job.process([crowd(1, SLICE * 2), crowd(2, 3)])

    assert endpoint.calls == [(SLICE * 2, 0), (3, 0)]


@pytest.mark.parametrize("outcome", [None, FAILED])
async def test_others_have_their_turn_in_every_stage(outcome):
    turns = 0

    async def give_way():
        nonlocal turns
        turns += 1

    job = job_with(Witness(outcome), give_way=give_way)
    await job.process([arrival(bare(f"+1555{index:07}"), message_id=f"m-{index}") for index in range(SLICE)])

    # While it reads ahead, between the stretches while it judges, and while it says what becomes of each.
    stretches = SLICE // STRETCH
    assert turns == stretches + 2 * (stretches - 1)


async def test_a_slice_that_cannot_be_sent_leaves_those_before_it_recorded():
    job = job_with(Witness(FAILED), accepts=[5, 0, 0])

    with pytest.raises(Exception, match="nothing is lost"):
        await job.process([crowd(number, SLICE) for number in range(3)])

    assert len(job.telemetry.reports) == 1


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_stop_counts_for_every_slice_wherever_it_stands(place):
    person = "+15555555551"
    stop = arrival(text_message("STOP", person=person[1:]), message_id="stop")
    messages = [crowd(1, SLICE), crowd(2, SLICE)]
    messages.insert(place, stop)
    opt_in = arrival(canonical(person, time=(NOW - 20 * MINUTE).isoformat()), message_id="opt-in")
    job = job_with(Witness())

    await job.process([opt_in, *messages])
    await job.process([*messages, opt_in])

    assert person not in job.endpoint.asked
    assert {message.reason for message in job.outbox.dead_letters} == {Reason.NEWER_OPT_OUT}
