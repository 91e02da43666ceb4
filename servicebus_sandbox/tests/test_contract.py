"""What azure-servicebus, synchronous and asynchronous, finds in the sandbox's broker and in a real namespace alike.

The queues are those of queues.json, with their real properties: locks of five minutes, ten deliveries, duplicate
detection, dead letters forwarded. What needs other queues or a hand on the broker is in test_broker.py.
"""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage, ServiceBusReceiveMode, ServiceBusSubQueue
from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageProperties
from azure.servicebus.exceptions import (
    MessageNotFoundError,
    MessageSizeExceededError,
    ServiceBusAuthenticationError,
    ServiceBusError,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

DELETING = {"receive_mode": ServiceBusReceiveMode.RECEIVE_AND_DELETE}
SUBQUEUE = {"sub_queue": ServiceBusSubQueue.DEAD_LETTER}

STANDARD_LIMIT = 256 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def opened(client):
    """Open together what the tests use one after the other."""
    receivers = [client.receiver(), client.receiver(client.bus.dead_letters), client.receiver(**SUBQUEUE)]
    await asyncio.gather(client.sender().open(), *[receiver.open() for receiver in receivers])


async def test_a_message_arrives_as_it_was_sent(client):
    properties = {"text": "é", "number": 7, "big": 2**31 - 1, "share": 0.5, "yes": True, "id": UUID(int=5)}
    [sent] = await client.send(
        b"\x00body\xff",
        application_properties=properties,
        correlation_id="correlation",
        content_type="application/json",
        subject="subject",
        to="somebody",
        reply_to="me",
        time_to_live=timedelta(hours=1),
    )
    [message] = await client.receive(sent)

    assert b"".join(message.body) == b"\x00body\xff"
    assert {key.decode(): value for key, value in message.application_properties.items()} == properties | {
        "text": "é".encode()
    }
    assert (message.correlation_id, message.content_type, message.subject) == (
        "correlation",
        "application/json",
        "subject",
    )
    assert (message.to, message.reply_to, message.time_to_live) == ("somebody", "me", timedelta(hours=1))
    assert message.delivery_count == 0
    assert message.sequence_number > 0
    assert abs(message.enqueued_time_utc - datetime.now(UTC)) < timedelta(minutes=1)
    assert message.locked_until_utc > datetime.now(UTC) + timedelta(minutes=4)
    await client.receiver().complete_message(message)


async def test_a_batch_of_a_hundred_arrives_whole_and_in_order(client):
    ids = await client.send(*[f"{number}" for number in range(100)])
    messages = await client.receive(*ids)
    numbers = [message.sequence_number for message in messages]
    for message in messages:
        await client.receiver().complete_message(message)

    assert [str(message) for message in messages] == [f"{number}" for number in range(100)]
    assert numbers == sorted(numbers)


async def test_a_message_of_nearly_the_largest_size_arrives_whole(client):
    body = bytes(range(256)) * 1000
    [sent] = await client.send(body)
    [message] = await client.receive(sent)
    await client.receiver().complete_message(message)

    assert b"".join(message.body) == body


async def test_a_message_that_is_too_large_is_refused_and_the_sender_goes_on(client):
    with pytest.raises(MessageSizeExceededError):
        await client.send(b"x" * STANDARD_LIMIT)
    [sent] = await client.send(b"small")
    [message] = await client.receive(sent)
    await client.receiver().complete_message(message)


async def test_a_batch_takes_messages_until_it_is_full_and_is_then_accepted(client):
    batch = await client.sender().create_message_batch()
    ids = [uuid4().hex for _ in range(12)]
    for one in ids:
        batch.add_message(ServiceBusMessage(b"x" * 21_000, message_id=one))
    with pytest.raises(MessageSizeExceededError):
        batch.add_message(ServiceBusMessage(b"x" * 21_000))
    await client.sender().send_messages(batch)
    for message in await client.receive(*ids):
        await client.receiver().complete_message(message)

    assert batch.max_size_in_bytes == STANDARD_LIMIT


async def test_a_message_without_an_id_gets_one_from_the_service_and_no_time_to_live(client):
    subject = uuid4().hex
    # A ServiceBusMessage gives itself one.
    bare = AmqpAnnotatedMessage(data_body=b"x", properties=AmqpMessageProperties(subject=subject))
    await client.sender().send_messages(bare)
    page = await client.receiver().peek_messages(250)
    [peeked] = [message for message in page if message.subject == subject]
    [message] = await client.receive(peeked.message_id)
    await client.receiver().complete_message(message)

    assert re.fullmatch("[0-9a-f]{32}", message.message_id)
    assert message.time_to_live is None
    assert message.enqueued_sequence_number is None


async def test_delivery_annotations_and_a_body_that_is_a_value_arrive(client):
    sent = uuid4().hex
    message = AmqpAnnotatedMessage(
        value_body={"a": [1, "two"]},
        delivery_annotations={"mine": 1},
        properties=AmqpMessageProperties(message_id=sent),
    )
    await client.sender().send_messages(message)
    [received] = await client.receive(sent)
    await client.receiver().complete_message(received)

    assert received.body == {b"a": [1, b"two"]}
    assert received.raw_amqp_message.delivery_annotations[b"mine"] == 1


async def test_properties_that_are_too_large_are_refused_and_the_sender_goes_on(client):
    with pytest.raises(ServiceBusError, match="unable to process the request; please retry"):
        await client.send("x", application_properties={"one": "x" * 33_000})
    with pytest.raises(MessageSizeExceededError):
        await client.send("x", application_properties={f"p{number}": "x" * 30_000 for number in range(3)})
    [sent] = await client.send("x", application_properties={"one": "x" * 30_000})
    [message] = await client.receive(sent)
    await client.receiver().complete_message(message)


async def test_a_queue_without_sessions_refuses_a_receiver_of_sessions_when_it_is_opened(client):
    receiver = client.receiver(session_id="s")
    with pytest.raises(ServiceBusError, match="create a session receiver"):
        await receiver.open()


async def test_what_could_not_be_transferred_is_an_empty_subqueue(client):
    transfers = client.receiver(sub_queue=ServiceBusSubQueue.TRANSFER_DEAD_LETTER)

    assert await transfers.peek_messages(1) == []


async def test_a_completed_message_is_gone(client):
    [sent] = await client.send("done")
    [message] = await client.receive(sent)
    await client.receiver().complete_message(message)

    assert await client.peek(sent) == []


async def test_an_abandoned_message_comes_back_with_its_delivery_counted(client):
    [sent] = await client.send("again")
    [message] = await client.receive(sent)
    await client.receiver().abandon_message(message)
    [again] = await client.receive(sent)
    await client.receiver().complete_message(again)

    assert (message.delivery_count, again.delivery_count) == (0, 1)
    assert again.sequence_number == message.sequence_number


async def test_a_dead_letter_is_forwarded_and_says_why_and_from_where(client):
    [sent] = await client.send(b"broken", application_properties={"mine": 1})
    [message] = await client.receive(sent)
    await client.receiver().dead_letter_message(message, reason="Broken", error_description="it is broken")
    [dead] = await client.receive(sent, queue=client.bus.dead_letters)
    await client.receiver(client.bus.dead_letters).complete_message(dead)

    assert (dead.dead_letter_reason, dead.dead_letter_error_description) == ("Broken", "it is broken")
    assert dead.dead_letter_source == client.bus.opt_ins
    assert dead.application_properties[b"mine"] == 1
    assert b"".join(dead.body) == b"broken"
    assert dead.enqueued_sequence_number == message.sequence_number


async def test_a_message_delivered_ten_times_in_vain_is_dead_lettered(client):
    [sent] = await client.send("poison")
    for delivery in range(10):
        [message] = await client.receive(sent)
        assert message.delivery_count == delivery
        await client.receiver().abandon_message(message)
    [dead] = await client.receive(sent, queue=client.bus.dead_letters)
    await client.receiver(client.bus.dead_letters).complete_message(dead)

    assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"


async def test_a_deferred_message_is_received_by_its_number_and_completed(client):
    [sent] = await client.send("later")
    [message] = await client.receive(sent)
    await client.receiver().defer_message(message)
    [peeked] = await client.peek(sent)
    [deferred] = await client.receiver().receive_deferred_messages(message.sequence_number)
    await client.receiver().complete_message(deferred)

    assert peeked.state.name == "DEFERRED"
    assert str(deferred) == "later"
    assert await client.peek(sent) == []


async def test_asking_for_a_message_that_is_not_deferred_is_an_error(client):
    with pytest.raises(MessageNotFoundError):
        await client.receiver().receive_deferred_messages([2**40])


async def test_a_message_with_a_scheduled_time_arrives_then_and_not_before(client):
    at = datetime.now(UTC) + timedelta(seconds=0.5 if client.bus.broker else 5)
    [sent] = await client.send("later", scheduled_enqueue_time_utc=at)
    [waiting] = await client.peek(sent)
    [message] = await client.receive(sent)
    arrived = datetime.now(UTC)
    await client.receiver().complete_message(message)

    assert waiting.state.name == "SCHEDULED"
    assert at - timedelta(milliseconds=5) <= arrived
    assert message.enqueued_time_utc >= at - timedelta(milliseconds=5)


async def test_scheduled_messages_have_numbers_and_can_be_cancelled(client):
    ids = [uuid4().hex for _ in range(3)]
    messages = [ServiceBusMessage("later", message_id=one) for one in ids]
    numbers = await client.sender().schedule_messages(messages, datetime.now(UTC) + timedelta(minutes=5))

    assert [message.sequence_number for message in await client.peek(*ids)] == list(numbers)

    await client.sender().cancel_scheduled_messages(numbers)
    assert await client.peek(*ids) == []


async def test_a_message_with_a_known_id_is_accepted_and_dropped(client):
    [sent] = await client.send("once")
    await client.send("twice", message_id=sent)
    later = datetime.now(UTC) + timedelta(minutes=5)
    await client.send("thrice", message_id=sent, scheduled_enqueue_time_utc=later)
    found = await client.peek(sent)
    [message] = await client.receive(sent)
    await client.receiver().complete_message(message)

    assert [str(one) for one in found] == ["once"]


async def test_a_renewed_lock_ends_later(client):
    [sent] = await client.send("slow")
    [message] = await client.receive(sent)
    before = message.locked_until_utc
    await asyncio.sleep(0.01)
    after = await client.receiver().renew_message_lock(message)
    await client.receiver().complete_message(message)

    assert before < after


async def test_peeking_goes_through_a_queue_page_by_page_without_locking(client):
    ids = await client.send(*["x"] * 60)
    start = (await client.peek(ids[0]))[0].sequence_number
    first = await client.receiver().peek_messages(25, sequence_number=start)
    second = await client.receiver().peek_messages(100, sequence_number=first[-1].sequence_number + 1)
    messages = await client.receive(*ids)
    for message in messages:
        await client.receiver().complete_message(message)

    assert [one.message_id for one in [*first, *second]] == ids
    assert all(one.lock_token is None for one in first)


async def test_receive_and_delete_takes_messages_without_settling(client):
    ids = await client.send("a", "b")
    messages = await client.receiver(**DELETING).receive_messages(2, max_wait_time=10)

    assert [message.message_id for message in messages] == ids
    assert await client.peek(*ids) == []


async def test_a_forwarding_queue_has_an_empty_dead_letter_subqueue(client):
    assert await client.receiver(**SUBQUEUE).peek_messages(10) == []


async def test_many_deferred_messages_are_settled_by_their_numbers(client):
    ids = await client.send(*["x"] * 5)
    for message in await client.receive(*ids):
        await client.receiver().defer_message(message)
    numbers = [message.sequence_number for message in await client.peek(*ids)]
    deferred = await client.receiver().receive_deferred_messages(numbers)
    await client.receiver().dead_letter_message(deferred[0], reason="First")
    await client.receiver().abandon_message(deferred[1])
    for message in deferred[2:]:
        await client.receiver().complete_message(message)
    left = await client.peek(*ids)
    [again] = await client.receiver().receive_deferred_messages(left[0].sequence_number)
    await client.receiver().complete_message(again)
    [dead] = await client.receive(ids[0], queue=client.bus.dead_letters)
    await client.receiver(client.bus.dead_letters).complete_message(dead)

    assert [message.message_id for message in left] == [ids[1]]
    assert dead.dead_letter_reason == "First"


async def test_an_expired_message_is_dead_lettered(slow, kind):
    assert slow[kind, "let a message expire"].dead_letter_reason == "TTLExpiredException"


async def test_an_unknown_queue_cannot_be_received_from_or_sent_to(slow, kind):
    """The token for it is refused already, as the SDK's own test `test_sb_client_bad_entity` wants it."""
    for deed in ("receive from", "send to"):
        refused = slow[kind, f"{deed} an unknown queue"]

        assert isinstance(refused, ServiceBusAuthenticationError)
        assert "404" in str(refused.inner_exception)


async def test_a_wrong_key_is_refused(slow, kind):
    assert isinstance(slow[kind, "receive with a wrong key"], ServiceBusAuthenticationError)
    assert isinstance(slow[kind, "send with a wrong key"], ServiceBusAuthenticationError)
