"""What clients of several makers say of a message they have received, and what becomes of it."""

from datetime import timedelta
from uuid import UUID

import pytest

from servicebus_sandbox import Broker, QueueProperties
from servicebus_sandbox.amqp import Array, Described, Symbol, Ubyte, Uint, Ulong
from servicebus_sandbox.frames import (
    ACCEPTED,
    RECEIVER,
    Detach,
    Disposition,
    Transfer,
    modified,
)
from servicebus_sandbox.messages import decode_message
from servicebus_sandbox.tests.peer import RELEASED, Q, locked, message, ready

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


async def test_outcomes_are_applied_and_echoed_and_unknown_ones_refused(broker):
    queue = broker.queue(Q)
    queue.send([decode_message(message()) for _ in range(6)])
    rejection = Described(Ulong(0x25), [Described(Ulong(0x1D), [Symbol("x"), None, {Symbol("DeadLetterReason"): "R"}])])
    states = [
        ACCEPTED,
        modified(failed=True, undeliverable_here=False),
        modified(failed=True, undeliverable_here=True),
        modified(failed=False, undeliverable_here=False),
        rejection,
        Described(Ulong(0x34), [b"transaction"]),
    ]
    async with ready(broker) as peer:
        await peer.attach(Q, RECEIVER, rcv_settle_mode=Ubyte(1))
        peer.credit(6)
        ids = [(await peer.expect(Transfer))[0].delivery_id for _ in states]
        echoes = []
        for delivery_id, state in zip(ids, states, strict=True):
            peer.send(Disposition(RECEIVER, delivery_id, state=state))
            echoes.append((await peer.expect(Disposition)).state)

    assert echoes[:4] == states[:4]
    assert echoes[4] == Described(Ulong(0x25), [])
    assert echoes[5].value[0].value[0] == "amqp:not-implemented"
    assert (queue.active, queue.deferred, queue.dead_lettered) == (3, 1, 1)
    assert [stored.delivery_count for stored in queue.messages()] == [1, 1, 1, 0]
    assert queue.dead_letters.messages()[0].message.application_properties == {"DeadLetterReason": "R"}


async def test_a_malformed_outcome_is_refused_and_one_that_decides_nothing_waits(broker):
    broker.queue(Q).send([decode_message(message())])
    async with ready(broker) as peer:
        await peer.attach(Q, RECEIVER)
        peer.credit(1)
        transfer, _ = await peer.expect(Transfer)
        peer.send(Disposition(RECEIVER, transfer.delivery_id, state=Described(Ulong(0x23), [Uint(0), Ulong(0)])))
        await peer.nothing_of(Disposition)
        peer.send(Disposition(RECEIVER, transfer.delivery_id, state=Described(Ulong(0x27), 5)))
        answer = await peer.expect(Disposition)

    assert "malformed" in answer.state.value[0].value[1]
    assert broker.queue(Q).locked == 1


async def test_a_range_of_deliveries_is_settled_at_once_and_a_settled_disposition_is_not_answered(broker):
    broker.queue(Q).send([decode_message(message()) for _ in range(10)])
    async with ready(broker) as peer:
        await peer.attach(Q, RECEIVER)
        peer.credit(10)
        ids = [(await peer.expect(Transfer))[0].delivery_id for _ in range(10)]
        peer.send(Disposition(RECEIVER, ids[0], ids[8], settled=True, state=ACCEPTED))
        peer.send(Disposition(RECEIVER, ids[9], settled=True, state=RELEASED))
        await broker.wait_until(lambda: broker.queue(Q).locked == 0)
        await peer.nothing_of(Disposition)

    assert [stored.delivery_count for stored in broker.queue(Q).messages()] == [0]


async def test_what_is_said_of_a_message_after_its_link_is_detached_is_not_heard(broker):
    broker.queue(Q).send([decode_message(message())])
    async with ready(broker) as peer:
        await peer.attach(Q, RECEIVER)
        peer.credit(1)
        transfer, _ = await peer.expect(Transfer)
        peer.send(Detach(Uint(0), closed=True))
        assert await peer.read_until(Detach)
        peer.send(Disposition(RECEIVER, transfer.delivery_id, settled=True, state=ACCEPTED))
        status, _ = await peer.manage(
            "update-disposition",
            {"disposition-status": "completed", "lock-tokens": Array([UUID(bytes_le=transfer.delivery_tag)])},
        )

    assert status["statusCode"] == 200
    assert len(broker.queue(Q)) == 0


async def test_messages_of_a_lost_connection_stay_locked_until_their_locks_expire():
    async with Broker({Q: QueueProperties(lock_duration=timedelta(seconds=0.2))}) as broker:
        broker.queue(Q).send([decode_message(message())])
        async with ready(broker) as peer:
            await peer.attach(Q, RECEIVER)
            peer.credit(1)
            await peer.expect(Transfer)
        await broker.wait_until(lambda: not broker.queue_links())
        assert broker.queue(Q).locked == 1
        await broker.wait_until(lambda: broker.queue(Q).locked == 0)

        assert broker.queue(Q).messages()[0].delivery_count == 1


async def test_a_clock_set_by_hand_ends_locks_at_once():
    now = 1_700_000_000.0
    async with Broker({Q: QueueProperties()}, clock=lambda: now) as broker, ready(broker) as peer:
        broker.queue(Q).send([decode_message(message())])
        await peer.attach(Q, RECEIVER)
        peer.credit(2)
        first, _ = await peer.expect(Transfer)
        now += 61
        broker.clock_moved()
        again, _ = await peer.expect(Transfer)

    assert again.delivery_tag != first.delivery_tag


async def test_a_dead_letter_cannot_be_dead_lettered_again(broker):
    queue = broker.queue(Q)
    queue.send([decode_message(message())])
    queue.dead_letter(locked(queue))
    async with ready(broker) as peer:
        await peer.attach(f"{Q}/$DeadLetterQueue", RECEIVER)
        peer.credit(1)
        transfer, _ = await peer.expect(Transfer)
        peer.send(Disposition(RECEIVER, transfer.delivery_id, state=Described(Ulong(0x25), [])))
        answer = await peer.expect(Disposition)

    assert answer.state.value[0].value[0] == "amqp:not-allowed"
    assert queue.dead_letters.locked == 1
