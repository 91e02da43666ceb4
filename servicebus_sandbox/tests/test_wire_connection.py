"""Connections frame by frame, as other clients than azure-servicebus and broken ones would make them."""

import asyncio
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servicebus_sandbox import LISTEN, AccessKey, Broker, Limits, QueueProperties
from servicebus_sandbox.amqp import Described, Symbol, Ubyte, Uint, Ulong
from servicebus_sandbox.frames import (
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
)
from servicebus_sandbox.messages import decode_message
from servicebus_sandbox.tests.peer import Q, connected, message, ready


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
