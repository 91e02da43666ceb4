"""The broker's protocol, frame by frame, as other clients than azure-servicebus and broken ones would use it."""

import asyncio
import random
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servicebus_sandbox import LISTEN, AccessKey, Broker, Limits, QueueProperties
from servicebus_sandbox.amqp import Array, Described, Symbol, Ubyte, Uint, Ulong
from servicebus_sandbox.encode import encode
from servicebus_sandbox.frames import (
    ACCEPTED,
    AMQP_HEADER,
    EMPTY_FRAME,
    RECEIVER,
    SASL_HEADER,
    SENDER,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Open,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    Transfer,
    encode_frame,
    modified,
)
from servicebus_sandbox.messages import BATCH_FORMAT, decode_message
from servicebus_sandbox.tests.peer import RELEASED, Q, connected, locked, message, ready


@pytest.fixture
async def broker():
    async with Broker({Q: QueueProperties()}) as broker:
        yield broker


async def test_a_client_may_authenticate_by_sasl_or_not_at_all(broker):
    async with connected(broker) as peer:
        peer.writer.write(SASL_HEADER)
        assert await peer.reader.readexactly(8) == SASL_HEADER
        assert "ANONYMOUS" in (await peer.expect(SaslMechanisms)).mechanisms
        peer.send(SaslInit(Symbol("ANONYMOUS")))
        assert (await peer.expect(SaslOutcome)).code == 0
        answer = await peer.open()

    assert answer.max_frame_size == 64 * 1024
    assert answer.idle_time_out == 240_000


async def test_an_unknown_sasl_mechanism_is_refused(broker):
    async with connected(broker) as peer:
        peer.writer.write(SASL_HEADER)
        await peer.reader.readexactly(8)
        peer.send(SaslInit(Symbol("SCRAM-SHA-1"), b"\0me\0key"))
        assert (await peer.expect(SaslOutcome)).code == 1
        assert await peer.reader.read() == b""


async def test_a_key_by_sasl_plain_opens_the_namespace_as_far_as_its_claims_go():
    keys = [AccessKey("listener", "key", frozenset({LISTEN}))]
    async with Broker({Q: QueueProperties()}, keys=keys) as broker, connected(broker) as peer:
        peer.writer.write(SASL_HEADER)
        await peer.reader.readexactly(8)
        peer.send(SaslInit(Symbol("PLAIN"), b"\0listener\0key"))
        assert (await peer.expect(SaslOutcome)).code == 0
        await peer.open()
        await peer.begin()
        await peer.attach(Q, RECEIVER, 0)
        await peer.attach(Q, SENDER, 1)
        detach = await peer.read_until(Detach)

    assert (detach.handle, detach.error.value[0]) == (1, "amqp:unauthorized-access")


@pytest.mark.parametrize(
    "response", [None, b"", b"\0nobody\0sandbox", b"\0RootManageSharedAccessKey\0wrong", b"\xff\0\0"]
)
async def test_sasl_plain_with_a_wrong_key_or_none_is_refused(broker, response):
    async with connected(broker) as peer:
        peer.writer.write(SASL_HEADER)
        await peer.reader.readexactly(8)
        peer.send(SaslInit(Symbol("PLAIN"), response))
        assert (await peer.expect(SaslOutcome)).code == 1
        assert await peer.reader.read() == b""


@pytest.mark.parametrize("line", ["GET / HTTP/1.1", "PUT /queue?api-version=2021-05 HTTP/1.1", "OPTIONS * HTTP/1.1"])
async def test_a_client_of_http_is_told_that_there_is_none(broker, line):
    async with connected(broker) as peer:
        peer.writer.write(f"{line}\r\nHost: here\r\nUpgrade: websocket\r\n\r\n".encode())
        answer = await peer.reader.read()

    assert answer.startswith(b"HTTP/1.1 501 ")
    assert b"no administration API, and no AMQP over WebSocket" in answer


@pytest.mark.parametrize("garbage", [b"EHLO there\r\n\r\n", bytes(64), b"AMQP\x00\x00\x09\x01", b"\x16\x03\x01" * 9])
async def test_another_protocol_is_answered_with_ours_and_hung_up_on(broker, garbage):
    async with connected(broker) as peer:
        peer.writer.write(garbage)
        assert await peer.reader.read() == AMQP_HEADER
    async with ready(broker):
        pass


@pytest.mark.parametrize(
    ("after_open", "condition"),
    [
        (b"\xff\xff\xff\xff\x02\x00\x00\x00", "amqp:connection:framing-error"),
        (b"\x00\x00\x00\x03\x02\x00\x00\x00", "amqp:connection:framing-error"),
        (b"\x00\x00\x00\x0c\x09\x00\x00\x00abcd", "amqp:connection:framing-error"),
        (b"\x00\x00\x00\x0c\x02\x00\x00\x00abcd", "amqp:decode-error"),
        (encode_frame(0, Open("again")), "amqp:illegal-state"),
        (encode_frame(0, SaslInit(Symbol("ANONYMOUS"))), "amqp:illegal-state"),
        (encode_frame(999, Begin(None, Uint(0), Uint(1), Uint(1))), "amqp:not-allowed"),
    ],
)
async def test_a_broken_frame_ends_its_connection_with_a_reason_and_no_other(broker, after_open, condition):
    async with ready(broker) as other, connected(broker) as peer:
        await peer.open()
        peer.writer.write(after_open)
        assert (await peer.expect(Close)).error.value[0] == condition
        assert await peer.reader.read() == b""

        await other.attach(Q, SENDER)


async def test_frames_before_open_are_refused(broker):
    async with connected(broker) as peer:
        peer.writer.write(AMQP_HEADER)
        peer.send(Begin(None, Uint(0), Uint(1), Uint(1)))
        assert await peer.reader.read() == AMQP_HEADER


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=200))
def test_no_bytes_whatever_kill_the_broker(garbage):
    async def attempt():
        async with Broker({Q: QueueProperties()}) as broker:
            for prefix in (b"", AMQP_HEADER, AMQP_HEADER + encode_frame(0, Open("x")), SASL_HEADER):
                async with connected(broker) as peer:
                    peer.writer.write(prefix + garbage)
                    peer.writer.write_eof()
                    await asyncio.gather(peer.reader.read(), return_exceptions=True)
            async with ready(broker):
                pass

    asyncio.run(attempt())


class Nonsense:
    """Frames of the right types with random content; from a seed, for hypothesis takes ten times the broker's time."""

    def __init__(self, seed):
        self.random = random.Random(seed)  # noqa: S311 - repeatable, not secret

    def value(self, depth=2):
        kinds = [None, True, self.uint(), "text", b"bytes", self.address()]
        if depth:
            kinds += [[self.value(depth - 1)] * self.random.randrange(3), {"key": self.value(depth - 1)}]
        return self.random.choice(kinds)

    def uint(self):
        return Uint(self.random.choice([0, 0, 1, 2, 5, 2**32 - 1]))

    def handle(self):
        return Uint(self.random.randrange(3))

    def address(self):
        return self.random.choice(["$cbs", Q, f"{Q}/$management", f"{Q}/$DeadLetterQueue", "amqp://["])

    def flag(self):
        return self.random.random() < 0.5

    def described(self, *codes):
        fields = [
            self.address() if self.flag() else self.value(),
            *[self.value() for _ in range(self.random.randrange(9))],
        ]
        return Described(Ulong(self.random.choice(codes)), fields if self.random.random() < 0.8 else self.value())

    def attach(self):
        ends = {"source": self.described(0x28), "target": self.described(0x29)}
        return Attach("name", self.handle(), self.flag(), Ubyte(self.random.randrange(3)), **ends)

    def frame(self):
        uint, flag = self.uint, self.flag
        makers = [
            lambda: Flow(uint(), uint(), uint(), uint(), self.handle(), uint(), uint(), drain=flag(), echo=flag()),
            lambda: Transfer(self.handle(), uint(), b"tag", uint(), settled=flag(), more=flag(), aborted=flag()),
            lambda: Disposition(flag(), uint(), uint(), flag(), self.described(*range(0x23, 0x29))),
            lambda: Detach(self.handle(), flag()),
        ]
        return self.random.choice(makers)()


@pytest.mark.parametrize("seed", range(15))
async def test_no_frames_whatever_make_the_broker_fail(broker, seed):
    failures = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
    nonsense = Nonsense(seed)
    broker.queue(Q).send([decode_message(message()) for _ in range(5)])
    async with ready(broker) as peer:
        for _ in range(20):
            for frame in [*[nonsense.attach() for _ in range(3)], *[nonsense.frame() for _ in range(6)]]:
                peer.send(frame, message() if isinstance(frame, Transfer) else b"")
            peer.send(End())
            peer.send(Begin(None, Uint(0), Uint(100), Uint(100)))
        peer.send(Close())
        await peer.read_until(Close)

    assert failures == []


async def test_a_client_says_goodbye_and_is_answered(broker):
    async with ready(broker) as peer:
        await peer.attach(Q, SENDER)
        peer.send(Detach(Uint(0), closed=True))
        assert (await peer.read_until(Detach)).closed is True
        peer.send(End())
        assert (await peer.read_until(End)).error is None
        peer.send(Flow(None, Uint(1), Uint(1), Uint(1)))
        peer.send(Close())
        assert (await peer.read_until(Close)).error is None
        assert await peer.reader.read() == b""


async def test_the_broker_sends_heartbeats_to_a_client_that_wants_them(broker):
    async with ready(broker, idle_time_out=Uint(40)) as peer:
        await peer.nothing_of(Transfer, seconds=0.15)

    assert peer.heartbeats >= 3


async def test_a_silent_client_is_hung_up_on_and_one_with_heartbeats_is_not():
    impatient = Broker({Q: QueueProperties()}, limits=Limits(idle_timeout=0.05))
    async with impatient as broker, connected(broker) as silent, connected(broker) as alive:
        await silent.open()
        await alive.open()
        for _ in range(8):
            alive.writer.write(EMPTY_FRAME)
            await asyncio.sleep(0.02)
        assert "nothing was received for 0.1 s" in (await silent.read_until(Close)).error.value[1]
        await alive.begin()


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


@pytest.mark.parametrize(
    ("address", "fields", "condition"),
    [
        ("nowhere", {}, "amqp:unauthorized-access"),
        (None, {}, "com.microsoft:argument-error"),
        (Q, {"source": Described(Ulong(0x30), [])}, "amqp:not-implemented"),
        (Q, {"source": None}, "amqp:not-implemented"),
        (
            Q,
            {"source": Described(Ulong(0x28), [Q, *[None] * 6, {Symbol("com.microsoft:session-filter"): None}])},
            "amqp:not-allowed",
        ),
    ],
)
async def test_a_link_that_cannot_be_is_attached_and_detached_with_a_reason(broker, address, fields, condition):
    async with ready(broker) as peer:
        answer = await peer.attach(address, RECEIVER, **fields)
        detach = await peer.read_until(Detach)
        peer.credit(1)
        peer.send(Detach(Uint(0), closed=True))
        await peer.attach(Q, RECEIVER)

    assert (detach.closed, detach.error.value[0]) == (True, condition)
    assert (answer.source, len(detach.error.value)) == (None, 3)
    assert answer.target is not None


@pytest.mark.parametrize(
    ("target", "condition"),
    [
        (Described(Ulong(0x29), ["nowhere"]), "amqp:unauthorized-access"),
        (Described(Ulong(0x30), []), "amqp:not-implemented"),  # a transaction coordinator
    ],
)
async def test_a_link_to_send_on_that_cannot_be_lacks_the_brokers_end_too_and_says_why_in_the_same_write(
    broker, target, condition
):
    async with ready(broker) as peer:
        answer = await peer.attach(Q, SENDER, target=target)
        detach, _ = await peer.read()

    assert (answer.target, answer.source is None) == (None, False)
    assert detach.error.value[0] == condition


async def test_a_size_is_named_to_those_who_send_and_to_nobody_else(broker):
    async with ready(broker) as peer:
        assert (await peer.attach(Q, SENDER, 0)).max_message_size == 262_144
        assert (await peer.attach(Q, RECEIVER, 1)).max_message_size is None


async def test_without_a_token_there_is_no_access(broker):
    async with connected(broker) as peer:
        await peer.open()
        await peer.begin()
        for handle, address in enumerate([Q, f"{Q}/$management"]):
            await peer.attach(address, RECEIVER, handle)
            assert (await peer.read_until(Detach)).error.value[0] == "amqp:unauthorized-access"


async def test_early_transfers_on_a_refused_link_are_ignored(broker):
    async with ready(broker) as peer:
        source, target = Described(Ulong(0x28), ["x"]), Described(Ulong(0x29), ["x"])
        peer.send(Attach("early", Uint(0), SENDER, source=source, target=target))
        peer.transfer(message())
        assert await peer.read_until(Detach)
        await peer.attach(Q, SENDER, 1)


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


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("SharedAccessSignature sr=x", "MalformedToken"),
        ("SharedAccessSignature sr=x&sig=y&se=1&skn=nobody", "InvalidSignature"),
        (7, "must be a string"),
    ],
)
async def test_a_bad_token_is_refused_with_a_reason(broker, token, text):
    async with ready(broker) as peer:
        status, _ = await peer.ask("$cbs", {"operation": "put-token", "name": f"sb://host/{Q}"}, token)

    assert status["status-code"] in (400, 401)
    assert text in status["status-description"]


async def test_a_token_for_one_path_opens_no_other(broker):
    async with connected(broker) as peer:
        await peer.open()
        await peer.begin()
        await peer.authorize(path=f"{Q}/$DeadLetterQueue")
        await peer.attach(Q, RECEIVER, 0)
        assert (await peer.read_until(Detach)).error.value[0] == "amqp:unauthorized-access"
        await peer.attach(f"{Q}/$DeadLetterQueue", RECEIVER, 1)
        await peer.nothing_of(Detach)


@pytest.mark.parametrize("path", ["nowhere", "nowhere/$management", "topic/Subscriptions/mine"])
async def test_a_token_for_what_does_not_exist_is_refused_as_the_service_does(broker, path):
    async with connected(broker) as peer:
        await peer.open()
        await peer.begin()
        status, _ = await peer.authorize(path=path)

    assert status["status-code"] == 404
    assert "could not be found" in status["status-description"]


async def test_a_token_for_the_namespace_covers_its_queues_and_those_that_do_not_exist_are_not_found(broker):
    async with connected(broker) as peer:
        await peer.open()
        await peer.begin()
        status, _ = await peer.authorize(path="")
        await peer.attach(Q, RECEIVER, 0)
        await peer.attach("nowhere", RECEIVER, 1)
        detach = await peer.read_until(Detach)

    assert status["status-code"] == 202
    assert (detach.handle, detach.error.value[0]) == (1, "amqp:not-found")


async def test_a_token_for_a_queues_management_node_is_enough_to_use_it_and_for_nothing_else(broker):
    async with connected(broker) as peer:
        await peer.open()
        await peer.begin()
        await peer.authorize(path=f"{Q}/$management")
        peeked, _ = await peer.manage("peek-message", {"from-sequence-number": 0, "message-count": 1})
        cancelled, _ = await peer.manage("cancel-scheduled-message", {"sequence-numbers": Array([5])})
        await peer.attach(Q, RECEIVER, 0)
        detach = await peer.read_until(Detach)

    assert (peeked["statusCode"], cancelled["statusCode"]) == (204, 404)
    assert detach.error.value[0] == "amqp:unauthorized-access"


async def test_cbs_takes_tokens_and_nothing_else(broker):
    async with ready(broker) as peer:
        status, _ = await peer.ask("$cbs", {"operation": "delete-token", "name": f"sb://host/{Q}"}, "token")

    assert status["status-code"] == 501


@pytest.mark.parametrize(
    ("operation", "body", "code", "text"),
    [
        ("no-such-thing", {}, 501, "it has peek-message"),
        ("renew-session-lock", {}, 400, "has no sessions"),
        ("add-rule", {}, 400, "has no rules"),
        ("peek-message", "body", 400, "must be a map"),
        ("peek-message", {"from-sequence-number": 1}, 400, "message-count is missing"),
        ("renew-lock", {"lock-tokens": Array([])}, 400, "at least one UUID"),
        ("renew-lock", {"lock-tokens": Array([uuid4()])}, 410, "lock supplied is invalid"),
        ("update-disposition", {"disposition-status": "lost", "lock-tokens": Array([uuid4()])}, 400, "must be one of"),
        ("cancel-scheduled-message", {"sequence-numbers": Array([5])}, 404, "not all of these"),
        ("schedule-message", {"messages": [{"message": b"garbage"}]}, 400, "no AMQP message"),
        ("schedule-message", {"messages": ["garbage"]}, 400, "message is missing"),
        ("peek-message", {"from-sequence-number": 0, "message-count": 1}, 204, "No messages"),
    ],
)
async def test_a_request_that_cannot_be_done_is_answered_with_code_and_text(broker, operation, body, code, text):
    async with ready(broker) as peer:
        status, _ = await peer.manage(operation, body)

    assert status["statusCode"] == code
    assert text in status["statusDescription"]
    assert type(status["errorCondition"]) is Symbol


SCALARS = st.none() | st.booleans() | st.integers(0, 9).map(Uint) | st.text(max_size=3) | st.binary(max_size=3)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(
        [
            "peek-message",
            "renew-lock",
            "receive-by-sequence-number",
            "update-disposition",
            "schedule-message",
            "cancel-scheduled-message",
        ]
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "from-sequence-number": st.integers(-5, 5) | VALUES,
            "message-count": st.integers(-5, 5) | VALUES,
            "lock-tokens": st.lists(st.uuids() | VALUES, max_size=2),
            "sequence-numbers": st.lists(st.integers(-5, 5) | VALUES, max_size=2),
            "receiver-settle-mode": st.integers(0, 2) | VALUES,
            "disposition-status": st.sampled_from(["completed", "suspended", "abandoned", "defered"]) | VALUES,
            "properties-to-modify": VALUES,
            "deadletter-reason": VALUES,
            "messages": st.lists(st.fixed_dictionaries({"message": st.binary(max_size=9)}) | VALUES, max_size=2),
        },
    ),
)
def test_every_request_is_answered(operation, body):
    async def attempt():
        async with Broker({Q: QueueProperties()}) as broker, ready(broker) as peer:
            queue = broker.queue(Q)
            queue.send([decode_message(message()) for _ in range(3)])
            queue.defer(locked(queue))
            token = {"lock-tokens": [locked(queue)]} if operation == "update-disposition" else {}
            status, _ = await peer.manage(operation, body | token)
            assert status["statusCode"] in (200, 204, 400, 404, 410)
            assert len(queue) + queue.dead_lettered >= 2

    asyncio.run(attempt())


async def test_a_key_without_the_claim_may_attach_to_management_but_not_use_it():
    keys = [AccessKey("listener", "key", frozenset({LISTEN}))]
    async with Broker({Q: QueueProperties()}, keys=keys) as broker, connected(broker) as peer:
        await peer.open()
        await peer.begin()
        await peer.authorize("listener", "key")
        allowed, _ = await peer.manage("peek-message", {"from-sequence-number": 0, "message-count": 1})
        refused, _ = await peer.manage("schedule-message", {"messages": []})

    assert (allowed["statusCode"], refused["statusCode"]) == (204, 401)
    assert "'Send' claim" in refused["statusDescription"]


async def test_a_peek_stops_before_its_answer_is_larger_than_a_message_may_be(broker):
    broker.queue(Q).send([decode_message(message(b"x" * 100_000)) for _ in range(5)])
    async with connected(broker) as peer:
        await peer.open(max_frame_size=Uint(2**20))
        await peer.begin()
        await peer.authorize()
        body = {"from-sequence-number": 0, "message-count": 5}
        await peer.attach(f"{Q}/$management", RECEIVER, 0)
        await peer.attach(f"{Q}/$management", SENDER, 1)
        peer.credit(1)
        sections = (Described(Ulong(0x74), {"operation": "com.microsoft:peek-message"}), Described(Ulong(0x77), body))
        peer.transfer(b"".join(map(encode, sections)), 1)
        parts = [await peer.expect(Transfer)]
        while parts[-1][0].more:
            parts.append(await peer.expect(Transfer))
    reply = decode_message(b"".join(payload for _, payload in parts))

    assert len(reply.value["messages"]) == 2


@pytest.mark.parametrize("size", [100, 900, 1024])
async def test_a_reply_to_a_peek_is_never_larger_than_a_message_may_be_envelopes_included(broker, size):
    """.NET closes the link on which a larger one comes."""
    broker.queue(Q).send([decode_message(message(b"x" * size)) for _ in range(250)])
    async with ready(broker) as peer:
        await peer.attach(f"{Q}/$management", RECEIVER, 0)
        await peer.attach(f"{Q}/$management", SENDER, 1)
        peer.credit(1)
        body = {"from-sequence-number": 0, "message-count": 250}
        sections = (Described(Ulong(0x74), {"operation": "com.microsoft:peek-message"}), Described(Ulong(0x77), body))
        peer.transfer(b"".join(map(encode, sections)), 1)
        parts = [await peer.expect(Transfer)]
        while parts[-1][0].more:
            parts.append(await peer.expect(Transfer))
    content = b"".join(payload for _, payload in parts)

    assert len(content) <= 262_144
    # As many as fit.
    assert len(decode_message(content).value["messages"]) == 250 or len(content) > 262_144 - 4000


async def test_a_request_without_a_link_to_answer_on_is_rejected(broker):
    async with ready(broker) as peer:
        await peer.attach(f"{Q}/$management", SENDER)
        peer.transfer(message())
        assert "no link to answer on" in (await peer.expect(Disposition)).state.value[0].value[1]
        peer.transfer(b"garbage")
        assert "no AMQP message" in (await peer.expect(Disposition)).state.value[0].value[1]


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
