"""Every accepted form, with its ignored and refused neighbours."""

import json
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from optout_core.envelopes import BARE_SOURCE, Form
from optout_core.errors import MalformedEvent, UnsupportedEvent
from optout_core.events import Ignored, OptIn, OptOut, decode
from optout_core.keywords import Keywords
from optout_core.masking import Untrusted
from optout_core.numbers import read_sender
from tests.build import (
    MINUTE,
    NOW,
    OTHER,
    PERSON,
    SAMPLES,
    SENDER,
    arrival,
    bare,
    canonical,
    decoded,
    numbers,
    sample,
    text_message,
    texts,
)

ACS = "/subscriptions/50ad1522-5c2c-4d9a-a6c8-67c11ecb75b8/resourcegroups/acse2e/providers/microsoft.communication/communicationservices/contoso"  # noqa: E501
TEXTED_AT = datetime(2026, 1, 23, 11, 58, 45, 123456, UTC)


def binary(prefix="colon"):
    properties = json.loads(sample(f"events/binary.properties-{prefix}.json"))
    return arrival(sample("events/binary.json"), properties=properties, content_type="application/json")


# --- our own contract ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["canonical.json", "canonical-bom.json", "canonical-unknown-fields.json"])
def test_a_canonical_event_is_an_opt_in(name):
    event = decoded(sample(f"events/{name}"))

    assert isinstance(event, OptIn)
    assert event.form is Form.CLOUD_EVENT
    assert (event.source.raw, event.id.raw) == ("https://shop.example/preferences", "preference-7f3a")
    assert event.sender.text == SENDER
    assert event.consent
    assert (event.consent.method, event.consent.reference) == ("web-form", "consents/2026/7f3a")


def test_events_that_say_the_same_are_equal_however_they_are_written_and_no_others_are():
    opt_in, other = decoded(canonical()), decoded(canonical(OTHER))

    assert opt_in == replace(opt_in, form=Form.EVENT_GRID)
    assert not opt_in != replace(opt_in, form=Form.EVENT_GRID)  # noqa: SIM202 - an operator of its own
    assert opt_in != other
    assert opt_in != decoded(canonical(type="sms.opt-out.v1"))


def test_recipients_keep_their_order_and_stand_once_however_they_are_written():
    event = decoded(sample("events/canonical.json"))

    assert texts(event.recipients) == (PERSON, OTHER)


@pytest.mark.parametrize("prefix", ["colon", "underscore"])
def test_binary_mode_means_what_structured_mode_means(prefix):
    (event,) = decode(binary(prefix))

    assert event.form is Form.CLOUD_EVENT_BINARY
    assert event == decoded(sample("events/canonical.json"))


def test_binary_mode_takes_its_prefix_in_any_case_and_a_time_that_is_no_text():
    properties = {
        "CLOUDEVENTS:SpecVersion": "1.0",
        "CloudEvents:Type": "sms.opt-in.v1",
        "cloudEvents:SOURCE": "shop",
        "cloudEvents:id": "1",
        "cloudEvents:time": NOW - 5 * MINUTE,
    }

    event = decoded(bare(), properties=properties)

    assert (event.form, event.source.raw, event.time) == (Form.CLOUD_EVENT_BINARY, "shop", NOW - 5 * MINUTE)


def test_a_canonical_opt_out_is_a_stop():
    event = decoded(sample("events/canonical-opt-out.json"))

    assert isinstance(event, OptOut)
    assert (event.sender.text, texts(event.recipients)) == (SENDER, (PERSON, OTHER))
    assert event.time == datetime(2026, 1, 23, 11, 50, tzinfo=UTC)


@pytest.mark.parametrize("spelling", ["specversion", "specVersion", "SpecVersion", "SPECVERSION"])
def test_specversion_may_be_in_any_case(spelling):
    event = decoded(canonical(specversion=None) | {spelling: "1.0"})

    assert isinstance(event, OptIn)


@pytest.mark.parametrize(
    "event_type", ["sms.opt-in.v2", "SMS.OPT-IN.V1", "com.example.order", "Microsoft.Storage.Blob"]
)
def test_a_type_nobody_taught_us_is_unsupported(event_type):
    with pytest.raises(UnsupportedEvent, match="event type"):
        decoded(canonical(type=event_type))


@pytest.mark.parametrize("version", ["0.3", "1.0.1", "", 2, None, ["1.0"]])
def test_a_version_other_than_1_0_is_unsupported(version):
    with pytest.raises(UnsupportedEvent, match="specversion"):
        decoded(canonical() | {"specversion": version})


def test_a_number_in_an_unknown_type_is_masked_in_the_error():
    with pytest.raises(UnsupportedEvent) as refused:
        decoded(canonical(type=f"opt-in of {PERSON}"))

    assert PERSON not in str(refused.value)
    assert "+1555•••5551" in str(refused.value)


@pytest.mark.parametrize("name", ["type", "source", "id", "data"])
def test_an_event_without_its_attributes_is_malformed(name):
    with pytest.raises(MalformedEvent, match=name):
        decoded(canonical(**{name: None}))


@pytest.mark.parametrize("value", ["", "x" * 1025, 7, ["x"], "\ud83d"])
@pytest.mark.parametrize("name", ["type", "source", "id"])
def test_a_name_has_1_to_1024_characters_that_can_be_written(name, value):
    with pytest.raises(MalformedEvent, match=name):
        decoded(canonical(**{name: value}))


# --- the bare request ---------------------------------------------------------------------------------------------


def test_the_request_of_the_api_is_an_opt_in_named_and_dated_by_its_message():
    event = decoded(sample("acs/remove-request.json"), message_id="m-42")

    assert event == OptIn(
        form=Form.BARE_REQUEST,
        source=Untrusted(BARE_SOURCE),
        id=Untrusted("m-42"),
        time=NOW - MINUTE,
        sender=read_sender(SENDER),
        recipients=numbers(PERSON, "+123", "+15555555553"),
    )


def test_without_a_message_id_the_id_is_the_same_at_every_delivery_and_no_other_message_has_it():
    first = decoded(bare(), message_id=None)
    again = decoded(bare(), message_id=None)
    other = decoded(bare(OTHER), message_id=None)
    later = decoded(bare(), message_id=None, enqueued_at=NOW)

    assert first.id == again.id
    assert len({first.id, other.id, later.id}) == 3
    assert 0 < len(first.id.raw) <= 128


def test_a_bare_request_may_carry_consent():
    event = decoded(bare() | {"consent": {"capturedAt": "2026-01-23T10:00:00Z"}})

    assert event.time == datetime(2026, 1, 23, 10, tzinfo=UTC)


def test_a_bare_request_cannot_stand_in_an_array():
    with pytest.raises(MalformedEvent, match="array"):
        decode(arrival([bare()]))


# --- texts from people --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("event-grid-start.json", Form.EVENT_GRID),
        ("event-grid-start-pascal-case-object.json", Form.EVENT_GRID),
        ("cloud-events-unstop.json", Form.CLOUD_EVENT),
        ("cloud-events-unstop-array.json", Form.CLOUD_EVENT),
    ],
)
def test_a_keyword_opts_the_writer_in_to_the_number_written_to(name, form):
    event = decoded(sample(f"events/{name}"))

    assert isinstance(event, OptIn)
    assert event.form is form
    assert (event.source.raw, event.time) == (ACS, TEXTED_AT)
    assert (event.sender.text, texts(event.recipients)) == (SENDER, (PERSON,))


def test_a_stop_is_an_opt_out_of_the_writer():
    event = decoded(sample("events/cloud-events-stop.json"))

    assert isinstance(event, OptOut)
    assert (event.sender.text, texts(event.recipients), event.time) == (SENDER, (PERSON,), TEXTED_AT)


@pytest.mark.parametrize(
    "name",
    [
        "event-grid-docs.json",
        "cloud-events-spec.json",
        "cloud-events-spec-old-spelling.json",
        "event-grid-delivery-report.json",
    ],
)
def test_what_is_none_of_our_business_is_ignored(name):
    assert isinstance(decoded(sample(f"events/{name}")), Ignored)


def test_an_array_gives_its_events_in_order():
    stop, start = decode(arrival(sample("events/event-grid-two-texts.json")))

    assert isinstance(stop, OptOut)
    assert isinstance(start, OptIn)
    assert texts(start.recipients) == (OTHER,)


def test_one_bad_event_refuses_the_whole_array():
    with pytest.raises(MalformedEvent):
        decode(arrival([text_message("START"), text_message("START", topic="")]))


@pytest.mark.parametrize("text", ["START", "start", " Start\n", "\tUNSTOP ", "unStop"])
def test_an_opt_in_keyword_counts_in_any_case_and_between_blanks(text):
    assert isinstance(decoded(text_message(text)), OptIn)


@pytest.mark.parametrize(
    "text",
    [
        "STOP",
        "stopall",
        "Unsubscribe",
        "CANCEL",
        "end",
        "QUIT",
        "Revoke",
        "opt out",
        "OPTOUT",
        " stop ",
        "STOP \ud83d",
        "STOP\0",
    ],
)
def test_an_opt_out_keyword_counts_in_any_case_and_between_blanks(text):
    assert isinstance(decoded(text_message(text)), OptOut)


@pytest.mark.parametrize(
    "text", ["", "START please", "START.", "RESTART", "YES", "HELP", "don't STOP", "\ud83d", "START\ud83d", "START\0"]
)
def test_any_other_text_is_ignored(text):
    assert isinstance(decoded(text_message(text)), Ignored)


def test_the_keywords_can_be_set():
    keywords = Keywords(opt_ins=frozenset({"YES"}))

    (event,) = decode(arrival(text_message("yes")), keywords)
    (ignored,) = decode(arrival(text_message("START")), keywords)

    assert isinstance(event, OptIn)
    assert isinstance(ignored, Ignored)


@pytest.mark.parametrize("event_type", ["microsoft.communication.smsreceived", "MICROSOFT.COMMUNICATION.SMSRECEIVED"])
def test_the_type_of_a_text_may_be_in_any_case(event_type):
    assert isinstance(decoded(text_message("START", eventType=event_type)), OptIn)


@pytest.mark.parametrize("name", ["message", "from", "to"])
@pytest.mark.parametrize("value", [None, 1, ["START"]])
def test_a_text_without_its_fields_is_malformed(name, value):
    event = text_message("START")
    event["data"][name] = value

    with pytest.raises(MalformedEvent, match=name):
        decoded(event)


@pytest.mark.parametrize("name", ["eventType", "topic", "id"])
def test_an_event_grid_event_needs_type_topic_and_id(name):
    with pytest.raises(MalformedEvent, match=name):
        decoded(text_message("START", **{name: ""}))


def test_an_event_grid_event_of_our_own_type_is_read_like_any_other():
    event = decoded(text_message("", eventType="sms.opt-in.v1", data=bare()))

    assert (event.form, texts(event.recipients)) == (Form.EVENT_GRID, (PERSON,))


# --- files ---------------------------------------------------------------------------------------------------------

_SAMPLES = sorted(path.name for path in SAMPLES.joinpath("events").glob("*.json") if "properties" not in path.name)


@pytest.mark.parametrize("name", _SAMPLES)
def test_a_sample_ends_as_its_name_says(name):
    error = {"refused": MalformedEvent, "unsupported": UnsupportedEvent}.get(name.split("-")[0])
    if error:
        with pytest.raises(error):
            decode(arrival(sample(f"events/{name}")))
    else:
        assert decode(arrival(sample(f"events/{name}")))


def test_a_text_that_is_both_stop_and_start_is_malformed():
    event = text_message("STOP")
    event["data"]["Message"] = "START"

    with pytest.raises(MalformedEvent, match="names the same field twice"):
        decode(arrival(event))


def test_messages_without_an_id_are_told_apart_by_their_properties():
    one, other = (arrival(b"{}", message_id=None, properties={"cloudEvents:id": name}) for name in ("1", "2"))

    assert one.id != other.id
    assert one.id == arrival(b"{}", message_id=None, properties={"cloudEvents:id": "1"}).id


def test_two_versions_in_one_event_are_not_both_right():
    with pytest.raises(UnsupportedEvent):
        decoded(canonical() | {"specVersion": "0.3"})


def test_a_message_that_holds_no_event_is_malformed_in_the_words_of_who_read_it():
    with pytest.raises(MalformedEvent, match="the body is an AMQP map"):
        decoded(canonical(), unreadable="the body is an AMQP map")
