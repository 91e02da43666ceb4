"""What publishers do by mistake, and the words in which their dead letter says so."""

import gzip
import json
import zlib
from base64 import b64encode

import pytest

from optout_core.errors import EventError, MalformedEvent, UnsupportedEvent
from optout_core.events import OptIn, OptOut, decode
from tests.build import NOW, PERSON, SENDER, arrival, canonical, decoded, wire

EVENT = wire(canonical())
TEXT = EVENT.decode()
DATA_CONTRACT = "http://schemas.microsoft.com/2003/10/Serialization/"
OLD = "it is what the old .NET client makes of an object (DataContractSerializer); send the JSON, in UTF-8"
WRITE_TO = 'write {"to": "+1555…"}'


def in_pascal_case(value):
    """Write a document as System.Text.Json does without options."""
    if isinstance(value, dict):
        return {name[0].upper() + name[1:]: in_pascal_case(each) for name, each in value.items()}
    return [in_pascal_case(each) for each in value] if isinstance(value, list) else value


def in_snake_case(value):
    """Write a document as JsonNamingPolicy.SnakeCaseLower does."""
    return json.loads(json.dumps(value).replace("capturedAt", "captured_at"))


def with_consent(**consent):
    return canonical(data={"from": SENDER, "recipients": [{"to": PERSON}], "consent": consent})


def with_recipients(recipients):
    return canonical(data={"from": SENDER, "recipients": recipients})


BODIES = {
    # .NET
    "the old client wrote a string": (
        b"@\x06string\x083" + DATA_CONTRACT.encode() + b"\x9a\xff" + EVENT,
        f"not UTF-8: {OLD}",
    ),
    "the REST client wrote XML": (
        f'<string xmlns="{DATA_CONTRACT}">{TEXT}</string>'.encode(),
        f"not JSON: {OLD}",
    ),
    "Encoding.Unicode": (TEXT.encode("utf-16"), "not UTF-8: it is UTF-16 or UTF-32; send the JSON in UTF-8"),
    "Encoding.Unicode without its mark": (
        TEXT.encode("utf-16-le"),
        "not JSON: it is UTF-16 or UTF-32; send the JSON in UTF-8",
    ),
    "Encoding.BigEndianUnicode": (
        TEXT.encode("utf-16-be"),
        "not JSON: it is UTF-16 or UTF-32; send the JSON in UTF-8",
    ),
    "Encoding.UTF32": (TEXT.encode("utf-32"), "not UTF-8: it is UTF-16 or UTF-32; send the JSON in UTF-8"),
    "FromObjectAsJson of a JSON text": (
        wire(TEXT),
        "an event must be a JSON object and is a string: it was written as JSON twice",
    ),
    "FromObjectAsJson of a byte[]": (
        wire(b64encode(EVENT).decode()),
        "an event must be a JSON object and is a string: it is base64, which is how .NET writes bytes as JSON",
    ),
    "a record without options": (
        wire(in_pascal_case(canonical())),
        "the event: `Type` found, `type` expected: names are case-sensitive",
    ),
    "data as a record without options": (
        wire(canonical(data=in_pascal_case(canonical()["data"]))),
        "data: `From` found, `from` expected: names are case-sensitive",
    ),
    "consent in snake case": (
        wire(in_snake_case(with_consent(capturedAt="2026-01-23T10:00:00Z"))),
        "data.consent: `captured_at` found, `capturedAt` expected: names are case-sensitive",
    ),
    "types in the JSON of JSON.NET": (
        wire(with_recipients({"$type": "List", "$values": [{"to": PERSON}]})),
        "data.recipients: `$values` found, an array expected: JSON.NET must not write types (TypeNameHandling.None)",
    ),
    "JSON.NET of an Azure CloudEvent": (
        wire(in_pascal_case(canonical(specversion=None, datacontenttype="application/json"))),
        "`specversion` is missing, and it is neither an Event Grid event nor a request with `from` and `recipients`",
    ),
    "an int as id": (wire(canonical(id=7)), "`id` must be a string"),
    "an enum as method": (wire(with_consent(method=2)), "data.consent.method: must be a string"),
    "a DateTime of no kind": (
        wire(canonical(time="2026-01-23T10:00:00")),
        "time: a time needs a UTC offset, such as Z or +02:00",
    ),
    "a date of JSON.NET": (
        wire(canonical(time="/Date(1769162400000)/")),
        "time: a time is a string such as 2026-01-23T10:00:00Z",
    ),
    "a time that nobody set": (
        wire(canonical(time="0001-01-01T00:00:00+00:00")),
        "time: it is the first moment of the year 1: no time was set",
    ),
    "a consent's time that nobody set": (
        wire(with_consent(capturedAt="0001-01-01T00:00:00Z")),
        "data.consent.capturedAt: it is the first moment of the year 1: no time was set",
    ),
    # Node
    "JSON.stringify of a Buffer": (
        wire({"type": "Buffer", "data": list(EVENT)}),
        "the body is a buffer that was written as JSON: send its bytes, or the object itself",
    ),
    "JSON.stringify of a Uint8Array": (
        wire({str(index): byte for index, byte in enumerate(EVENT)}),
        "the body is a buffer that was written as JSON: send its bytes, or the object itself",
    ),
    "a list of bytes": (
        wire(list(EVENT)),
        "the body is a buffer that was written as JSON: send its bytes, or the object itself",
    ),
    "data as a Buffer": (
        wire(canonical(data={"type": "Buffer", "data": list(EVENT)})),
        "`data` is a buffer that was written as JSON: send its bytes, or the object itself",
    ),
    "JSON.stringify of a text": (
        wire(TEXT),
        "an event must be a JSON object and is a string: it was written as JSON twice",
    ),
    "data as a text": (
        wire(canonical(data="{}")),
        "`data` must be a JSON object and is a string: it was written as JSON twice",
    ),
    "a Date written by toString": (
        wire(canonical(time="Fri Jan 23 2026 10:00:00 GMT+0000")),
        "time: a time is a string such as 2026-01-23T10:00:00Z",
    ),
    "Date.now()": (wire(canonical(time=1769162400000)), "time: a time is a string such as 2026-01-23T10:00:00Z"),
    # Python and Java
    "str of a dictionary": (
        str(canonical()).encode(),
        "not JSON: it is how Python shows a value; write it with json.dumps",
    ),
    "str of bytes": (str(EVENT).encode(), "not JSON: it is how Python shows a value; write it with json.dumps"),
    "an object of Java": (
        b"\xac\xed\x00\x05t\x01\x00" + EVENT,
        "not UTF-8: it is an object that Java serialised; send its JSON, in UTF-8",
    ),
    # anybody
    "gzip": (gzip.compress(EVENT), "not UTF-8: it is gzip; send the JSON uncompressed"),
    "zlib": (zlib.compress(EVENT), "not UTF-8: it is compressed with zlib; send the JSON uncompressed"),
    "base64": (b64encode(EVENT), "not JSON: it is base64; send the JSON itself"),
    "nothing": (b"", "not JSON: the body is empty"),
    "XML": (b"<event/>", "not JSON: it is XML; send JSON"),
    "a file of events": (EVENT + b"\n" + EVENT, "not JSON: more than one document: a message holds one event"),
    "half of an event": (b'{"from": "+1', "not JSON: Unterminated string starting at: line 1 column 10 (char 9)"),
    "Latin-1": ("{é".encode("latin-1"), "not UTF-8"),
    "no specversion": (
        wire(canonical(specversion=None)),
        "`specversion` is missing, and it is neither an Event Grid event nor a request with `from` and `recipients`",
    ),
    "another spelling of specversion": (
        wire(canonical(specversion=None) | {"spec_version": "1.0"}),
        "the event: `spec_version` found, `specversion` expected: names are case-sensitive",
    ),
    "recipients as texts": (
        wire(with_recipients([PERSON])),
        f"data.recipients: a recipient is an object, {WRITE_TO}",
    ),
    "one recipient in place of a list": (
        wire(with_recipients({"to": PERSON})),
        'data.recipients: must be an array, write [{"to": "+1555…"}]',
    ),
    "one text in place of a list": (
        wire(with_recipients(PERSON)),
        'data.recipients: must be an array, write [{"to": "+1555…"}]',
    ),
    "recipients under another name": (
        wire(with_recipients([{"number": PERSON}])),
        f"data.recipients: no recipient has a `to`, {WRITE_TO}",
    ),
    "no recipients": (wire(with_recipients([])), "data.recipients: must hold at least one"),
    "recipients that are null": (wire(with_recipients(None)), "data.recipients: must be an array"),
}


@pytest.mark.parametrize("mistake", BODIES)
def test_a_mistake_is_named_in_words(mistake):
    body, said = BODIES[mistake]

    with pytest.raises(MalformedEvent) as refused:
        decode(arrival(body))

    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            canonical(type="sms.opt-in"),
            "we do not know the event type 'sms.opt-in'; ours are `sms.opt-in.v1` and `sms.opt-out.v1`",
        ),
        (
            canonical(specversion="0.3"),
            "`specversion` is not 1.0, the only version of CloudEvents that we read",
        ),
    ],
)
def test_what_we_do_not_know_is_named_beside_what_we_know(event, said):
    with pytest.raises(UnsupportedEvent) as refused:
        decode(arrival(event))

    assert str(refused.value) == said


@pytest.mark.parametrize("mistake", BODIES)
def test_the_words_hold_nothing_of_the_body(mistake):
    body, _ = BODIES[mistake]

    with pytest.raises(EventError) as refused:
        decode(arrival(body))

    assert PERSON not in str(refused.value)
    assert "5555" not in str(refused.value)


@pytest.mark.parametrize("unknown", [{"0": 1, "x": 2}, {"type": "Buffer", "data": [1], "x": 1}, {}, [], [[1]], "text"])
def test_a_field_that_nobody_reads_may_be_anything(unknown):
    assert isinstance(decoded(canonical() | {"x": unknown}), OptIn)


def test_a_stop_whose_time_nobody_set_counts_from_its_arrival():
    stop = decoded(canonical(type="sms.opt-out.v1", time="0001-01-01T00:00:00+00:00"), enqueued_at=NOW)

    assert isinstance(stop, OptOut)
    assert stop.time == NOW
