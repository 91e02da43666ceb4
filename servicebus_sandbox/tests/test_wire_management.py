"""What is asked of `$management`, frame by frame: every request is answered."""

import asyncio
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servicebus_sandbox import Broker, QueueProperties
from servicebus_sandbox.amqp import Array, Described, Symbol, Uint, Ulong
from servicebus_sandbox.encode import encode
from servicebus_sandbox.frames import (
    RECEIVER,
    SENDER,
    Disposition,
    Transfer,
)
from servicebus_sandbox.messages import decode_message
from servicebus_sandbox.tests.peer import Q, connected, locked, message, ready


@pytest.fixture
async def broker():
    async with Broker({Q: QueueProperties()}) as broker:
        yield broker


SCALARS = st.none() | st.booleans() | st.integers(0, 9).map(Uint) | st.text(max_size=3) | st.binary(max_size=3)


VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


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
