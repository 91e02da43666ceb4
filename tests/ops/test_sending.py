"""`optout send`: the contract first, all or none, and a resend that is harmless."""

import io
import json
import re
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from optout_core.events import decode
from optout_core.outgoing import Queue
from optout_ops.changes.send import sent_since
from optout_ops.exits import OutOfReach
from servicebus_sandbox import SEND, AccessKey
from tests.build import NOW, OTHER, PERSON, SENDER, arrival, bare, canonical, text_message
from tests.ops.bus import ROOT, open_bus


@pytest.fixture
def file(place):
    """Write events to a file, one a line."""

    def write(*events, name="events.jsonl"):
        path = place / name
        path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in events))
        return path

    return write


def event(name="e1", *recipients, **attributes):
    return canonical(*recipients, id=name, **{"source": "urn:test"} | attributes)


def opt_in(name, captured_at, **attributes):
    data = bare() | {"consent": {"capturedAt": captured_at.isoformat()}}
    return event(name, data=data, **attributes)


def id_of(source, name):
    return sha256(f"{source}\n{name}".encode()).hexdigest()


def test_events_are_sent_as_they_are(desk, file):
    said = desk("send", file(event("e1"), "", bare()), "--json")

    canonical_event, bare_request = desk.queues.opt_ins
    assert said.code == 0
    assert [said.json[name] for name in ("sent", "events", "recipients", "problems")] == [2, 2, 2, []]
    assert json.loads(canonical_event.body) == event("e1")
    assert canonical_event.content_type == "application/cloudevents+json"
    assert bare_request.content_type == "application/json"


def test_the_message_id_is_a_hash_of_source_and_id_as_in_the_examples(desk, file):
    desk("send", file(event("e1"), event("e1", source="urn:other"), event("+15555555551" * 40)))

    assert [message.message_id for message in desk.queues.opt_ins] == [
        id_of("urn:test", "e1"),
        id_of("urn:other", "e1"),
        id_of("urn:test", "+15555555551" * 40),
    ]


def test_a_request_without_an_id_is_named_as_the_function_names_it(desk, file):
    said = desk("send", file(bare()), "--json")

    [message] = desk.queues.opt_ins
    [of_the_function] = decode(arrival(message.body, message_id=message.message_id))
    [named] = said.json["ids"]
    assert named["id"] == named["message"] == message.message_id == of_the_function.id.raw


def test_events_in_one_array_have_an_id_of_all(desk, file):
    one, both = [text_message("STOP", id="1")], [text_message("STOP", id="1"), text_message("STOP", id="2")]
    desk("send", file(one, both))

    assert len({message.message_id for message in desk.queues.opt_ins}) == 2


def test_the_ids_are_told_and_how_to_follow_them(desk, file):
    said = desk("send", file(*(event(f"e{number}") for number in range(25))))

    lines = said.out.splitlines()
    assert lines[1:21] == [f"event e{number} of urn:test" for number in range(20)]
    assert lines[21] == "and 5 more; --json has them all"
    assert "`optout dlq show ID` says why an event failed" in lines[-1]


def test_an_id_that_holds_a_number_is_masked(desk, file):
    said = desk("send", file(event(f"order {PERSON}")))

    assert "event order +1555•••5551 of urn:test" in said.out
    assert PERSON not in said.out + said.err + str(desk.trail)


# --- warnings -----------------------------------------------------------------------------------------------------


STALE = "1 of 1 recipient would be dead-lettered StaleOptIn: the opt-in is 3 d 8 h old then, and OPT_IN_MAX_AGE is 3 d"


@pytest.mark.parametrize(
    ("sent", "warning"),
    [
        (
            event(time=(NOW - timedelta(hours=80)).isoformat()),
            STALE,
        ),
        (
            opt_in("e1", NOW - timedelta(hours=80)),
            STALE,
        ),
        (
            event(time=(NOW + timedelta(hours=2)).isoformat()),
            "its time lies 2 h ahead: its arrival will count instead",
        ),
        (event(time=None), "it says no time that can be read: its arrival will count as when the person decided"),
        (
            event(type="sms.opt-out.v1", time="yesterday"),
            "it says no time that can be read: its arrival will count as when the person decided",
        ),
        (
            event("e1", PERSON, "none", "ditto"),
            "2 of 3 recipients would be dead-lettered RecipientRejected: it is no phone number",
        ),
        (
            event("e1", "5555551", type="sms.opt-out.v1"),
            "1 of 1 recipient would be dead-lettered UnclearOptOut: it is no number with its country",
        ),
        (
            [text_message("START"), text_message("hello")],
            "it holds an event that the function would ignore",
        ),
    ],
)
def test_what_the_function_would_refuse_or_read_otherwise_is_a_warning(desk, file, sent, warning):
    said = desk("send", file(sent))

    assert said.code == 0
    assert f"Warning: {desk.place}/events.jsonl line 1: {warning}" in said.err.splitlines()
    assert len(desk.queues.opt_ins) == 1


def test_a_sender_that_is_not_ours_is_a_warning(desk, file):
    desk.environ["ALLOWED_SENDERS"] = "+18005550100"

    said = desk("send", file(event()), "--dry-run", "--json")

    [warning] = said.json["warnings"]
    assert warning["why"].endswith("dead-lettered SenderNotAllowed: the sender is not in ALLOWED_SENDERS")


def test_an_opt_in_that_will_be_too_old_when_it_is_delivered_is_a_warning(desk, file):
    said = desk("send", file(event()), "--at", (NOW + timedelta(days=4)).isoformat(), "--dry-run")

    assert "would be dead-lettered StaleOptIn: the opt-in is 4 d old then" in said.err


def test_an_import_is_asked_when_each_person_opted_in(desk, file):
    said = desk("send", file(event("e1"), opt_in("e2", NOW - timedelta(hours=1)), event("e3")))

    assert "2 opt-ins without `consent.capturedAt`: in an import say when each person opted in" in said.err
    assert "capturedAt" not in desk("send", file(opt_in("e4", NOW), opt_in("e5", NOW), text_message("START"))).err
    assert "capturedAt" not in desk("send", file(event("e6"))).err


def test_more_warnings_than_one_reads_are_counted(desk, file):
    said = desk("send", file(*(opt_in(f"e{number}", NOW - timedelta(days=9)) for number in range(30))))

    assert len(said.err.splitlines()) == 21
    assert said.err.splitlines()[-1] == "Warning: and 10 more; --json has them all"


def test_an_ordinary_event_has_no_warning(desk, file):
    assert desk("send", file(opt_in("e1", NOW))).err == ""


# --- what the broker took -----------------------------------------------------------------------------------------


def test_a_message_that_waits_was_taken(desk, file):
    said = desk("send", file(event("e1"), event("e2")), "--json")

    assert said.json["queue"] == {"waiting": 2, "repeats": 0, "gone": 0}


def test_a_message_that_was_there_before_is_a_repeat(desk, file):
    desk("send", file(event("e1")))
    (desk.place / "audit.jsonl").unlink()

    said = desk("send", file(event("e1"), event("e2")))

    assert "1 message in the queue, new." in said.out
    assert "1 message sent before, within 24 hours: the broker dropped the repeat." in said.out


def test_a_message_that_this_machine_sent_is_a_repeat_though_the_function_took_it(desk, file):
    desk.now = datetime.now(UTC)
    desk.put(function=lambda _: True)
    desk("send", file(event("e1")))

    said = desk("send", file(event("e1"), event("e2")), "--json")

    assert said.json["queue"] == {"waiting": 0, "repeats": 1, "gone": 1}


def test_what_was_sent_to_another_namespace_or_more_than_a_day_ago_is_no_repeat():
    def of(run, at, namespace="memory.example", command="send"):
        facts = {"command": command, "run": run, "at": at.isoformat()}
        return [facts | {"step": "begin", "namespace": namespace}, facts | {"step": "end", "ids": [f"id of {run}", 7]}]

    lines = [*of("now", NOW), *of("old", NOW - timedelta(hours=25)), *of("elsewhere", NOW, "other.example")]
    lines += [*of("replay", NOW, command="replay"), {"command": "send", "step": "end", "ids": ["of no run"]}]

    assert sent_since(NOW - timedelta(hours=24), lines, "memory.example") == {"id of now"}


def test_a_message_that_the_function_took_may_be_a_repeat(desk, file):
    desk.put(function=lambda _: True)

    said = desk("send", file(event("e1")))

    assert (
        "1 message not in the queue: taken by the function already, or dropped as a repeat of what was sent elsewhere."
        in said.out
    )


@pytest.mark.parametrize("refused", ["tail", "peek"])
def test_a_publisher_who_may_not_read_the_queue_is_told_so(desk, file, refused):
    def refuse(*_):
        raise OutOfReach("we are not allowed at the queue 'opt-ins'")

    setattr(desk.queues, refused, refuse)

    said = desk("send", file(event("e1")))

    assert said.code == 0
    assert "1 message sent" in said.out
    assert "Whether the broker dropped repeats cannot be seen: that needs the right to read the queue." in said.out


def test_what_the_contract_page_shows_is_what_one_sees(desk, file, monkeypatch):
    page = (ROOT / "docs" / "events.md").read_text()
    [console] = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    shown = re.findall(r"^\$ optout (.*)\n((?:(?!\$ ).*\n)*)", console, re.MULTILINE)
    shop = {"source": "https://shop.example/preferences"}
    good = [opt_in("7f3a", NOW, **shop), opt_in("7f3b", NOW, **shop)]
    bad = opt_in("7f3c", NOW) | {"data": {"from": SENDER, "recipients": [PERSON]}}
    file(good[0], bad, opt_in("7f3d", NOW - timedelta(days=4)))
    file(*good, name="mended.jsonl")
    monkeypatch.chdir(desk.place)
    desk.put(function=lambda _: True)

    said = [desk(*call.split()) for call, _ in shown]

    assert [(each.err + each.out).splitlines() for each in said] == [printed.splitlines() for _, printed in shown]


# --- the contract -------------------------------------------------------------------------------------------------


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
    assert desk.queues.scheduled == {id_of("urn:test", "e1"): datetime(2199, 1, 23, 10, tzinfo=UTC)}
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


def test_standard_input_may_hold_one_event_over_several_lines(desk, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(event("e1"), indent=2).encode())))

    assert "1 message sent" in desk("send", "-").out


def test_standard_input_may_hold_an_event_a_line(desk, monkeypatch):
    lines = f"{json.dumps(event('e1'))}\n{json.dumps(event('e2'))}\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))

    assert "2 messages sent" in desk("send", "-").out


def test_a_dry_run_needs_no_namespace(desk, file):
    del desk.environ["ServiceBusConnection"]

    assert desk("send", file(event("e1")), "--dry-run").code == 0
    assert desk("send", file(event("e1"))).code == 2


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
    assert "2 messages in the queue, new." in said[0].out
    assert "2 messages sent before, within 24 hours: the broker dropped the repeat." in said[1].out
    assert (bus.opt_ins.scheduled, bus.opt_ins.duplicates) == (2, 2)
    [first, _] = bus.opt_ins.messages()
    assert first.message.properties["content_type"] == "application/cloudevents+json"


async def test_on_the_broker_a_key_that_may_only_send_is_enough(place, file):
    keys = [AccessKey("RootManageSharedAccessKey", "sandbox"), AccessKey("sender", "sends", frozenset({SEND}))]
    async with open_bus(place, keys=keys) as bus:
        bus.environ["ServiceBusConnection"] = bus.broker.connection_string_of("sender")

        said = await bus("send", file(event("e1")))

        assert (said.code, len(bus.opt_ins)) == (0, 1)
        assert "Whether the broker dropped repeats cannot be seen" in said.out
