"""Messages that other clients put into the queue: each is shown, none hides or holds up its neighbours."""

import json
import uuid

import pytest

from servicebus_sandbox.amqp import Symbol, Timestamp, Ulong
from servicebus_sandbox.encode import encode
from servicebus_sandbox.messages import Message
from servicebus_sandbox.sections import Entries
from tests.ops.bus import current
from tests.ops.command_line import QUICK

BODY = b"\x00\x53\x75" + encode(current(1, name="odd").body)


def odd(message_id="odd-1", body=BODY, **more):
    """A message as another client may write it."""
    facts = dict(current(1, "MaxDeliveryCountExceeded", name="odd").properties) | more
    return Message(
        message_id=message_id,
        application_entries=Entries(len(facts), b"".join(encode(name) + encode(each) for name, each in facts.items())),
        properties_section=b"\x00\x53\x73" + encode([message_id, None, None, None, None, uuid.UUID(int=7)]),
        body_sections=body,
        size=len(body) + 500,
    )


def value(of):
    return b"\x00\x53\x77" + encode(of)


STRANGE = {
    "uuid as id": odd(uuid.UUID(int=5)),
    "number as id": odd(Ulong(5)),
    "bytes as id": odd(b"\xff\xfe"),
    "text value": odd("a", body=value("text")),
    "bytes value": odd("b", body=value(b"bytes")),
    "null value": odd("c", body=value(None)),
    "map value": odd("d", body=value({"a": 1})),
    "sequence": odd("e", body=b"\x00\x53\x76" + encode([b"a"])),
    "no body": odd("f", body=b""),
    "timestamp": odd("g", since=Timestamp(1_700_000_000_000)),
    "odd properties": odd("h", large=2**40, uuid=uuid.UUID(int=9), binary=b"\xff", symbol=Symbol("s")),
}


async def test_messages_of_any_kind_hide_no_other_and_hold_none_up(bus):
    bus.fill(current(1))
    for strange in STRANGE.values():
        bus.fill(strange)
    bus.fill(current(13))

    summary, listed = await bus("dlq", "summary", "--json"), await bus("dlq", "list", "--json")
    sent = await bus("dlq", "replay", *QUICK, "--json")

    assert (summary.code, sent.code) == (0, 0)
    assert sum(row["count"] for row in summary.json) == len(STRANGE) + 2
    assert [each["sequenceNumber"] for each in listed.json] == list(range(1, len(STRANGE) + 3))
    assert {"e1", "e13"} <= set(bus.names()[0])


@pytest.mark.parametrize("kind", ["uuid as id", "map value", "no body", "odd properties"])
async def test_a_message_of_an_odd_kind_is_shown(bus, kind):
    bus.fill(STRANGE[kind])

    said = await bus("dlq", "show", "1", "--json")

    assert said.code == 0
    assert said.json["sequenceNumber"] == 1


async def test_a_large_number_in_a_property_is_the_same_after_a_replay(bus):
    bus.fill(odd(large=2**40, small=7))

    await bus("dlq", "replay", *QUICK)

    [stored] = bus.opt_ins.messages()
    assert stored.message.application_properties["large"] == 2**40
    assert stored.message.application_properties["small"] == 7


async def test_a_dead_letter_that_a_replay_would_cut_in_two_stays_where_it_is(bus):
    large = json.loads(current(1, name="large").body) | {"padding": "x" * (255 * 1024)}
    bus.fill(current(1, name="large", body=large), current(2))

    said = await bus("dlq", "replay", *QUICK, "--json")

    assert said.json["verdicts"]["never"] == 1
    assert bus.names() == (["e2"], ["large"])
