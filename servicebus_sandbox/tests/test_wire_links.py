"""Links and sessions frame by frame: credit, windows, messages in parts, idle links."""

import asyncio

import pytest

from servicebus_sandbox import Broker, Limits, QueueProperties
from servicebus_sandbox.amqp import Described, Symbol, Ubyte, Uint, Ulong
from servicebus_sandbox.encode import encode
from servicebus_sandbox.frames import (
    ACCEPTED,
    RECEIVER,
    SENDER,
    Attach,
    Detach,
    Disposition,
    End,
    Flow,
    SaslInit,
    Transfer,
    encode_frame,
)
from servicebus_sandbox.messages import decode_message
from servicebus_sandbox.sections import BATCH_FORMAT
from servicebus_sandbox.tests.peer import RELEASED, Q, connected, message, ready


@pytest.fixture
async def broker():
    async with Broker({Q: QueueProperties()}) as broker:
        yield broker


async def test_a_link_that_nobody_uses_is_detached_and_one_that_waits_is_not():
    lazy = Broker({Q: QueueProperties()}, limits=Limits(link_idle_timeout=0.1))
    async with lazy as broker, ready(broker) as peer:
        started = asyncio.get_running_loop().time()
        await peer.attach(Q, RECEIVER, 0)
        peer.credit(1)
        await peer.attach(Q, SENDER, 1)
        await peer.attach(Q, RECEIVER, 2)
        detached = [await peer.read_until(Detach), await peer.read_until(Detach)]
        waited = asyncio.get_running_loop().time() - started

        assert sorted(detach.handle for detach in detached) == [1, 2]
        assert {detach.error.value[0] for detach in detached} == {"amqp:link:detach-forced"}
        assert waited >= 0.09
        await peer.nothing_of(Detach, seconds=0.2)
        assert len(broker.queue_links()) == 1


async def test_links_can_be_told_that_they_are_idle_at_any_time(broker):
    async with ready(broker) as peer:
        await peer.attach(Q, SENDER, 0)
        await peer.attach(Q, RECEIVER, 1)
        peer.credit(1, handle=1)
        await peer.attach(f"{Q}/$management", SENDER, 2)

        assert broker.detach_idle_links(idle_for=60) == 0
        assert broker.detach_idle_links() == 1
        assert (await peer.read_until(Detach)).handle == 0


async def test_no_message_is_sent_without_credit_and_none_beyond_it(broker):
    broker.queue(Q).send([decode_message(message()) for _ in range(5)])
    async with ready(broker) as peer:
        await peer.attach(Q, RECEIVER)
        await peer.nothing_of(Transfer)
        peer.credit(2)
        await peer.expect(Transfer)
        await peer.expect(Transfer)
        await peer.nothing_of(Transfer)
        peer.credit(2, count=1)
        await peer.expect(Transfer)
        await peer.nothing_of(Transfer)

        assert broker.queue(Q).locked == 3


async def test_draining_sends_what_there_is_and_uses_up_the_rest_of_the_credit(broker):
    broker.queue(Q).send([decode_message(message()) for _ in range(100)])
    async with ready(broker) as peer:
        await peer.attach(Q, RECEIVER)
        peer.credit(150, drain=True)
        for _ in range(100):
            await peer.expect(Transfer)
        flow = await peer.expect(Flow)
        broker.queue(Q).send([decode_message(message())])
        await peer.nothing_of(Transfer)

    assert (flow.delivery_count, flow.link_credit, flow.drain) == (150, 0, True)


async def test_draining_an_empty_queue_is_answered_with_the_clients_drain_and_no_later_flow_is(broker):
    async with ready(broker) as peer:
        await peer.attach(Q, RECEIVER)
        peer.credit(10, drain=True)
        flow = await peer.expect(Flow)
        peer.credit(1, count=10, echo=True)
        after = await peer.expect(Flow)

    assert (flow.delivery_count, flow.link_credit, flow.drain) == (10, 0, True)
    assert (after.link_credit, after.drain) == (1, None)


async def test_a_link_gets_no_more_than_it_may_leave_unsettled():
    limits = Limits(max_unsettled=3)
    async with Broker({Q: QueueProperties()}, limits=limits) as broker, ready(broker) as peer:
        broker.queue(Q).send([decode_message(message()) for _ in range(5)])
        await peer.attach(Q, RECEIVER)
        peer.credit(10)
        first, *_ = [(await peer.expect(Transfer))[0] for _ in range(3)]
        await peer.nothing_of(Transfer)
        peer.send(Disposition(RECEIVER, first.delivery_id, settled=True, state=ACCEPTED))
        await peer.expect(Transfer)
        await peer.nothing_of(Transfer)

        assert (broker.queue(Q).active, broker.queue(Q).locked) == (4, 3)


async def test_a_flow_that_asks_for_an_echo_gets_one(broker):
    async with ready(broker) as peer:
        await peer.attach(Q, RECEIVER)
        peer.credit(3, echo=True)
        assert (await peer.expect(Flow)).link_credit == 3
        await peer.attach(Q, SENDER, 1)
        assert (await peer.expect(Flow)).link_credit == 1000
        peer.credit(0, handle=1, echo=True)
        assert (await peer.expect(Flow)).handle == 1
        peer.send(Flow(None, Uint(9), Uint(0), Uint(9), echo=True))
        assert (await peer.expect(Flow)).handle is None


async def test_a_small_session_window_is_kept_in_the_middle_of_a_message(broker):
    broker.queue(Q).send([decode_message(message(b"x" * 1200))])
    async with connected(broker) as peer:
        await peer.open(max_frame_size=Uint(512))
        await peer.begin(window=10)
        await peer.authorize()
        await peer.attach(Q, RECEIVER)
        peer.credit(1, window=2, next_id=1)
        parts = [await peer.expect(Transfer), await peer.expect(Transfer)]
        await peer.nothing_of(Transfer)
        while parts[-1][0].more:
            peer.credit(0, count=1, window=1, next_id=1 + len(parts))
            parts.append(await peer.expect(Transfer))

    assert decode_message(b"".join(payload for _, payload in parts)).body == b"x" * 1200
    assert max(peer.frame_sizes) <= 512
    assert len(parts) >= 3


async def test_a_sender_is_given_credit_and_window_again_before_they_end(broker):
    async with ready(broker) as peer:
        await peer.attach(Q, SENDER)
        for _ in range(6000):
            peer.transfer(message(), settled=True)
        flows = [await peer.expect(Flow) for _ in range(8)]
        await broker.wait_until(lambda: broker.queue(Q).active == 6000)

    assert flows[-1].delivery_count > flows[0].delivery_count
    assert all(flow.link_credit == 1000 for flow in flows if flow.handle is not None)


async def test_a_message_in_parts_arrives_as_one_and_an_aborted_one_does_not(broker):
    content = message(b"y" * 1000)
    async with ready(broker) as peer:
        await peer.attach(Q, SENDER)
        peer.send(Transfer(Uint(0), Uint(7), b"t", Uint(0), more=True), content[:400])
        peer.send(Transfer(Uint(0), aborted=True))
        peer.send(Transfer(Uint(0), Uint(8), b"t", Uint(0), more=True), content[:10])
        peer.send(Transfer(Uint(0), more=True), content[10:400])
        peer.send(Transfer(Uint(0)), content[400:])
        answer = await peer.expect(Disposition)

    assert (answer.role, answer.first, answer.settled, answer.state) == (RECEIVER, 8, True, ACCEPTED)
    assert [stored.message.body for stored in broker.queue(Q).messages()] == [b"y" * 1000]


async def test_a_settled_message_is_not_answered(broker):
    async with ready(broker) as peer:
        await peer.attach(Q, SENDER)
        peer.transfer(message(), settled=True)
        await peer.nothing_of(Disposition)

    assert broker.queue(Q).active == 1


async def test_a_message_that_cannot_be_read_or_is_too_large_is_rejected_and_the_link_goes_on():
    limits = Limits(max_message_size=1000)
    async with Broker({Q: QueueProperties()}, limits=limits) as broker, ready(broker) as peer:
        assert (await peer.attach(Q, SENDER)).max_message_size == 1000
        conditions = []
        for payload in (b"garbage", message(b"x" * 1000), encode(Described(Ulong(0x99), [])), message()):
            peer.transfer(payload)
            state = (await peer.expect(Disposition)).state
            conditions.append(state.value[0].value[0] if state != ACCEPTED else "accepted")

        argument, size = "com.microsoft:argument-error", "amqp:link:message-size-exceeded"
        assert conditions == [argument, size, argument, "accepted"]


async def test_a_batch_with_one_unreadable_message_is_rejected_whole(broker):
    sections = [encode(Described(Ulong(0x75), one)) for one in (message(), b"garbage")]
    async with ready(broker) as peer:
        await peer.attach(Q, SENDER)
        peer.send(Transfer(Uint(0), Uint(0), b"t", Uint(BATCH_FORMAT)), b"".join(sections))
        answer = await peer.expect(Disposition)

    assert answer.state != ACCEPTED
    assert len(broker.queue(Q)) == 0


async def test_a_receiver_that_closes_gives_back_what_it_has_not_taken(broker):
    """As azure-servicebus does it: drain, release what came, detach."""
    async with ready(broker) as peer:
        await peer.attach(Q, RECEIVER)
        peer.credit(5)
        broker.queue(Q).send([decode_message(message()) for _ in range(3)])
        ids = [(await peer.expect(Transfer))[0].delivery_id for _ in range(3)]
        peer.credit(0, count=3, drain=True)
        await peer.expect(Flow)
        for delivery_id in ids:
            peer.send(Disposition(RECEIVER, delivery_id, settled=True, state=RELEASED))
        peer.send(Detach(Uint(0), closed=True))
        assert await peer.read_until(Detach)

    assert (broker.queue(Q).active, broker.queue(Q).locked) == (3, 0)
    assert [stored.delivery_count for stored in broker.queue(Q).messages()] == [0, 0, 0]


async def test_many_connections_at_once_get_each_message_exactly_once(broker):
    async def take():
        async with ready(broker) as peer:
            await peer.attach(Q, RECEIVER, snd_settle_mode=Ubyte(1))
            peer.credit(5)
            return [decode_message((await peer.expect(Transfer))[1]).body for _ in range(5)]

    taking = [asyncio.create_task(take()) for _ in range(60)]
    broker.queue(Q).send([decode_message(message(b"%d" % number)) for number in range(300)])
    taken = await asyncio.gather(*taking)

    assert sorted(int(body) for bodies in taken for body in bodies) == list(range(300))
    assert len(broker.queue(Q)) == 0


async def test_two_waiting_receivers_take_turns(broker):
    async with ready(broker) as one, ready(broker) as two:
        for peer in (one, two):
            await peer.attach(Q, RECEIVER)
            peer.credit(100)
        await broker.wait_until(lambda: all(link.idle_since is None for link in broker.queue_links()))
        broker.queue(Q).send([decode_message(message()) for _ in range(128)])
        await broker.wait_until(lambda: broker.queue(Q).locked == 128)
        for peer in (one, two):
            for _ in range(28):
                await peer.expect(Transfer)


async def test_a_size_is_named_to_those_who_send_and_to_nobody_else(broker):
    async with ready(broker) as peer:
        assert (await peer.attach(Q, SENDER, 0)).max_message_size == 262_144
        assert (await peer.attach(Q, RECEIVER, 1)).max_message_size is None


@pytest.mark.parametrize(
    ("frame", "condition"),
    [
        (Transfer(Uint(5), Uint(0), b"t"), "amqp:session:unattached-handle"),
        (Detach(Uint(5)), "amqp:session:unattached-handle"),
        (Attach("again", Uint(0), RECEIVER), "amqp:session:handle-in-use"),
        (Transfer(Uint(0), Uint(0), b"t"), "amqp:not-allowed"),
    ],
)
async def test_a_session_that_breaks_the_rules_is_ended_and_the_connection_goes_on(broker, frame, condition):
    async with ready(broker) as peer:
        await peer.attach(Q, RECEIVER)
        peer.send(frame)
        assert (await peer.read_until(End)).error.value[0] == condition
        await peer.begin(channel=1)


async def test_a_frame_that_has_no_place_in_a_session_ends_it(broker):
    async with ready(broker) as peer:
        frame = bytearray(encode_frame(0, SaslInit(Symbol("ANONYMOUS"))))
        frame[5] = 0
        peer.writer.write(frame)
        assert "SaslInit has no place" in (await peer.read_until(End)).error.value[1]


async def test_what_a_client_says_of_its_own_deliveries_is_not_needed(broker):
    async with ready(broker) as peer:
        await peer.attach(Q, SENDER)
        peer.transfer(message())
        await peer.expect(Disposition)
        peer.send(Disposition(SENDER, Uint(0), settled=True))
        await peer.nothing_of(Disposition)


async def test_a_slow_reader_does_not_make_the_broker_hold_everything_in_its_buffers(broker):
    broker.queue(Q).send([decode_message(message(b"x" * 200_000)) for _ in range(60)])
    async with ready(broker) as peer:
        await peer.attach(Q, RECEIVER)
        peer.credit(60, window=10_000)
        await asyncio.sleep(0.1)
        held = broker.queue(Q).locked
        for _ in range(60):
            while (await peer.expect(Transfer))[0].more:
                continue

    assert held < 60
