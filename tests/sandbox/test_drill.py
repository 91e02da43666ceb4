"""The mess for a drill is as real dead letters are: every reason, many ages, and nobody's real number."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from statistics import quantiles

import pytest
from azure.servicebus.aio import ServiceBusClient

from optout_core.adapters import received
from optout_core.masking import Untrusted, holds_number
from optout_core.reasons import Reason
from sandbox.drill import Clock, fill, letters
from sandbox.watch import read_dead_letter
from servicebus_sandbox import Broker
from tests.sandbox.feeding import QUEUES

NOW = datetime(2026, 11, 29, tzinfo=UTC)


@pytest.fixture
async def filled():
    """Fill the queues of a broker, and give the messages of the dead-letter queue."""
    clock = Clock()
    async with Broker(QUEUES, clock=clock) as broker:

        async def fill_with(count, progress=lambda _: None):
            names = {"OPT_IN_QUEUE": "opt-ins", "DEAD_LETTER_QUEUE": "opt-ins-dead-letter"}
            await fill(broker, clock, names | {"ServiceBusConnection": broker.connection_string}, count, progress)
            assert len(broker.queue("opt-ins")) == 0
            client = ServiceBusClient.from_connection_string(broker.connection_string)
            found = []
            async with client, client.get_queue_receiver("opt-ins-dead-letter") as receiver:
                while some := await receiver.peek_messages(250, sequence_number=len(found) + 1):
                    found += some
            return found

        yield fill_with


@pytest.mark.parametrize("count", [1, 5, len(Reason), 14, 300])
async def test_as_many_dead_letters_lie_there_as_were_asked_for(filled, count):
    assert len(await filled(count)) == count


async def test_every_reason_comes_up_and_each_is_what_its_letter_says(filled):
    found = [read_dead_letter(received.within(message)) for message in await filled(len(Reason))]

    assert {dead.reason.raw for dead in found} == {reason.value for reason in Reason}
    assert all(dead.description.raw for dead in found)
    assert Counter(bool(dead.words) for dead in found if dead.reason.raw in {"MalformedEvent", "UnsupportedEvent"}) == {
        False: 2
    }


async def test_the_broker_s_own_letters_come_from_the_queue_of_the_opt_ins(filled):
    found = {read_dead_letter(received.within(each)).reason.raw: each for each in await filled(len(Reason))}

    assert {reason for reason, message in found.items() if message.dead_letter_source == "opt-ins"} == {
        Reason.MAX_DELIVERY_COUNT_EXCEEDED,
        Reason.TTL_EXPIRED,
    }


async def test_they_lie_there_since_minutes_hours_days_and_weeks(filled):
    found = [message.enqueued_time_utc for message in await filled(300)]

    now = datetime.now(UTC)
    ages = [now - time for time in found]
    assert max(ages) > timedelta(days=25)
    assert min(ages) < timedelta(minutes=10)
    assert quantiles(ages, n=4)[0] < timedelta(hours=3)
    assert ages == sorted(ages, reverse=True)


async def test_publishers_senders_and_bodies_differ(filled):
    found = [read_dead_letter(received.within(message)) for message in await filled(300)]

    opt_ins = [opt_in for dead in found for opt_in in dead.words]
    assert len({opt_in.source for opt_in in opt_ins}) >= 5
    assert len({opt_in.sender for opt_in in opt_ins}) >= 5
    assert len({len(opt_in.recipients) for opt_in in opt_ins}) >= 4


async def test_no_number_stands_beside_a_body_and_every_number_is_fictitious(filled):
    for message in await filled(300):
        named = {name: value for name, value in message.application_properties.items() if name != b"traceparent"}
        beside = [message.message_id, message.correlation_id, *named.values()]
        assert not [each for each in beside if isinstance(each, bytes) and holds_number(each.decode())]
        numbers = re.findall(rb"\+\d{11}", b"".join(message.body))
        assert all(number.startswith((b"+1555", b"+18001234567", b"+18005550", b"+18885550")) for number in numbers)


def test_the_same_count_is_the_same_mess():
    assert [*letters(50, NOW)] == [*letters(50, NOW)]
    assert Untrusted("x") != Untrusted("y")


async def test_progress_is_told_as_it_is_made(filled):
    told = []

    await filled(1200, told.append)

    assert told == sorted(told)
    assert told[-1] == 1200
    assert len(told) >= 10
