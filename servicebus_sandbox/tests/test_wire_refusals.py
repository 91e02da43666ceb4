"""What a test or an operator can order: throttled sends and receives, disabled queues."""

import pytest

from servicebus_sandbox import Broker, QueueProperties
from servicebus_sandbox.amqp import Uint
from servicebus_sandbox.errors import EntityDisabled
from servicebus_sandbox.frames import (
    ACCEPTED,
    RECEIVER,
    SENDER,
    Detach,
    Disposition,
    Transfer,
)
from servicebus_sandbox.messages import decode_message
from servicebus_sandbox.tests.peer import Q, message, ready

BUSY, DISABLED = "com.microsoft:server-busy", "com.microsoft:entity-disabled"
PEEK = ("peek-message", {"from-sequence-number": 0, "message-count": 1})
QUEUES = {"source": QueueProperties(forward_dead_lettered_messages_to=Q), Q: QueueProperties()}


@pytest.fixture
async def broker():
    async with Broker(QUEUES) as broker:
        yield broker


async def refusal_of(peer, role, handle, queue=Q):
    """Attach, and say why it is refused."""
    await peer.attach(queue, role, handle)
    return (await peer.read_until(Detach)).error.value[0]


async def test_a_receiver_that_waited_before_receives_are_refused_gets_nothing_until_they_are_not(broker):
    async with ready(broker) as peer:
        await peer.attach(Q, RECEIVER)
        peer.credit(2)
        await peer.attach(Q, SENDER, 1)
        with broker.fail_receives(Q):
            peer.transfer(message(), 1)
            assert (await peer.expect(Disposition)).state == ACCEPTED
            await peer.nothing_of(Transfer)
        await peer.expect(Transfer)

    assert broker.queue(Q).locked == 1


async def test_sends_that_are_refused_are_so_in_every_way_of_sending(broker):
    async with ready(broker) as peer:
        scheduled, body = await peer.manage("schedule-message", {"messages": [{"message": message()}]})
        with broker.fail_sends(Q) as refused:
            await peer.attach(Q, SENDER)
            peer.transfer(message())
            sent = (await peer.expect(Disposition)).state
            answers = [
                await peer.manage("schedule-message", {"messages": [{"message": message()}]}),
                await peer.manage("cancel-scheduled-message", {"sequence-numbers": body["sequence-numbers"]}),
            ]

    assert scheduled["statusCode"] == 200
    assert sent.value[0].value[0] == BUSY
    assert [status["errorCondition"] for status, _ in answers] == [BUSY, BUSY]
    assert refused.met == 3
    assert len(broker.queue(Q)) == 1


@pytest.mark.parametrize(
    ("status", "sends", "receives"),
    [
        ("Active", True, True),
        ("SendDisabled", False, True),
        ("ReceiveDisabled", True, False),
        ("Disabled", False, False),
    ],
)
async def test_a_queue_does_what_its_status_allows(status, sends, receives):
    async with Broker({Q: QueueProperties(status=status)}) as broker, ready(broker) as peer:
        answers = [
            await peer.manage("schedule-message", {"messages": [{"message": message()}]}),
            await peer.manage(*PEEK),
        ]
        expected = [None if sends else DISABLED, None if receives else DISABLED]
        if receives and not sends:
            # There is nothing to peek at.
            expected[1] = "com.microsoft:message-not-found"
        assert [status.get("errorCondition") for status, _ in answers] == expected
        for role, allowed in ((SENDER, sends), (RECEIVER, receives)):
            if not allowed:
                assert await refusal_of(peer, role, 2 + role) == DISABLED
            else:
                await peer.attach(Q, role, 2 + role)


async def test_a_queue_that_is_disabled_detaches_its_links_and_lets_clients_settle(broker):
    async with ready(broker) as peer:
        broker.queue(Q).send([decode_message(message())])
        await peer.attach(Q, RECEIVER)
        peer.credit(2)
        await peer.expect(Transfer)
        await peer.attach(Q, SENDER, 1)
        token = broker.queue(Q).messages()[0].lock_token

        broker.set_status(Q, "Disabled")
        detached = [await peer.read_until(Detach) for _ in range(2)]
        for handle in (0, 1):
            peer.send(Detach(Uint(handle), closed=True))
        other = await refusal_of(peer, RECEIVER, 2, f"{Q}/$DeadLetterQueue")
        broker.queue(Q).complete(token)
        broker.set_status(Q, "Active")
        await peer.attach(Q, SENDER, 3)
        peer.transfer(message(), 3)
        assert (await peer.expect(Disposition)).state == ACCEPTED

    assert {detach.error.value[0] for detach in detached} == {DISABLED}
    assert other == DISABLED
    assert len(broker.queue(Q)) == 1


@pytest.mark.parametrize("status", ["Disabled", "SendDisabled"])
async def test_a_dead_letter_stays_in_its_queues_subqueue_while_the_target_takes_no_messages(broker, status):
    source = broker.queue("source")
    source.send([decode_message(message(message_id="stays")), decode_message(message(message_id="goes"))])
    broker.set_status(Q, status)
    source.dead_letter(source.lock_next().lock_token)
    broker.set_status(Q, "Active")
    source.dead_letter(source.lock_next().lock_token)

    assert [stored.message.message_id for stored in source.dead_letters.messages()] == ["stays"]
    assert [stored.message.message_id for stored in broker.queue(Q).messages()] == ["goes"]


async def test_a_status_that_there_is_not_is_refused(broker):
    with pytest.raises(ValueError, match="status must be one of Active, Disabled"):
        broker.set_status(Q, "Suspended")
    with pytest.raises(ValueError, match="status must be one of"):
        QueueProperties(status="Suspended")
    broker.set_status(f"{Q}/$DeadLetterQueue", "SendDisabled")
    with pytest.raises(EntityDisabled, match="its status is SendDisabled"):
        broker.queue(Q).send([decode_message(message())])


async def test_receives_can_be_refused_for_a_while(broker):
    broker.queue(Q).send([decode_message(message())])
    peek = ("peek-message", {"from-sequence-number": 0, "message-count": 1})
    async with ready(broker) as peer:
        with broker.fail_receives(Q) as refused:
            await peer.attach(Q, RECEIVER)
            peer.credit(1)
            detach = await peer.read_until(Detach)
            peer.send(Detach(Uint(0), closed=True))
            peeked, _ = await peer.manage(*peek)
            await peer.attach(f"{Q}/$DeadLetterQueue", RECEIVER, 1)
            peer.credit(1, handle=1)
            await peer.attach(Q, SENDER, 2)
            peer.transfer(message(), handle=2)
            assert (await peer.expect(Disposition)).state == ACCEPTED
        await peer.attach(Q, RECEIVER, 3)
        peer.credit(1, handle=3)
        await peer.expect(Transfer)

    assert detach.error.value[0] == peeked["errorCondition"] == "com.microsoft:server-busy"
    assert (peeked["statusCode"], refused.met) == (503, 2)
