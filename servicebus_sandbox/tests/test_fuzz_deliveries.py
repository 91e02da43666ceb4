"""Whatever a client says of the messages it holds is answered, and no message is lost by it."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from servicebus_sandbox import Broker, Limits, QueueProperties
from servicebus_sandbox.amqp import Array, Described, Int, Symbol, Timestamp, Ubyte, Uint, Ulong
from servicebus_sandbox.encode import encode
from servicebus_sandbox.frames import (
    ACCEPTED,
    RECEIVER,
    SENDER,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Transfer,
)
from servicebus_sandbox.messages import decode_message
from servicebus_sandbox.sections import BATCH_FORMAT
from servicebus_sandbox.tests.peer import Q, message, ready

HELD = 4
RECEIVED = 0x23

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 3).map(Uint),
    st.integers(-5, 5).map(Int),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.uuids(),
    st.sampled_from(["DeadLetterReason", "com.microsoft:dead-letter", "x"]).map(Symbol),
    st.sampled_from([-(2**63), 0, 2**63 - 1]).map(Timestamp),
    st.just(Array([Int(1), Int(2)])),
)
keys = st.sampled_from(["DeadLetterReason", "DeadLetterErrorDescription", "mine"]).map(Symbol) | st.text(max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(keys, inner, max_size=3),
        st.builds(Described, st.sampled_from([0x1D, 0x23, 0x24, 0x25]).map(Ulong) | scalars, inner),
    ),
    max_leaves=8,
)
errors = st.builds(Described, st.just(Ulong(0x1D)), st.lists(values, max_size=4))
outcomes = st.one_of(
    st.builds(Described, st.integers(0x22, 0x2A).map(Ulong), st.lists(errors | values, max_size=4)),
    st.builds(Described, scalars, values),
)


def attempt(play):
    """Run a play with a client that holds messages; nothing may fail inside the broker."""

    async def run():
        failures = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
        async with Broker({Q: QueueProperties()}, limits=Limits(odd_types=True)) as broker:
            queue = broker.queue(Q)
            queue.send([decode_message(message()) for _ in range(HELD)])
            async with ready(broker) as peer:
                await peer.attach(Q, RECEIVER)
                peer.credit(HELD)
                held = [(await peer.expect(Transfer))[0].delivery_id for _ in range(HELD)]
                await play(broker, peer, held)
            # Another client finds the broker as it was.
            async with ready(broker) as other:
                await other.attach(Q, SENDER)
                other.transfer(message())
                assert (await other.expect(Disposition)).state == ACCEPTED
        assert failures == []

    asyncio.run(run())


@settings(max_examples=50, deadline=None)
@given(st.lists(outcomes, min_size=HELD, max_size=HELD))
def test_whatever_is_said_of_a_held_message_is_answered_and_only_acceptance_ends_it(states):
    async def play(broker, peer, held):
        accepted = 0
        for delivery_id, state in zip(held, states, strict=True):
            peer.send(Disposition(RECEIVER, delivery_id, state=state))
            if state.descriptor == RECEIVED:
                continue
            answer = await peer.expect(Disposition)
            assert (answer.first, answer.settled) == (delivery_id, True)
            accepted += state.descriptor == ACCEPTED.descriptor
        queue = broker.queue(Q)
        assert len(queue) + queue.dead_lettered == HELD - accepted

    attempt(play)


def frame(kind, **fields):
    """Make frames of a kind. (`builds` would fill in the fields that are not named.)"""
    return st.fixed_dictionaries(fields).map(lambda given: kind(**given))


numbers = st.integers(0, 5).map(Uint) | st.just(Uint(2**32 - 1))
flags = st.booleans() | st.none()
windows = {"incoming_window": numbers, "next_outgoing_id": numbers, "outgoing_window": numbers, "echo": flags}
frames = st.one_of(
    frame(Disposition, role=st.booleans(), first=numbers, last=numbers, settled=flags, state=outcomes),
    frame(
        Flow,
        next_incoming_id=numbers,
        handle=st.integers(0, 1).map(Uint),
        delivery_count=numbers,
        link_credit=numbers,
        drain=flags,
        **windows,
    ),
    frame(Flow, next_incoming_id=st.none(), **windows),
    frame(
        Transfer,
        handle=st.integers(0, 2).map(Uint),
        delivery_id=numbers,
        delivery_tag=st.binary(max_size=40),
        message_format=st.sampled_from([Uint(0), Uint(BATCH_FORMAT), None]),
        settled=flags,
        more=flags,
        aborted=flags,
        state=outcomes,
    ),
    frame(Detach, handle=st.integers(0, 2).map(Uint), closed=flags, error=st.none() | errors),
)
contents = st.one_of(
    st.binary(max_size=20),
    st.just(message()),
    st.builds(
        lambda code, value: encode(Described(Ulong(code), value)) + message(),
        st.integers(0x70, 0x79),
        values | st.lists(values, max_size=14),
    ),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(frames, contents), max_size=12), st.sampled_from([None, Ubyte(0), Ubyte(1), Ubyte(2)]))
def test_whatever_frames_come_while_messages_are_held_the_session_goes_on_or_ends_with_a_reason(sent, mode):
    async def play(_broker, peer, _held):
        await peer.attach(Q, SENDER, 1, rcv_settle_mode=mode)
        for frame, content in sent:
            peer.send(frame, content if isinstance(frame, Transfer) else b"")
        peer.send(Close())
        ended = []
        while not isinstance(frame := (await peer.read())[0], Close):
            if isinstance(frame, End):
                ended.append(frame)
        assert frame.error is None
        assert all(end.error is not None for end in ended)

    attempt(play)
