"""Messages that other clients put into the queue: each is shown, none hides or holds up its neighbours."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from optout_core.events import OptOut, decode
from optout_core.reasons import Replay
from optout_ops.letters.dead_letters import read_dead_letter
from optout_ops.letters.verdicts import Rule
from optout_ops.replay.messages import replay
from servicebus_sandbox.amqp import Symbol, Timestamp, Ulong
from servicebus_sandbox.encode import encode
from servicebus_sandbox.messages import Entries, Message
from tests.ops.making import NOW, QUICK, dead, event, message, properties

RULE = Rule(timedelta(hours=72), max_replays=3)
BODY = b"\x00\x53\x75" + encode(json.dumps(event("odd")).encode())


def odd(message_id="odd-1", body=BODY, **more):
    """A message as another client may write it."""
    facts = properties("MaxDeliveryCountExceeded", "odd") | more
    return Message(
        message_id=message_id,
        application_entries=Entries(len(facts), b"".join(encode(name) + encode(each) for name, each in facts.items())),
        properties_section=b"\x00\x53\x73" + encode([message_id, None, None, None, None, uuid.UUID(int=7)]),
        body_sections=body,
        size=len(body) + 500,
    )


def value(of):
    return b"\x00\x53\x77" + encode(of)


@pytest.mark.parametrize(
    "strange",
    [
        odd(uuid.UUID(int=5)),
        odd(Ulong(5)),
        odd(b"\xff\xfe"),
        odd(body=value("text")),
        odd(body=value(b"bytes")),
        odd(body=value(None)),
        odd(body=value({"a": 1})),
        odd(body=b"\x00\x53\x76" + encode([b"a"])),
        odd(body=b""),
        odd(since=Timestamp(1_700_000_000_000)),
        odd(large=2**40, uuid=uuid.UUID(int=9), binary=b"\xff", nothing=None, symbol=Symbol("s")),
    ],
    ids=range(11),
)
async def test_a_message_of_any_kind_hides_no_other_and_holds_none_up(bus, strange):
    bus.fill([dead(1), strange, dead(3)])

    said = [await bus("dlq", *arguments, "--json") for arguments in (["summary"], ["list"], ["show", "2"])]
    sent = await bus("dlq", "replay", *QUICK, "--json")

    assert [each.code for each in said] == [0, 0, 0]
    assert [each["sequenceNumber"] for each in said[1].json] == [1, 2, 3]
    assert sent.code == 0
    assert {"e1", "e3"} <= set(bus.names()[0])


async def test_a_large_number_in_a_property_is_the_same_after_a_replay(bus):
    bus.fill([odd(large=2**40, small=7)])

    await bus("dlq", "replay", *QUICK)

    [stored] = bus.opt_ins.messages()
    assert stored.message.application_properties["large"] == 2**40
    assert stored.message.application_properties["small"] == 7


async def test_a_dead_letter_that_a_replay_would_cut_in_two_stays_where_it_is(bus):
    padding = "x" * (255 * 1024)
    bus.fill([dead(1, body=json.dumps(event("large") | {"padding": padding})), dead(2)])

    said = await bus("dlq", "replay", *QUICK, "--json")

    assert said.json["verdicts"]["never"] == 1
    assert bus.names() == (["e2"], ["e1"])


def test_an_opt_in_that_says_a_time_after_its_arrival_is_sent_with_the_time_of_its_arrival():
    facts = properties() | {"optout-first-enqueued": NOW.isoformat()}
    said = read_dead_letter(message(json.dumps(event(time=NOW + timedelta(hours=10))), properties=facts))

    body = json.loads(replay(said, "r1").body)

    assert RULE.judge(said, NOW).replay is Replay.SAFE
    assert datetime.fromisoformat(body["time"]) == NOW


def test_a_stop_is_always_worth_sending_and_keeps_its_time():
    stop = event(type="sms.opt-out.v1")
    del stop["time"]
    facts = properties("TTLExpiredException") | {"optout-first-enqueued": NOW.isoformat()}
    said = read_dead_letter(message(json.dumps(stop), properties=facts))

    verdict, outgoing = RULE.judge(said, NOW + timedelta(days=30)), replay(said, "r1")

    [again] = decode(said.message.arrival.__class__(outgoing.body, datetime.now(UTC)))
    assert verdict.replay is Replay.SAFE
    assert isinstance(again, OptOut)
    assert again.time == NOW
