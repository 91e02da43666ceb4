"""Messages that other clients put into the queue: each is shown, none hides or holds up its neighbours."""

import json
import uuid
from dataclasses import replace

import pytest
from azure.servicebus import ServiceBusReceivedMessage
from msgspec import structs

from optout_ops.queues.amqp import entries, fields, sections, texts
from optout_ops.queues.decoding import decode_payload
from optout_ops.queues.messages import MessageState
from optout_ops.queues.reading import read_message
from servicebus_sandbox.amqp import Char, DecimalBits, Float, Long, Symbol, Timestamp, Uint, Ulong
from servicebus_sandbox.encode import encode
from servicebus_sandbox.messages import Message
from servicebus_sandbox.sections import Entries
from tests.build import dead_letter
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
    assert [each["sequenceNumber"] for each in listed.json] == list(range(len(STRANGE) + 2, 0, -1))
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


DECIMAL = DecimalBits(bytes.fromhex("3038000000000000000000001425d829"))
"""A decimal128 that azure-servicebus writes and cannot read."""


async def test_a_property_that_the_client_cannot_read_hides_neither_its_message_nor_another(bus):
    bus.fill(current(1), odd("odd", amount=DECIMAL), current(13))

    listed = await bus("dlq", "list", "--json")
    shown = await bus("dlq", "show", "2")
    sent = await bus("dlq", "replay", *QUICK, "--json")
    locked = await bus.locked()

    assert [each["sequenceNumber"] for each in listed.json] == [3, 2, 1]
    assert [each["reason"] for each in listed.json][1] == "MaxDeliveryCountExceeded"
    assert "never: it has properties of types that cannot be written here: 'amount' (decimal128)" in shown.out
    assert (sent.code, sent.json["sent"]) == (0, 2)
    assert [(each.sequence_number, each.delivery_count) for each in bus.dead_letters.messages()] == [(2, 0)]
    assert locked == 0


async def test_a_property_that_the_client_cannot_read_stops_no_replay_from_the_queue_that_it_waits_in(bus):
    bus.bury(1)
    bus.opt_ins.send([odd("waiting", amount=DECIMAL)])

    said = await bus("dlq", "replay", "--yes", "--patience", "0", "--json")

    assert said.json["sent"] == 1


def test_a_message_whose_sizes_are_wrong_is_read_as_the_library_reads_it():
    content = b"\x00\x53\x73\xc0\xff\x01\xa1\x01m"

    message = ServiceBusReceivedMessage.from_bytes(BODY)
    message._message = decode_payload(memoryview(content))

    assert read_message(message).message_id == "m"


EVERY_TYPE = {
    "decimal": DECIMAL,
    "decimal32": DecimalBits(b"1234"),
    "ulong": Ulong(2**63),
    "uint": Uint(7),
    "long": Long(7),
    "time": Timestamp(1_700_000_000_123),
    "nan": float("nan"),
    "float": Float(0.5),
    "symbol": Symbol("s"),
    "char": Char("c"),
    "binary": b"\xff\x00",
    "uuid": uuid.UUID(int=9),
    "null": None,
}
BODIES = {
    "data": BODY,
    "several data sections": BODY + BODY,
    "text value": value("text"),
    "map value": value({"a": 1, "t": Timestamp(5)}),
    "bytes value": value(b"\xff"),
    "sequence": b"\x00\x53\x76" + encode([b"a", DECIMAL]),
    "no body": b"",
}


def as_written(stored):
    """What a client wrote into a message, without id and the facts that we add."""
    head = fields(next(each.value for each in sections(stored.message.properties_section)))
    facts = {name: each for name, each in entries_of(stored) if not name.startswith("optout-")}
    return head[1:], facts, stored.message.body_sections


def entries_of(stored):
    return [(texts(name), raw) for name, raw in entries(stored.message.application_entries.as_map())]


@pytest.mark.parametrize("body", BODIES)
async def test_an_archive_keeps_everything_and_an_import_restores_it_to_the_byte(bus, place, body):
    bus.fill(odd("odd", body=BODIES[body], **EVERY_TYPE))
    [before] = [as_written(stored) for stored in bus.dead_letters.messages()]

    purged = await bus("dlq", "purge", "--archive", place / "kept.jsonl", "--confirm", "purge 1")
    restored = await bus("dlq", "import", place / "kept.jsonl", "--yes")

    assert (purged.code, restored.code) == (0, 0), (purged, restored)
    [after] = [as_written(stored) for stored in bus.dead_letters.messages()]
    assert after == before


async def test_subject_addresses_session_and_time_to_live_come_back_out_of_an_archive(bus, place):
    head = [*["odd", None, "to", "subject", "answer here", "corr", Symbol("text/plain")], *[None] * 3, "session"]
    letter = replace(
        odd("odd"),
        properties_section=b"\x00\x53\x73" + encode(head),
        ttl_ms=5 * 3_600_000,
    )
    bus.fill(letter)

    await bus("dlq", "purge", "--archive", place / "kept.jsonl", "--confirm", "purge 1")
    await bus("dlq", "import", place / "kept.jsonl", "--yes")

    [stored] = bus.dead_letters.messages()
    [section] = sections(stored.message.properties_section)
    assert [texts(each) for each in fields(section.value)][2:7] == [
        "to",
        "subject",
        "answer here",
        "corr",
        "text/plain",
    ]
    assert texts(fields(section.value)[10]) == "session"
    assert stored.message.ttl_ms == 5 * 3_600_000


async def test_an_archive_whose_body_was_edited_is_not_put_back_with_the_old_one(bus, place):
    bus.fill(odd("odd"))
    await bus("dlq", "export", "--reveal", "-o", place / "all.jsonl")
    edited = (place / "all.jsonl").read_text().replace("15555555551", "15555555552").replace("15550000001", "15555")
    (place / "all.jsonl").write_text(edited)

    said = await bus("dlq", "import", place / "all.jsonl", "--yes")

    assert said.code == 2
    assert "the body in line 1 of the archive was edited" in said.err


@pytest.mark.parametrize(
    "tagged", [{"$time": 5}, {"$time": None}, {"$uuid": 5}, {"$uuid": None}, {"x": 1}, 2**64], ids=str
)
def test_a_damaged_archive_is_refused_in_one_line(desk, place, tagged):
    line = {"sequenceNumber": 1, "enqueuedAt": "2026-01-23T10:00:00Z", "deliveryCount": 0, "body": "{}"}
    (place / "a.jsonl").write_text(json.dumps(line | {"properties": {"x": tagged}}))

    said = desk.dlq("import", place / "a.jsonl", "--yes")

    assert said.code == 2
    assert "line 1 of the archive is damaged; nothing was put back" in said.err


@pytest.mark.parametrize("state", MessageState)
def test_a_dead_letter_that_the_queue_does_not_give_out_is_said_to_be_so(desk, state):
    desk.put(structs.replace(dead_letter(1), state=state))

    said = desk.dlq("list", "--json")

    assert said.json[0]["state"] == state
    assert (said.json[0]["verdict"] == "safe") is (state is MessageState.ACTIVE)
