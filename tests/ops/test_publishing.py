"""`optout send`: the contract first, all or none, and a resend that is harmless."""

import json

import pytest

from tests.ops.making import event


@pytest.fixture
def file(place):
    """Write events to a file, one a line."""

    def write(*events, name="events.jsonl"):
        path = place / name
        path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in events))
        return str(path)

    return write


async def test_events_are_sent_as_they_are_and_a_resend_adds_nothing(bus, file):
    bare = {"from": "+18001234567", "recipients": [{"to": "+15555555551"}]}
    path = file(event("e1"), "", bare, event("e2", source="urn:" + "x" * 200))

    said = await bus("send", path, "--json")
    again = await bus("send", path)

    messages = [stored.message for stored in bus.opt_ins.messages()]
    assert said.code == again.code == 0
    assert said.json == {"sent": 3, "events": 3, "recipients": 3, "problems": []}
    assert messages[0].message_id == "urn:test/e1"
    assert json.loads(messages[0].body)["id"] == "e1"
    assert messages[0].properties["content_type"] == "application/cloudevents+json"
    assert messages[1].properties["content_type"] == "application/json"
    assert len(messages[2].message_id) == 64
    assert (len(messages), bus.opt_ins.duplicates) == (3, 3)
    assert "3 messages sent; 3 valid events with 3 recipients" in again.out


async def test_one_bad_line_stops_all_and_is_named_with_its_reason(bus, file):
    path = file(event("e1"), "{not JSON", {"from": "+18001234567", "recipients": []}, event(type="sms.opt-in.v9"))

    said = await bus("send", path)

    assert said.code == 2
    assert "events.jsonl line 2: not JSON" in said.err
    assert "events.jsonl line 3: data.recipients" in said.err
    assert "events.jsonl line 4: we do not know the event type 'sms.opt-in.v9'" in said.err
    assert "Nothing was sent" in said.out
    assert len(bus.opt_ins) == 0


async def test_what_the_function_would_ignore_is_no_opt_in(bus, file):
    delivered = {
        "specversion": "1.0",
        "type": "Microsoft.Communication.SMSDeliveryReportReceived",
        "source": "s",
        "id": "1",
    }

    said = await bus("send", file(delivered), "--json")

    assert said.code == 2
    assert said.json["problems"][0]["why"].startswith("the function would ignore it")


async def test_a_dry_run_sends_nothing(bus, file):
    said = await bus("send", file(json.dumps(event(), indent=2), name="event.json"), "--dry-run")

    assert said.code == 0
    assert "Nothing was sent; 1 valid event with 1 recipient" in said.out
    assert len(bus.opt_ins) == 0


async def test_at_lets_the_broker_hold_it_until_then(bus, file, trail):
    said = await bus("send", file(event()), "--at", "2199-01-23T10:00:00Z")

    assert said.code == 0
    assert bus.opt_ins.scheduled == 1
    assert [line["step"] for line in trail()] == ["begin", "end"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("missing.json",), "missing.json: No such file or directory"),
        (("missing.json", "--at", "soon"), "--at must be a time"),
        ((), "Missing argument"),
    ],
)
async def test_a_wrong_call_is_one_line(bus, arguments, problem):
    said = await bus("send", *arguments)

    assert said.code == 2
    assert problem in said.err
    assert len(said.err.splitlines()) == 1


async def test_an_id_that_stands_twice_for_different_things_is_a_problem_and_twice_for_the_same_is_one(bus, place):
    one, other = json.dumps(event("e1")), json.dumps(event("e1", ["+15555555552"]))
    place.joinpath("other.jsonl").write_text(f"{one}\n{other}\n")
    place.joinpath("same.jsonl").write_text(f"{one}\n{one}\n")

    refused, sent = [await bus("send", str(place / name)) for name in ("other.jsonl", "same.jsonl")]

    assert refused.code == 2
    assert "other.jsonl line 2: it has the source and id of" in refused.err
    assert sent.code == 0
    assert "1 message sent" in sent.out


async def test_what_is_scheduled_has_to_say_when_the_person_decided(bus, place):
    untimed = {name: value for name, value in event("e1").items() if name != "time"}
    place.joinpath("e.json").write_text(json.dumps(untimed))

    said = await bus("send", str(place / "e.json"), "--at", "2099-01-01T00:00:00Z")

    assert said.code == 2
    assert "it has no `time`" in said.err
