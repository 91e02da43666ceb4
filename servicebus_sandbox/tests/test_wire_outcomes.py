"""What clients of several makers say of a message they have received, and what becomes of it."""

from datetime import timedelta
from uuid import UUID

import pytest

from servicebus_sandbox import Broker, QueueProperties
from servicebus_sandbox.amqp import Array, Described, Symbol, Ubyte, Ulong
from servicebus_sandbox.frames import ACCEPTED, RECEIVER, Disposition, Transfer
from servicebus_sandbox.messages import decode_message
from servicebus_sandbox.tests.peer import RELEASED, Q, message, ready

ERROR, REJECTED, MODIFIED = Ulong(0x1D), Ulong(0x25), Ulong(0x27)


@pytest.fixture
async def broker():
    async with Broker({Q: QueueProperties(max_delivery_count=3)}) as broker:
        yield broker


async def settle(broker, *states):
    """Receive a message once for each state, and say it; returns what the broker answers."""
    broker.queue(Q).send([decode_message(message())])
    answers = []
    async with ready(broker) as peer:
        await peer.attach(Q, RECEIVER, rcv_settle_mode=Ubyte(1))
        for count, state in enumerate(states):
            peer.credit(1, count=count)
            transfer, _ = await peer.expect(Transfer)
            peer.send(Disposition(RECEIVER, transfer.delivery_id, state=state))
            answers.append((await peer.expect(Disposition)).state)
    return answers


@pytest.mark.parametrize(
    "fields",
    [
        [],  # .NET
        [None, False],  # JavaScript
        [False],
        [True, False],  # Python
        [None, None, {Symbol("why"): "busy"}],
    ],
)
async def test_modified_counts_a_delivery_whatever_its_fields_say(broker, fields):
    await settle(broker, *[Described(MODIFIED, fields)] * 3)

    [dead] = broker.queue(Q).dead_letters.messages()
    assert dead.message.application_properties["DeadLetterReason"] == "MaxDeliveryCountExceeded"
    assert dead.delivery_count == 3


async def test_only_released_counts_no_delivery(broker):
    await settle(broker, *[RELEASED] * 5)

    assert [stored.delivery_count for stored in broker.queue(Q).messages()] == [0]


@pytest.mark.parametrize("failed", [None, False, True])
async def test_modified_sets_properties_of_the_message_when_it_abandons_and_when_it_defers(broker, failed):
    changes = {Symbol("attempt"): "two"}
    states = [Described(MODIFIED, [failed, False, changes]), Described(MODIFIED, [failed, True, {Symbol("later"): 1}])]
    await settle(broker, *states)

    [stored] = broker.queue(Q).messages()
    assert stored.message.application_properties == {"attempt": "two", "later": 1}
    assert (stored.delivery_count, broker.queue(Q).deferred) == (2, 1)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [None],
        [Described(ERROR, [])],
        [Described(ERROR, [Symbol("app:bad")])],
        [Described(ERROR, [Symbol("app:bad"), "no"])],
        [Described(ERROR, [Symbol("app:bad"), "no", None])],
        [Described(ERROR, [Symbol("app:bad"), "no", {}])],
    ],
)
async def test_a_rejected_message_is_a_dead_letter_however_little_its_error_says(broker, fields):
    answers = await settle(broker, Described(REJECTED, fields))

    assert answers == [Described(REJECTED, [])]
    assert (len(broker.queue(Q)), broker.queue(Q).dead_lettered) == (0, 1)


async def test_a_rejection_carries_reasons_and_properties(broker):
    info = {Symbol("DeadLetterReason"): "Why", Symbol("DeadLetterErrorDescription"): "because", Symbol("more"): 1}
    await settle(broker, Described(REJECTED, [Described(ERROR, [Symbol("com.microsoft:dead-letter"), None, info])]))

    [dead] = broker.queue(Q).dead_letters.messages()
    assert dead.message.application_properties == {
        "DeadLetterReason": "Why",
        "DeadLetterErrorDescription": "because",
        "more": 1,
    }


@pytest.mark.parametrize(
    "state",
    [
        Described(REJECTED, 5),
        Described(REJECTED, [5]),
        Described(REJECTED, [Described(ERROR, 5)]),
        Described(REJECTED, [Described(ERROR, [None, None, 5])]),
        Described(REJECTED, [Described(ERROR, [None, None, {"a": Array([Described(Ulong(1), [])])}])]),
        Described(MODIFIED, {}),
        Described(MODIFIED, [None, None, "properties"]),
        Described(MODIFIED, [None, None, {"list": [1]}]),
        Described(Ulong(0x99), []),
        Described("unknown", None),
        Described([], None),
        Described(Ulong(0x24), 5),
    ],
)
async def test_whatever_else_is_said_of_a_message_is_answered_and_the_connection_goes_on(broker, state):
    broker.queue(Q).send([decode_message(message())])
    async with ready(broker) as peer:
        await peer.attach(Q, RECEIVER)
        peer.credit(1)
        transfer, _ = await peer.expect(Transfer)
        peer.send(Disposition(RECEIVER, transfer.delivery_id, state=state))
        answer = await peer.expect(Disposition)
        peer.credit(1, count=1)
        broker.queue(Q).send([decode_message(message())])
        await peer.expect(Transfer)

    assert answer.settled
    assert len(broker.queue(Q)) + broker.queue(Q).dead_lettered >= 1


async def test_a_message_that_somebody_else_gets_after_the_lock_ended_is_lost_to_the_first():
    async with Broker({Q: QueueProperties(lock_duration=timedelta(seconds=0.1))}) as broker:
        broker.queue(Q).send([decode_message(message())])
        async with ready(broker) as peer:
            await peer.attach(Q, RECEIVER)
            peer.credit(2)
            first, _ = await peer.expect(Transfer)
            again, _ = await peer.expect(Transfer)
            assert UUID(bytes_le=first.delivery_tag) != UUID(bytes_le=again.delivery_tag)
            peer.send(Disposition(RECEIVER, first.delivery_id, state=ACCEPTED))
            lost = (await peer.expect(Disposition)).state
            peer.send(Disposition(RECEIVER, again.delivery_id, state=ACCEPTED))
            done = (await peer.expect(Disposition)).state

    assert lost.value[0].value[0] == "com.microsoft:message-lock-lost"
    assert done == ACCEPTED
