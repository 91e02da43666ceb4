"""`optout send`: the contract first, all or none, and a resend that is harmless."""

import json
from datetime import UTC, datetime

import pytest

from optout_core.outgoing import Queue
from tests.build import OTHER, PERSON, bare, canonical
from tests.ops.bus import ROOT


@pytest.fixture
def file(place):
    """Write events to a file, one a line."""

    def write(*events, name="events.jsonl"):
        path = place / name
        path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in events))
        return path

    return write


def event(name="e1", *recipients, **attributes):
    return canonical(*recipients, id=name, source="urn:test", **attributes)


def test_events_are_sent_as_they_are(desk, file):
    said = desk("send", file(event("e1"), "", bare()), "--json")

    canonical_event, bare_request = desk.queues.opt_ins
    assert said.code == 0
    assert said.json == {"sent": 2, "events": 2, "recipients": 2, "problems": []}
    assert json.loads(canonical_event.body) == event("e1")
    assert canonical_event.content_type == "application/cloudevents+json"
    assert bare_request.content_type == "application/json"


def test_the_id_is_made_from_source_and_id_and_is_never_too_long(desk, file):
    desk("send", file(event("e1"), event("e2") | {"source": "urn:" + "x" * 200}))

    short, long = [message.message_id for message in desk.queues.opt_ins]
    assert short == "urn:test/e1"
    assert len(long) == 64


def test_a_resend_adds_nothing(desk, file):
    path = file(event("e1"), bare())

    desk("send", path)
    again = desk("send", path)

    assert again.code == 0
    assert "2 messages sent; 2 valid events with 2 recipients" in again.out
    assert len(desk.queues.opt_ins) == desk.queues.duplicates[Queue.OPT_INS] == 2


def test_one_bad_line_stops_all_and_is_named_with_its_reason(desk, file):
    path = file(event("e1"), "{not JSON", {"from": "+18001234567", "recipients": []}, event(type="sms.opt-in.v9"))

    said = desk("send", path)

    assert said.code == 2
    assert "events.jsonl line 2: not JSON" in said.err
    assert "events.jsonl line 3: the request.recipients: must hold at least one" in said.err
    assert "events.jsonl line 4: we do not know the event type 'sms.opt-in.v9'" in said.err
    assert "Nothing was sent" in said.out
    assert desk.queues.opt_ins == []


def test_what_the_function_would_ignore_is_no_opt_in(desk, file):
    report = {
        "specversion": "1.0",
        "type": "Microsoft.Communication.SMSDeliveryReportReceived",
        "source": "s",
        "id": "1",
    }

    said = desk("send", file(report), "--json")

    assert said.code == 2
    assert said.json["problems"][0]["why"].startswith("the function would ignore it")


def test_a_dry_run_sends_nothing(desk, file):
    said = desk("send", file(json.dumps(event(), indent=2), name="event.json"), "--dry-run")

    assert said.code == 0
    assert "Nothing was sent; 1 valid event with 1 recipient" in said.out
    assert (desk.queues.opt_ins, desk.trail) == ([], [])


def test_at_lets_the_broker_hold_it_until_then(desk, file):
    said = desk("send", file(event()), "--at", "2199-01-23T10:00:00Z")

    assert said.code == 0
    assert desk.queues.scheduled == {"urn:test/e1": datetime(2199, 1, 23, 10, tzinfo=UTC)}
    assert [line["step"] for line in desk.trail] == ["begin", "end"]


def test_what_is_scheduled_has_to_say_when_the_person_decided(desk, file):
    said = desk("send", file(event(time=None)), "--at", "2099-01-01T00:00:00Z")

    assert said.code == 2
    assert "the event has no `time`; with --at it would be dated when it is delivered. Add `time`" in said.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("missing.json",), "missing.json: No such file or directory"),
        (("missing.json", "--at", "soon"), "--at must be a time"),
        ((), "Missing argument"),
    ],
)
def test_a_wrong_call_is_one_line(desk, arguments, problem):
    said = desk("send", *arguments)

    assert said.code == 2
    assert problem in said.err
    assert len(said.err.splitlines()) == 1


def test_an_empty_file_is_a_wrong_call(desk, file):
    assert "there are no events in it; nothing was sent" in desk("send", file("")).err


def test_an_id_that_stands_twice_for_different_things_is_a_problem(desk, file):
    said = desk("send", file(event("e1", PERSON), event("e1", OTHER), name="other.jsonl"))

    assert said.code == 2
    assert "other.jsonl line 2: it has the source and id of" in said.err


def test_an_event_that_stands_twice_is_sent_once(desk, file):
    said = desk("send", file(event("e1"), event("e1"), name="same.jsonl"))

    assert said.code == 0
    assert "1 message sent" in said.out


def test_a_run_that_fails_ends_in_the_audit_trail_too(desk):
    desk.queues.refusals = {Queue.OPT_INS}

    said = desk("send", ROOT / "samples" / "02-cloud-event.json")

    assert said.code == 4
    assert [(line["step"], line.get("outcome")) for line in desk.trail] == [("begin", None), ("end", "failed")]
    assert desk.trail[0]["namespace"] == "memory.example"


async def test_on_the_broker_a_scheduled_event_waits_and_a_resend_is_dropped(bus, file):
    path = file(event("e1"), event("e2"))

    said = [await bus("send", path, "--at", "2199-01-23T10:00:00Z") for _ in range(2)]

    assert [each.code for each in said] == [0, 0]
    assert (bus.opt_ins.scheduled, bus.opt_ins.duplicates) == (2, 2)
    [first, _] = bus.opt_ins.messages()
    assert first.message.properties["content_type"] == "application/cloudevents+json"
