"""The outbox and the sandbox's broker on a good day, through the real client."""

import asyncio

import pytest
import pytest_asyncio

from optout_core.outgoing import Queue
from servicebus_sandbox import Broker, State, load_queues
from tests.adapters.outbox import (
    DEAD_LETTERS,
    LATER,
    OPT_INS,
    growth,
    ids,
    open_outbox,
    outgoing,
)
from tests.build import QUEUES_FILE

# Opening and closing a link takes half a second each, so these tests share one outbox.
pytestmark = pytest.mark.asyncio(loop_scope="module")

KILOBYTE = 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker():
    async with Broker(load_queues(QUEUES_FILE)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outbox(broker):
    async with open_outbox(broker.connection_string) as (opened, _):
        yield opened


def arrived_as(broker, message_id):
    """Give the dead letters of that id, as the broker keeps them."""
    messages = [stored.message for stored in broker.queue(DEAD_LETTERS).messages()]
    return [message for message in messages if message.message_id == message_id]


async def test_what_arrives_is_what_was_sent(broker, outbox):
    sent = outgoing(
        "sms/ev-1:d1:0123456789abcdef",
        body=b'{"id": "ev-1", "n": 1.10}',
        content_type="application/cloudevents+json; charset=utf-8",
        correlation_id="order-7",
        properties={
            "optout-event-id": "ev-1",
            "optout-attempt": 2,
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "DeadLetterReason": "RecipientRejected",
            "share": 0.5,
            "flag": True,
            "none": None,
            "name": "Zoë 🙂",
        },
    )

    await outbox.send([sent])

    [arrived] = arrived_as(broker, sent.message_id)
    assert arrived.body == sent.body
    assert arrived.properties == {
        "message_id": sent.message_id,
        "content_type": sent.content_type,
        "correlation_id": sent.correlation_id,
    }
    assert arrived.application_properties == sent.properties


async def test_a_message_without_type_and_correlation_arrives_without_them(broker, outbox):
    await outbox.send([outgoing("bare", content_type=None, body=b"\xff\x00 not text")])

    [arrived] = arrived_as(broker, "bare")
    assert arrived.body == b"\xff\x00 not text"
    assert arrived.properties.keys() == {"message_id"}


async def test_a_retry_waits_in_the_queue_for_its_time(broker, outbox):
    await outbox.send([outgoing("retry", Queue.OPT_INS, scheduled_at=LATER)])

    [waiting] = broker.queue(OPT_INS).messages(State.SCHEDULED)
    assert waiting.message.message_id == "retry"
    assert waiting.message.scheduled_ms == LATER.timestamp() * 1000


async def test_messages_go_to_each_queue_in_one_transfer_and_in_order(broker, outbox):
    retries = [outgoing(f"many:r{number}", Queue.OPT_INS, scheduled_at=LATER) for number in range(300)]
    dead = [outgoing(f"many:d{number}") for number in range(500)]

    async with growth(broker, OPT_INS) as to_opt_ins, growth(broker, DEAD_LETTERS) as to_dead_letters:
        await outbox.send([message for pair in zip(retries, dead, strict=False) for message in pair] + dead[300:])

    assert to_opt_ins == [300]
    assert to_dead_letters == [500]
    assert ids(broker, OPT_INS)[-300:] == [message.message_id for message in retries]
    assert ids(broker)[-500:] == [message.message_id for message in dead]


async def test_what_is_too_much_for_one_transfer_goes_in_as_few_as_possible(broker, outbox):
    large = [outgoing(f"large-{number}", body=b"x" * 100 * KILOBYTE) for number in range(5)]

    async with growth(broker, DEAD_LETTERS) as transfers:
        await outbox.send(large)

    assert transfers == [2, 2, 1]


async def test_a_message_that_fills_a_transfer_takes_nobody_with_it(broker, outbox):
    messages = [outgoing("before"), outgoing("full", body=b"x" * (256 * KILOBYTE - 100)), outgoing("after")]

    async with growth(broker, DEAD_LETTERS) as transfers:
        await outbox.send(messages)

    assert ids(broker)[-3:] == ["before", "full", "after"]
    assert transfers == [1, 1, 1]


async def test_a_message_too_large_with_all_its_facts_arrives_without_those_it_can_do_without(broker, outbox):
    facts = {
        "optout-hop": 3,
        "optout-ms-cv": "x" * 100,
        "DeadLetterReason": "MalformedEvent",
        "DeadLetterErrorDescription": "x" * 1000,
        "of-the-publisher": "kept",
    }
    body = b"x" * (256 * KILOBYTE - 700)

    await outbox.send([outgoing("huge", body=body, properties=facts), outgoing("next to it")])

    [arrived] = arrived_as(broker, "huge")
    assert arrived.body == body
    assert arrived.application_properties == {
        "optout-hop": 3,
        "DeadLetterReason": "MalformedEvent",
        "of-the-publisher": "kept",
    }
    assert ids(broker)[-1] == "next to it"


async def test_what_was_sent_before_is_dropped_by_the_broker(broker, outbox):
    dead, retry = outgoing("again"), outgoing("again", Queue.OPT_INS, scheduled_at=LATER)
    duplicates = broker.queue(DEAD_LETTERS).duplicates, broker.queue(OPT_INS).duplicates

    await outbox.send([dead, retry])
    await outbox.send([dead, retry])

    assert ids(broker).count("again") == ids(broker, OPT_INS).count("again") == 1
    assert (broker.queue(DEAD_LETTERS).duplicates, broker.queue(OPT_INS).duplicates) == (
        duplicates[0] + 1,
        duplicates[1] + 1,
    )


async def test_sixteen_that_send_first_at_once_share_one_client_and_after_closing_there_is_a_new_one(broker):
    async with open_outbox(broker.connection_string) as (outbox, connections):
        await asyncio.gather(*[outbox.send([outgoing(f"first-{number}")]) for number in range(16)])
        assert connections.made == 1

        await outbox.close()
        await outbox.close()
        await outbox.send([outgoing("after closing")])

    assert {"after closing", *(f"first-{number}" for number in range(16))} <= {*ids(broker)}
    assert connections.made == 2


async def test_nothing_to_send_connects_to_nothing(broker):
    async with open_outbox(broker.connection_string) as (outbox, connections):
        await outbox.send([])

    assert connections.made == 0


async def test_a_message_that_fills_the_limit_to_the_last_bytes_goes_in_two_and_takes_nobody_with_it(broker, outbox):
    body = b"\x00\xff" * 131_030
    facts = {"optout-hop": 1, "DeadLetterReason": "MalformedEvent", "of-the-publisher": "kept"}

    await outbox.send([outgoing("before"), outgoing("brim", body=body, properties=facts), outgoing("after")])

    [first], [second] = arrived_as(broker, "brim:1"), arrived_as(broker, "brim:2")
    assert first.body + second.body == body
    assert first.application_properties == facts | {"optout-part": "1 of 2"}
    assert second.application_properties == facts | {"optout-part": "2 of 2"}
    assert {"before", "after"} <= set(ids(broker))


@pytest.mark.parametrize("size", [609, 611, 620])
async def test_a_batch_that_the_client_calls_full_is_one_that_the_broker_takes(broker, outbox, size):
    """Sizes at which the client, which measures a batch before its envelope is complete, overshoots the limit."""
    letters = [outgoing(f"{size:04}-{number:03}-" + "r" * 80, body=b"x" * size) for number in range(420)]

    await outbox.send(letters)

    assert ids(broker)[-420:] == [letter.message_id for letter in letters]
