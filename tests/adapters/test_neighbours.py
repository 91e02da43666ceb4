"""From event to retry or dead letter, over the real client: a number that fails harms nobody beside it."""

from collections import Counter
from datetime import timedelta

import pytest

from sandbox.endpoint import Fault, Item
from tests.adapters.acs_client import open_client, people
from tests.build import NOW, arrival, canonical
from tests.core.job import Job
from tests.fakes import delivered

CULPRIT = "+15556666666"


class Days:
    """The function in front of an endpoint, with a clock that jumps from retry to retry."""

    def __init__(self, caller):
        self.job = Job(endpoint=caller.client)
        self.clock, self.outbox = self.job.clock, self.job.outbox
        self.ends = Counter()
        self.rounds = 0

    async def process(self, *arrivals):
        """Process messages, and count who was removed or dead-lettered; give the retries."""
        sent = len(self.outbox.retries)
        report = await self.job.process(arrivals)
        self.rounds += 1
        self.ends.update(each.reason or each.outcome for each in report.recipients if each.next_try is None)
        return self.outbox.retries[sent:]

    async def until_the_end(self, *arrivals, other=None):
        """Process messages and their retries, each at its time; before each round, `other` is processed as well."""
        waiting = await self.process(*arrivals)
        while waiting:
            self.clock.time = min(message.scheduled_at for message in waiting)
            due = [message for message in waiting if message.scheduled_at == self.clock.time]
            waiting = [message for message in waiting if message.scheduled_at > self.clock.time]
            if other is not None:
                await other()
            waiting += await self.process(*(delivered(message, message.scheduled_at) for message in due))


def opt_in(*recipients, event_id="event"):
    return arrival(canonical(*recipients, id=event_id, time=NOW.isoformat()), enqueued_at=NOW, message_id=event_id)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(to=CULPRIT, status=500),
        Fault(to=CULPRIT, status=400, body="html"),
        Fault(to=CULPRIT, status=403, body="html"),
        Fault(to=CULPRIT, drop="reset"),
    ],
    ids=str,
)
@pytest.mark.parametrize("events", [1, 100])
async def test_one_number_that_spoils_whole_requests_ends_alone_and_its_neighbours_are_removed_at_once(
    endpoint, fault, events
):
    numbers = (CULPRIT, *people(99))
    endpoint.faults = [fault]
    arrivals = [opt_in(*numbers)] if events == 1 else [opt_in(to, event_id=to[-4:]) for to in numbers]

    async with open_client(endpoint, failures=5) as caller:
        days = Days(caller)
        retries = await days.process(*arrivals)
        assert days.ends == {"removed": 99}
        assert [message.properties["optout-alone"] for message in retries] == [1]
        asked = len(endpoint.requests)

        await days.until_the_end(*(delivered(message, message.scheduled_at) for message in retries))

        assert not caller.client.gate_is_open
    assert days.ends == {"removed": 99, "RetriesExhausted": 1}
    assert days.rounds == 6
    assert len(endpoint.requests) == asked + 5


async def test_a_number_that_was_found_out_does_not_share_a_request_again(endpoint):
    endpoint.faults = [Fault(to=CULPRIT, status=500)]

    async with open_client(endpoint, failures=5) as caller:
        days = Days(caller)
        [retry] = await days.process(opt_in(CULPRIT, *people(99)))
        endpoint.requests.clear()
        await days.process(delivered(retry, NOW), opt_in(*people(50), event_id="another"))

    assert sorted(len(request.recipients) for request in endpoint.requests) == [1, 50]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503),
        Fault(items=(Item(http_status_code=500, error_message="Internal Server Error"),)),
        Fault(items=(Item(http_status_code=429),)),
        Fault(items=()),
        Fault(status=400, body="invalid-input"),
    ],
    ids=str,
)
async def test_for_as_long_as_an_opt_in_may_wait_an_outage_leaves_no_dead_letter(endpoint, fault):
    endpoint.faults = [fault]

    async with open_client(endpoint, failures=5) as caller:
        days = Days(caller)
        await days.process(opt_in(*people(100), event_id="what finds out"))
        days.ends.clear()
        waiting = await days.process(opt_in(*people(1000)))
        while waiting and days.clock.time < NOW + timedelta(hours=71):
            days.clock.time = min(message.scheduled_at for message in waiting)
            waiting = await days.process(*(delivered(message, message.scheduled_at) for message in waiting))
        assert days.ends == {}

        endpoint.faults = []
        caller.client._gate._not_before = 0.0
        await days.until_the_end(*(delivered(message, message.scheduled_at) for message in waiting))

    assert days.ends == {"removed": 1000}


async def test_an_event_of_its_own_is_found_out_while_others_are_removed(endpoint):
    endpoint.faults = [Fault(to=CULPRIT, status=500)]

    async with open_client(endpoint, failures=5) as caller:
        days = Days(caller)

        async def other():
            await days.process(opt_in(*people(1), event_id=f"other {days.rounds}"))

        await days.until_the_end(opt_in(CULPRIT), other=other)

    assert days.ends["RetriesExhausted"] == 1
    assert days.ends["removed"] == days.rounds // 2
    assert days.clock.time - NOW < timedelta(hours=4)
