"""What a message looks like when it has gone through the broker, and which messages are not let in."""

import re
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from servicebus_sandbox import Broker, Limits, QueueProperties
from servicebus_sandbox.amqp import (
    Array,
    Char,
    DecimalBits,
    Described,
    Int,
    Long,
    Symbol,
    Timestamp,
    Ubyte,
    Uint,
    Ulong,
)
from servicebus_sandbox.decode import decode_at, map_entries
from servicebus_sandbox.encode import encode
from servicebus_sandbox.frames import ACCEPTED, RECEIVER, SENDER, Disposition, Transfer
from servicebus_sandbox.messages import decode_message
from servicebus_sandbox.sections import BATCH_FORMAT, data_sections
from servicebus_sandbox.tests.peer import Q, ready

HEADER, DELIVERY_ANNOTATIONS, ANNOTATIONS, PROPERTIES, APPLICATION_PROPERTIES, DATA = range(0x70, 0x76)
VALUE = 0x77
STANDARD_LIMIT = 262_144
#: Bytes that a data section has before its content, when that is longer than 255.
DATA_HEAD = 8
QUEUES = {
    Q: QueueProperties(),
    "forwarding": QueueProperties(
        forward_dead_lettered_messages_to=Q, default_message_time_to_live=timedelta(seconds=3)
    ),
}


@pytest.fixture
async def broker():
    async with Broker(QUEUES) as broker:
        yield broker


def section(code, content):
    return encode(Described(Ulong(code), content))


def properties(**fields):
    names = ["message_id", "user_id", "to", "subject", "reply_to", "correlation_id", "content_type", "content_encoding"]
    names += ["absolute_expiry_time", "creation_time", "group_id", "group_sequence", "reply_to_group_id"]
    return section(PROPERTIES, [fields.get(name) for name in names])


def data(content=b"x"):
    return section(DATA, content)


def sections_of(content):
    """Read a message as it goes over the wire: each section's value by its code."""
    found, position = {}, 0
    while position < len(content):
        described, position = decode_at(content, position)
        found[int(described.descriptor)] = described.value
    return found


async def send(peer, content, queue=Q, message_format=0):
    """Send on a link of its own; returns the condition of the refusal, None when it is accepted."""
    handle = peer.handles = getattr(peer, "handles", 20) + 1
    await peer.attach(queue, SENDER, handle)
    parts = [content[start : start + 60_000] for start in range(0, len(content), 60_000)]
    for number, part in enumerate(parts):
        more = number + 1 < len(parts)
        peer.send(Transfer(Uint(handle), Uint(peer.next_id), b"tag", Uint(message_format), more=more), part)
    peer.next_id += 1
    state = (await peer.expect(Disposition)).state
    return None if state == ACCEPTED else state.value[0].value[0]


async def receive(peer, queue=Q, **fields):
    """Receive one message on a link of its own; returns its bytes as they go over the wire."""
    handle = peer.handles = getattr(peer, "handles", 20) + 1
    await peer.attach(queue, RECEIVER, handle, **fields)
    peer.credit(1, handle)
    transfer, content = await peer.expect(Transfer)
    while transfer.more:
        transfer, part = await peer.expect(Transfer)
        content += part
    return content


async def through(broker, content, **fields):
    """Send a message and receive it again; returns its sections."""
    async with ready(broker) as peer:
        assert await send(peer, content) is None
        return sections_of(await receive(peer, **fields))


@asynccontextmanager
async def allowing(**limits):
    async with Broker(QUEUES, limits=Limits(**limits)) as broker, ready(broker) as peer:
        yield peer


async def test_a_message_without_an_id_gets_one_of_32_hexadecimal_digits_and_keeps_its_other_properties(broker):
    for sent in (data(), properties(subject="s", content_type=Symbol("text/plain")) + data()):
        message_id, *others = (await through(broker, sent))[PROPERTIES]

        assert re.fullmatch("[0-9a-f]{32}", message_id)
        assert [type(other) for other in others if other] in ([], [str, Symbol])


@pytest.mark.parametrize("message_id", ["", "text", UUID(int=5), b"\x01\xff", Ulong(2**64 - 1)])
async def test_an_id_of_any_type_is_kept_with_its_type(broker, message_id):
    received = (await through(broker, properties(message_id=message_id) + data()))[PROPERTIES][0]

    assert (type(received), received) == (type(message_id), message_id)


@pytest.mark.parametrize(
    "body",
    [
        Described(Symbol("com.microsoft:uri"), "https://example.org"),
        Described(Symbol("com.microsoft:timespan"), Long(36_000_000_000)),
        Described(Ulong(7), [1, Described(Ulong(8), {"a": None})]),
        Described(Ulong(1), Described(Ulong(2), "twice")),
        DecimalBits(bytes(range(16))),
        Char("é"),
        Array([Int(1), Int(2)]),
        {"a": [1, 2, {"b": b"c"}]},
        None,
        "x" * 70_000,
    ],
)
async def test_a_body_that_is_a_value_arrives_byte_for_byte(broker, body):
    async with ready(broker) as peer:
        assert await send(peer, section(VALUE, body)) is None
        content = await receive(peer)

    assert content.endswith(section(VALUE, body))


async def test_application_properties_and_annotations_arrive_byte_for_byte_with_their_types(broker):
    given = {
        "ulong": Ulong(2**64 - 1),
        "uuid": UUID(int=7),
        "time": Timestamp(1),
        "uri": Described(Symbol("com.microsoft:uri"), "https://example.org"),
        "decimal": DecimalBits(bytes(range(16))),
        "null": None,
        "binary": b"\x00\xff",
    }
    sent = section(ANNOTATIONS, {Symbol("x-mine"): Ubyte(3)}) + section(APPLICATION_PROPERTIES, given) + data()
    async with ready(broker) as peer:
        assert await send(peer, sent) is None
        content = await receive(peer)

    assert section(APPLICATION_PROPERTIES, given) in content
    assert sections_of(content)[ANNOTATIONS]["x-mine"] == Ubyte(3)


async def test_delivery_annotations_come_back_all_but_an_old_lock_token(broker):
    sent = section(DELIVERY_ANNOTATIONS, {Symbol("hop"): "one", Symbol("x-opt-lock-token"): uuid4()}) + data()
    locked = (await through(broker, sent))[DELIVERY_ANNOTATIONS]
    async with ready(broker) as peer:
        assert await send(peer, sent) is None
        taken = sections_of(await receive(peer, snd_settle_mode=Ubyte(1)))[DELIVERY_ANNOTATIONS]

    assert (locked.keys(), locked["hop"]) == ({"hop", "x-opt-lock-token"}, "one")
    assert taken == {"hop": "one"}


async def test_a_message_that_was_not_forwarded_has_no_enqueue_sequence_number_and_an_active_one_no_state(broker):
    annotations = (await through(broker, data()))[ANNOTATIONS]

    assert annotations.keys() == {"x-opt-enqueued-time", "x-opt-locked-until", "x-opt-sequence-number"}


@pytest.mark.parametrize(("mode", "length"), [(0, 16), (1, 0)], ids=["peek-lock", "receive-and-delete"])
async def test_the_tag_of_a_delivery_is_the_token_of_its_lock(broker, mode, length):
    async with ready(broker) as peer:
        assert await send(peer, data()) is None
        await peer.attach(Q, RECEIVER, 1, snd_settle_mode=Ubyte(mode))
        peer.credit(1, 1)
        transfer, content = await peer.expect(Transfer)
    token = sections_of(content)[DELIVERY_ANNOTATIONS].get("x-opt-lock-token")

    assert len(transfer.delivery_tag) == length
    assert transfer.delivery_tag == (token.bytes_le if token else b"")
    assert bool(transfer.settled) is (length == 0)


# Time to live: header, then expiry and creation.


async def test_a_message_without_a_time_to_live_gets_none(broker):
    sections = await through(broker, data())

    assert [type(field) for field in sections[HEADER]] == [type(None)] * 4 + [Uint]
    assert len(sections[PROPERTIES]) == 1


async def test_a_time_to_live_that_the_queue_allows_is_left_as_it_is(broker):
    times = {"absolute_expiry_time": Timestamp(70_000), "creation_time": Timestamp(10_000)}
    sent = section(HEADER, [None, None, Uint(60_000)]) + properties(message_id="m", **times) + data()
    async with ready(broker) as peer:
        assert await send(peer, sent) is None
        content = await receive(peer)

    assert properties(message_id="m", **times) in content
    assert sections_of(content)[HEADER][2] == 60_000


async def test_a_longer_time_to_live_than_the_queues_is_cut_in_the_header_and_in_the_expiry(broker):
    times = {"absolute_expiry_time": Timestamp(3_610_000), "creation_time": Timestamp(10_000)}
    sent = section(HEADER, [None, None, Uint(3_600_000)]) + properties(message_id="m", **times) + data()
    async with ready(broker) as peer:
        await peer.authorize(path="forwarding")
        assert await send(peer, sent, "forwarding") is None
        sections = sections_of(await receive(peer, "forwarding"))

    assert sections[HEADER][2] == 3_000
    assert sections[PROPERTIES][8:10] == [13_000, 10_000]


@pytest.mark.parametrize("created", [None, Timestamp(2**63 - 1)])
async def test_an_expiry_is_cut_whatever_the_creation_time(broker, created):
    sent = section(HEADER, [None, None, Uint(3_600_000)]) + data()
    times = {"absolute_expiry_time": Timestamp(2**62), "creation_time": created}
    async with ready(broker) as peer:
        await peer.authorize(path="forwarding")
        assert await send(peer, sent + properties(**times), "forwarding") is None
        sections = sections_of(await receive(peer, "forwarding"))

    assert sections[HEADER][2] == 3_000
    assert type(sections[PROPERTIES][8]) is Timestamp


@pytest.mark.parametrize(
    ("ttl", "times", "shown"),
    [
        (Uint(60_000), {"absolute_expiry_time": Timestamp(99_000), "creation_time": Timestamp(10_000)}, 70_000),
        (Uint(60_000), {"absolute_expiry_time": Timestamp(99_000)}, 1_700_000_060_000),
        (None, {"absolute_expiry_time": Timestamp(99_000), "creation_time": Timestamp(10_000)}, None),
    ],
    ids=["another", "without a creation", "without a time to live"],
)
async def test_an_expiry_that_the_time_to_live_does_not_say_is_ignored_and_the_one_that_holds_is_shown(
    ttl, times, shown
):
    async with Broker(QUEUES, clock=lambda: 1_700_000_000.0) as broker:
        sent = section(HEADER, [None, None, ttl]) + properties(message_id="m", **times) + data()
        sections = await through(broker, sent)

    assert sections[HEADER][2] == ttl
    assert sections[PROPERTIES][0] == "m"
    assert sections[PROPERTIES][8] == shown


async def test_a_forwarded_dead_letter_has_no_time_to_live_any_more(broker):
    times = {"absolute_expiry_time": Timestamp(70_000), "creation_time": Timestamp(10_000)}
    sent = section(HEADER, [None, None, Uint(60_000)]) + properties(message_id="m", **times) + data()
    queue = broker.queue("forwarding")
    queue.send([decode_message(sent)])
    queue.dead_letter(queue.lock_next().lock_token)
    async with ready(broker) as peer:
        sections = sections_of(await receive(peer))

    assert sections[HEADER][2] is None
    assert sections[PROPERTIES][8:10] == [None, 10_000]
    assert sections[ANNOTATIONS]["x-opt-enqueue-sequence-number"] == 1


async def test_a_time_to_live_that_the_header_cannot_hold_is_that_of_the_two_times():
    now = 1_700_000_000.0
    sixty_days = 60 * 86_400_000
    async with Broker(QUEUES, clock=lambda: now) as broker:
        times = {"absolute_expiry_time": Timestamp(10_000 + sixty_days), "creation_time": Timestamp(10_000)}
        sent = section(HEADER, [None, None, Uint(2**32 - 1)]) + properties(message_id="m", **times) + data()
        async with ready(broker) as peer:
            assert await send(peer, sent) is None
            now += 59 * 86_400
            broker.clock_moved()
            content = await receive(peer)

        assert sections_of(content)[HEADER][2] == 2**32 - 1
        assert properties(message_id="m", **times) in content
        broker.queue(Q).release(sections_of(content)[DELIVERY_ANNOTATIONS]["x-opt-lock-token"])
        now += 2 * 86_400
        assert broker.queue(Q).peek(0, 1) == []


# Sizes.


@pytest.mark.parametrize(
    ("size", "condition"), [(STANDARD_LIMIT, None), (STANDARD_LIMIT + 1, "amqp:link:message-size-exceeded")]
)
async def test_a_message_may_have_256_kb_to_the_last_byte_as_it_is_transferred(broker, size, condition):
    content = data(b"x" * (size - DATA_HEAD))
    assert len(content) == size
    async with ready(broker) as peer:
        assert await send(peer, content) == condition
        if condition is None:
            assert len(await receive(peer)) > STANDARD_LIMIT


@pytest.mark.parametrize(
    ("size", "condition"), [(STANDARD_LIMIT, None), (STANDARD_LIMIT + 1, "amqp:link:message-size-exceeded")]
)
async def test_a_batch_may_have_256_kb_to_the_last_byte_too(broker, size, condition):
    first = data(data(b"x" * 100_000))
    content = first + data(data(b"y" * (size - len(first) - 2 * DATA_HEAD)))
    assert len(content) == size
    async with ready(broker) as peer:
        assert await send(peer, content, message_format=BATCH_FORMAT) == condition

    assert len(broker.queue(Q)) == (2 if condition is None else 0)


async def test_one_property_may_have_32_kb_to_the_last_byte_and_a_larger_one_is_refused_as_something_that_may_heal(
    broker,
):
    # A key of one character is three bytes, the head of a long text five.
    fits = "x" * (32_768 - 3 - 5)
    async with ready(broker) as peer:
        assert await send(peer, section(APPLICATION_PROPERTIES, {"a": fits}) + data()) is None
        large = section(APPLICATION_PROPERTIES, {"a": fits + "x"}) + data()
        assert await send(peer, large) == "amqp:internal-error"


@pytest.mark.parametrize("kind", ["properties", "annotations"])
async def test_a_message_may_have_64_kb_without_its_body_to_the_last_byte(broker, kind):
    def sized(size):
        header = section(HEADER, [None, None, Uint(60_000)])
        if kind == "annotations":
            rest = section(ANNOTATIONS, {Symbol("mine"): "x" * 60_000})
            return header + rest + section(APPLICATION_PROPERTIES, {"a": "x" * (size - len(header) - len(rest) - 20)})
        rest = section(APPLICATION_PROPERTIES, {"a": "x" * 30_000, "b": "x" * 30_000, "c": ""})
        return header + rest + properties(subject="x" * (size - len(header) - len(rest) - 29))

    fits = sized(65_536)
    assert len(fits) == 65_536
    async with ready(broker) as peer:
        assert await send(peer, fits + data(b"x" * 100_000)) is None
        assert await send(peer, sized(65_537) + data()) == "amqp:link:message-size-exceeded"


@pytest.mark.parametrize("name", ["message_id", "group_id", "reply_to_group_id"])
async def test_ids_have_at_most_128_characters(broker, name):
    async with ready(broker) as peer:
        assert await send(peer, properties(**{name: "é" * 128}) + data()) is None
        assert await send(peer, properties(**{name: "x" * 129}) + data()) == "com.microsoft:argument-error"


# Types.

ODD = [
    section(APPLICATION_PROPERTIES, {"map": {"a": 1}}),
    section(APPLICATION_PROPERTIES, {"list": [1]}),
    section(APPLICATION_PROPERTIES, {"array": Array([Int(1)])}),
    properties(content_type="application/json"),  # a string, no symbol
    properties(subject=Symbol("subject")),
    properties(user_id="me"),
    properties(correlation_id=Int(5)),
    properties(group_sequence=Int(5)),
]
#: Not even the switch lets these in: the broker itself reads the header.
ODD_HEADERS = [["yes"], [None, Uint(4)], [None, None, 60_000], [None, None, None, Uint(1)], [*[None] * 4, Int(1)]]


@pytest.mark.parametrize("odd", ODD)
async def test_what_amqp_forbids_is_refused_unless_a_switch_lets_it_in(broker, odd):
    async with ready(broker) as peer:
        assert await send(peer, odd + data()) == "com.microsoft:argument-error"
        assert await send(peer, data()) is None
    async with allowing(odd_types=True) as peer:
        assert await send(peer, odd + data()) is None
        assert odd[3:] in await receive(peer) or sections_of(odd).keys() == {PROPERTIES}


@pytest.mark.parametrize("header", ODD_HEADERS)
async def test_a_header_with_a_field_of_a_wrong_type_is_refused(broker, header):
    async with ready(broker) as peer:
        assert await send(peer, section(HEADER, header) + data()) == "com.microsoft:argument-error"
        assert await send(peer, section(HEADER, [True, Ubyte(4), Uint(9), False, Uint(0)]) + data()) is None


async def test_a_batch_with_one_odd_message_is_refused_whole(broker):
    async with ready(broker) as peer:
        batch = data(data()) + data(ODD[0] + data())
        assert await send(peer, batch, message_format=BATCH_FORMAT) == "com.microsoft:argument-error"

    assert len(broker.queue(Q)) == 0


async def test_more_properties_than_there_are_is_refused(broker):
    async with ready(broker) as peer:
        assert await send(peer, section(PROPERTIES, [None] * 14) + data()) == "com.microsoft:argument-error"


async def test_a_scheduled_message_keeps_to_the_same_rules(broker):
    async with ready(broker) as peer:
        for odd, condition in [
            (ODD[0], "com.microsoft:argument-error"),
            (section(APPLICATION_PROPERTIES, {"a": "x" * 33_000}), "amqp:internal-error"),
        ]:
            status, _ = await peer.manage("schedule-message", {"messages": [{"message": odd + data()}]})
            assert status["errorCondition"] == condition
        status, _ = await peer.manage("schedule-message", {"messages": [{"message": data()}]})

    assert status["statusCode"] == 200
    assert re.fullmatch("[0-9a-f]{32}", broker.queue(Q).messages()[0].message.message_id)


async def test_what_a_queue_is_filled_with_from_inside_looks_the_same_on_the_wire(broker):
    """Tests fill queues past the wire."""
    message = decode_message(properties(message_id="m", group_sequence=Uint(3)) + data(b"y"))
    broker.queue(Q).send([message, replace(message, message_id="n")])
    async with ready(broker) as peer:
        content = await receive(peer)

    assert list(data_sections(content)) == [b"y"]
    assert next(map_entries(encode(sections_of(content)[ANNOTATIONS])))[0].startswith("x-opt-")
