"""An opt-out never passes for an opt-in: what could be half an event is no bare request."""

import json
from base64 import b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout_core.envelopes import Form
from optout_core.errors import EventError, MalformedEvent
from optout_core.events import OptIn, OptOut, decode
from tests.build import (
    MINUTE,
    NOW,
    OTHER,
    PERSON,
    SAMPLES,
    SENDER,
    SOURCE,
    arrival,
    bare,
    canonical,
    decoded,
    sample,
    text_message,
    texts,
    wire,
)

SDKS = sorted(path.name for path in (SAMPLES / "sdks").glob("*.json"))
OPT_OUT = "sms.opt-out.v1"


def sent_by_sdk(name):
    """Make the message that a file holds."""
    message = json.loads(sample(f"sdks/{name}"))
    return arrival(message["body"].encode(), content_type=message["content_type"], properties=message["properties"])


def attributes(prefix, **changed):
    """Make the attributes of an event as properties; one that is None is left out."""
    known = {"specversion": "1.0", "type": "sms.opt-in.v1", "source": SOURCE, "id": "preference-1"} | changed
    return {f"{prefix}{name}": value for name, value in known.items() if value is not None}


# --- messages of the real SDKs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in SDKS if "mqtt" not in name])
def test_a_message_of_a_cloudevents_sdk_is_what_its_publisher_meant(name):
    (event,) = decode(sent_by_sdk(name))

    assert type(event) is (OptOut if "opt-out" in name else OptIn)
    assert (event.source.raw, event.id.raw) == (SOURCE, "preference-1")
    assert event.time == datetime(2026, 1, 23, 11, 50, tzinfo=UTC)
    assert (event.sender.text, texts(event.recipients)) == (SENDER, (PERSON,))
    assert event.form is (Form.CLOUD_EVENT_BINARY if "binary" in name else Form.CLOUD_EVENT)


@pytest.mark.parametrize("name", [name for name in SDKS if "mqtt" in name])
def test_a_message_with_attributes_that_have_no_prefix_is_refused(name):
    with pytest.raises(MalformedEvent, match="may be half an event, and that an opt-out"):
        decode(sent_by_sdk(name))


@pytest.mark.parametrize("name", [name for name in SDKS if "binary" in name])
def test_no_attribute_of_an_sdk_can_be_lost_so_that_its_opt_out_becomes_an_opt_in(name):
    message = json.loads(sample(f"sdks/{name}"))
    for lost in message["properties"]:
        rest = {each: value for each, value in message["properties"].items() if each != lost}
        try:
            events = decode(arrival(message["body"].encode(), properties=rest))
        except EventError:
            continue
        assert [isinstance(event, OptOut) for event in events] == ["opt-out" in name]


# --- signs of an event --------------------------------------------------------------------------------------------


def test_a_request_with_nothing_beside_it_is_taken():
    for fields in (
        {},
        {"content_type": "application/json"},
        {"content_type": "application/json; charset=utf-8", "correlation_id": "c-1"},
        {"properties": {"tenant": "contoso", "traceparent": "00-1", "Diagnostic-Id": "x", "optout-hop": 1}},
        {"properties": {"NServiceBus.MessageId": "x", "$AzureServiceBusTopic": "y", "ce": "x", "cents": 1}},
    ):
        assert decoded(bare(), **fields).form is Form.BARE_REQUEST


PREFIXES = [
    "cloudEvents:",
    "cloudEvents_",
    "cloudevents_",
    "cloudEvents-",
    "cloudEvent:",
    "CloudEvents.",
    "ce-",
    "ce_",
    "CE-",
    "Ce_",
    "ce:",
    "ce.",
]


@pytest.mark.parametrize("attribute", ["type", "source", "id", "time", "Type", "subject", "anything"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_property_with_the_prefix_of_an_attribute_makes_a_request_malformed(prefix, attribute):
    with pytest.raises(MalformedEvent, match="half an event"):
        decoded(bare(), properties={f"{prefix}{attribute}": OPT_OUT})


@pytest.mark.parametrize(
    "name",
    [
        *("type", "Type", "TYPE", "eventType", "event-type", "EventType", "event_type", "MessageType", "messageType"),
        *("subject", "source", "id", "time", "specversion", "SpecVersion", "eventName", "Event", "action", "topic"),
        *(
            "operation",
            "x-type",
            "NServiceBus.EnclosedMessageTypes",
            "rbs2-msg-type",
            "rbs2-msg.Type",
            "com.shop/type",
            "dataschema",
        ),
    ],
)
def test_a_property_that_says_what_happened_makes_a_request_malformed(name):
    with pytest.raises(MalformedEvent, match="a request beside a property that could be an attribute"):
        decoded(bare(), properties={name: OPT_OUT})


@pytest.mark.parametrize(
    "name",
    ["type", "Type", "eventType_", "event_type", "source", "id", "subject", "Action", "operation", "topic", "time"],
)
def test_a_field_that_says_what_happened_makes_a_request_malformed(name):
    with pytest.raises(MalformedEvent, match="a request beside a field that could be an attribute"):
        decoded(bare() | {name: OPT_OUT})


@pytest.mark.parametrize("subject", [OPT_OUT, "anything"])
def test_a_subject_makes_a_request_malformed(subject):
    with pytest.raises(MalformedEvent, match="a request beside a subject"):
        decoded(bare(), subject=subject)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+json",
        "application/cloudevents+json; charset=utf-8",
        "APPLICATION/CloudEvents+JSON",
        " application/cloudevents",
        "application/cloudevents-batch+json",
    ],
)
def test_the_content_type_of_cloudevents_makes_a_request_malformed(content_type):
    with pytest.raises(MalformedEvent, match="a request beside a content type of CloudEvents"):
        decoded(bare(), content_type=content_type)


def test_the_reason_names_no_value_of_the_publisher():
    with pytest.raises(MalformedEvent) as refused:
        decoded(bare(), properties={f"type-{PERSON}-type": PERSON})

    assert str(refused.value) == (
        "a request beside a property that could be an attribute may be half an event, and that an opt-out: send a whole"
        " CloudEvent with `specversion`, or the request alone"
    )


@given(
    prefix=st.sampled_from([*PREFIXES, ""]),
    lost=st.sampled_from(["specversion", "type", "source", "id"]),
    content_type=st.sampled_from([None, "application/json", "application/cloudevents+json"]),
)
def test_no_half_of_an_opt_out_is_an_opt_in(prefix, lost, content_type):
    properties = attributes(prefix, **{"type": OPT_OUT, lost: None})

    with pytest.raises(EventError):
        decode(arrival(bare(), properties=properties, content_type=content_type))


# --- binary mode --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", PREFIXES)
def test_attributes_are_read_under_every_prefix(prefix):
    assert isinstance(decoded(bare(), properties=attributes(prefix)), OptIn)
    assert isinstance(decoded(bare(), properties=attributes(prefix, type=OPT_OUT)), OptOut)


def test_equal_values_under_two_prefixes_are_one_attribute():
    event = decoded(bare(), properties=attributes("cloudEvents:") | attributes("ce_"))

    assert (event.form, event.id.raw) == (Form.CLOUD_EVENT_BINARY, "preference-1")


@pytest.mark.parametrize("name", ["type", "source", "id", "specversion"])
def test_different_values_under_two_prefixes_are_refused(name):
    properties = attributes("cloudEvents:") | attributes("ce-", **{name: "other"})

    with pytest.raises(MalformedEvent, match="give the same CloudEvents attribute different values"):
        decoded(bare(), properties=properties)


def test_a_whole_event_with_equal_attributes_beside_it_is_itself():
    both = attributes("cloudEvents:") | attributes("cloudEvents_")
    event = decoded(canonical(), properties=both)

    assert (event.form, event.id.raw) == (Form.CLOUD_EVENT, "preference-1")


@pytest.mark.parametrize("name", ["type", "source", "id"])
def test_a_whole_event_with_other_attributes_beside_it_is_refused(name):
    with pytest.raises(MalformedEvent, match="the properties and the body name different events"):
        decoded(canonical(), properties=attributes("ce-", **{name: OPT_OUT}))


@pytest.mark.parametrize(
    "content_type", ["application/cloudevents+json", "application/cloudevents+json; charset=UTF-8"]
)
def test_the_content_type_of_structured_mode_beats_stray_attributes(content_type):
    stray = attributes("ce-", type=OPT_OUT, id="other")

    event = decoded(canonical(), properties=stray, content_type=content_type)

    assert (type(event), event.id.raw) == (OptIn, "preference-1")
    assert isinstance(decoded(canonical(type=OPT_OUT), properties=attributes("ce-"), content_type=content_type), OptOut)


def test_attributes_without_a_version_do_not_make_binary_mode():
    assert decoded(canonical(), properties={"cloudEvents:type": "something.else"}).form is Form.CLOUD_EVENT


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-23T11:50:00Z",
        datetime(2026, 1, 23, 11, 50, tzinfo=UTC),
        datetime(2026, 1, 23, 11, 50),  # noqa: DTZ001 - as a client may give it
        1_769_169_000_000,
        639_047_658_000_000_000,
    ],
    ids=["text", "datetime", "datetime without a zone", "milliseconds", "ticks of .NET"],
)
def test_the_time_of_binary_mode_may_be_any_that_amqp_clients_give(time):
    event = decoded(bare(), properties=attributes("cloudEvents:", time=time))

    assert event.time == datetime(2026, 1, 23, 11, 50, tzinfo=UTC)


@pytest.mark.parametrize("time", [True, 1.5, 10**30, -(10**30), -(10**15), b"2026", "1769169000000"], ids=str)
def test_a_time_of_binary_mode_that_is_none_is_refused_and_hides_no_stop(time):
    with pytest.raises(MalformedEvent, match="time"):
        decoded(bare(), properties=attributes("ce-", time=time))
    assert decoded(bare(), properties=attributes("ce-", type=OPT_OUT, time=time)).time == NOW - MINUTE


# --- data in base64 -----------------------------------------------------------------------------------------------


def in_base64(data, **event):
    return canonical(data=None, **event) | {"data_base64": b64encode(data).decode()}


def test_data_in_base64_is_read_as_json():
    event = decoded(in_base64(wire(bare(PERSON, OTHER))))

    assert texts(event.recipients) == (PERSON, OTHER)
    assert isinstance(decoded(in_base64(wire(bare()), type=OPT_OUT)), OptOut)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (canonical(data=None) | {"data_base64": "not base64!"}, "`data_base64` is not base64"),
        (canonical(data=None) | {"data_base64": "\u00e9"}, "`data_base64` is not base64"),
        (canonical(data=None) | {"data_base64": 7}, "`data_base64` must be a string"),
        (canonical(data=None) | {"data_base64": None}, "`data_base64` is missing"),
        (in_base64(b"\xff\xfe"), "not UTF-8"),
        (in_base64(b"{]"), "not JSON"),
        (in_base64(b'{"from": "55555", "from": "55556"}'), "names the same field twice"),
        (in_base64(b"[]"), "`data` must be a JSON object"),
        (canonical() | {"data_base64": "e30="}, "`data` and `data_base64` are both there"),
    ],
)
def test_data_in_base64_that_cannot_be_read_is_malformed(event, said):
    with pytest.raises(MalformedEvent, match=said):
        decoded(event)


# --- spellings of known names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (canonical() | {"Type": OPT_OUT}, "the event: `Type` found, `type` expected"),
        (canonical(type=None) | {"Type": OPT_OUT}, "the event: `Type` found, `type` expected"),
        (canonical(time=None) | {"TIME": "2026-01-23T10:00:00Z"}, "the event: `TIME` found, `time` expected"),
        (canonical(data=None) | {"Data": bare()}, "the event: `Data` found, `data` expected"),
        (canonical(data=None) | {"dataBase64": "e30="}, "the event: `dataBase64` found, `data_base64` expected"),
        (canonical(data={"From": SENDER, "recipients": [{"to": PERSON}]}), "data: `From` found, `from` expected"),
        (
            canonical(data={"from": SENDER, "Recipients": [{"to": PERSON}]}),
            "data: `Recipients` found, `recipients` expected",
        ),
        (
            canonical(data={"from": SENDER, "recipients": [{"To": PERSON}]}),
            "data.recipients.0: `To` found, `to` expected",
        ),
        (canonical(data=bare() | {"Consent": {}}), "data: `Consent` found, `consent` expected"),
        *(
            (
                canonical(data=bare() | {"consent": {spelling: "2026-01-23T10:00:00Z"}}),
                f"data.consent: `{spelling}` found, `capturedAt` expected",
            )
            for spelling in ("CapturedAt", "captured_at", "capturedat", "captured-at", "CAPTURED_AT", "Captured_At")
        ),
        (canonical(data=bare() | {"consent": {"Method": "web"}}), "data.consent: `Method` found, `method` expected"),
        (
            canonical(data=bare() | {"consent": {"REFERENCE": "x"}}),
            "data.consent: `REFERENCE` found, `reference` expected",
        ),
        (bare() | {"consent": {"captured_at": "x"}}, "the request.consent: `captured_at` found, `capturedAt` expected"),
        # beside the right spelling it is as wrong: which of the two counts?
        (canonical(data=bare() | {"consent": {"method": "web", "Method": "app"}}), "`Method` found, `method` expected"),
    ],
)
def test_a_known_field_under_another_spelling_is_refused_by_name(event, said):
    with pytest.raises(MalformedEvent) as refused:
        decoded(event)

    assert said in str(refused.value)
    assert str(refused.value).endswith("names are case-sensitive")


def test_fields_that_nobody_knows_are_tolerated():
    consent = {"method": "web", "ip": "192.0.2.1", "form_version": 7}

    assert decoded(canonical(data=bare() | {"consent": consent, "campaign": "x"}, tenant="contoso", subject="x"))


def each(make, *values):
    return [make(value) for value in values]


REFUSED = [
    *each(lambda value: canonical(data=bare() | {"recipients": value}), PERSON, {}, None, 7, [], [PERSON], [[]], [{}]),
    *each(lambda value: canonical(data=bare() | {"recipients": [value]}), {"number": "x"}, {"to": []}, {"to": {}}),
    *each(lambda value: canonical(data=bare() | {"from": value}), None, 7, [], {}, "", "x" * 1025, "\0", "\ud83d"),
    *each(lambda value: canonical(data=bare() | {"consent": value}), 7, "x", [], {"method": 7}, {"method": "x" * 1025}),
    *each(lambda value: canonical(data=bare() | {"consent": {"reference": value}}), 7, "\0", "\ud83d", []),
    *each(lambda value: canonical(data=bare() | {"consent": {"capturedAt": value}}), 7, "x", "2026-01-23", "", []),
    *each(lambda value: canonical(time=value), 7, "x", "2026-01-23", "2026-01-23T10:00:00", "2026-13-01T10:00:00Z", []),
    *each(lambda value: canonical(data=value), 7, "x", [], '{"from": "x"}'),
    *each(lambda value: canonical(id=value), "", "x" * 1025, 7, "\0", "\ud83d"),
    *each(lambda value: canonical(source=value), "", "x" * 1025, 7, "\0", "\ud83d"),
    *each(lambda value: canonical(type=value), "", "x" * 1025, 7, "\0", "\ud83d"),
    *each(lambda value: text_message("START", data=value), None, "x", [], {}, {"message": 7}),
    *([], ["x"], [7], {}, "x", 7, None, {"from": SENDER}, {"recipients": []}, [bare()], {"eventType": "x"}),
]


@pytest.mark.parametrize("event", REFUSED, ids=lambda event: ascii(event)[-60:])
def test_what_is_said_to_publishers_is_in_the_words_of_the_contract(event):
    with pytest.raises(EventError) as refused:
        decoded(event)

    said = str(refused.value)
    for word in ("tuple", "pydantic", "Input should be", "dict", "NoneType", "instance", "validation", "Traceback"):
        assert word.lower() not in said.lower()
    assert 10 < len(said) < 200
    assert said.isprintable()
