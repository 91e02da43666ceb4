"""What is read at once is what the reader of every form reads; all else is left to that one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout_core.contract import Consent
from optout_core.errors import EventError
from optout_core.events import OptIn, decode
from optout_core.ordinary import read_ordinary
from tests.build import OTHER, PERSON, SENDER, arrival, bare, canonical, wire
from tests.core.strategies import json_values, mutated, people, published_events

CONSENT = {"capturedAt": "2026-01-23T11:40:00Z", "method": "web-form", "reference": "consents/7f3a"}
WHOLE = canonical(PERSON, OTHER, datacontenttype="application/json")
WHOLE["data"]["consent"] = CONSENT
BODY = json.dumps(WHOLE, separators=(",", ":")).encode()

#: As JavaScript, Python, .NET and databases write them.
TIMES = [
    "2026-01-23T11:50:00Z",
    "2026-01-23T11:50:00.5+00:00",
    "2026-01-23T11:50:00.1234567Z",
    "2026-01-23T13:50:00.9999999+02:00",
    "2026-01-23 11:50:00.123456Z",
]
#: What almost every publisher sends, with what it may leave out.
ordinary_events = st.builds(
    lambda source, to, time, consent, attributes: canonical(
        source=source, time=time, data=bare(*to) | ({"consent": consent} if consent else {}), **attributes
    ),
    st.sampled_from(["https://shop.example/preferences", "urn:crm", "é/😀"]),
    st.lists(people | st.sampled_from(["+44 7700 900123", "55555", "nobody", ""]), min_size=1, max_size=5),
    st.none() | st.sampled_from(TIMES),
    st.dictionaries(st.sampled_from(sorted(CONSENT)), st.sampled_from(TIMES), max_size=3),
    st.dictionaries(st.just("datacontenttype"), st.just("application/json"), max_size=1),
)


def read_at_once(message):
    """Read a message as the processor does."""
    return read_ordinary(message, message.first_enqueued)


def agree(message):
    """Say whether what was read at once, if anything, is what the reader of every form reads."""
    read = read_at_once(message)
    if read is None:
        return True
    try:
        (other,) = decode(message)
    except EventError:
        return False
    # Comparing leaves the form out.
    return (read, read.form, repr(read)) == (other, other.form, repr(other))


@given(event=ordinary_events)
def test_an_ordinary_event_is_read_at_once(event):
    message = arrival(json.dumps(event, ensure_ascii=False).encode())

    assert read_at_once(message) is not None
    assert agree(message)


@given(event=published_events() | mutated(ordinary_events | published_events()))
def test_whatever_an_event_holds_both_readers_agree(event):
    assert agree(arrival(json.dumps(event).encode()))
    assert agree(arrival(json.dumps(event, ensure_ascii=False).encode(errors="surrogatepass")))


@given(
    event=ordinary_events,
    edits=st.lists(
        st.tuples(
            st.integers(0, 600),
            st.integers(0, 3),
            st.sampled_from([b"", b'"', b":", b",", b"{", b"}", b"[", b"]", b"null", b"1", b" ", b"\n", b"\0", b"\xff"])
            | st.sampled_from(
                [b"\\", b'"time":"2026-01-23T11:50:00Z",', b'"id":"a",', b'"to":"+1",', b'"":"",', b"\x7f"]
            ),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_whatever_happens_to_its_bytes_both_readers_agree(event, edits):
    body = json.dumps(event, separators=(",", ":")).encode()
    for place, length, instead in edits:
        at = place % len(body)
        body = body[:at] + instead + body[at + length :]

    assert agree(arrival(body))


@given(
    time=st.sampled_from(TIMES), cuts=st.lists(st.tuples(st.integers(0, 40), st.text("0129:.,-+TtZzW ", max_size=2)))
)
def test_whatever_a_time_says_both_readers_agree(time, cuts):
    for place, instead in cuts:
        time = time[:place] + instead + time[place + 1 :]

    assert agree(arrival(wire(WHOLE | {"time": time})))


@given(properties=st.dictionaries(st.text(max_size=20) | st.sampled_from(["cloudEvents:type", "ce_id"]), json_values))
def test_whatever_stands_beside_it_both_readers_agree(properties):
    assert agree(arrival(BODY, properties=properties))


def test_all_that_it_says_is_read():
    read = read_at_once(arrival(BODY))

    assert read == decode(arrival(BODY))[0]
    assert isinstance(read, OptIn)
    assert [to.text for to in read.recipients] == [PERSON, OTHER]
    assert isinstance(read.consent, Consent)
    assert (read.consent.method, read.consent.reference) == ("web-form", "consents/7f3a")
    assert read.time == read.consent.captured_at


@pytest.mark.parametrize(
    "body",
    [
        *(BODY.replace(f'"{name}":'.encode(), f'"{name}":"x","{name}":'.encode(), 1) for name in ("id", "from", "to")),
        *(BODY.replace(f'"{name}":'.encode(), f'"{name}":null,"{name}":'.encode(), 1) for name in ("time", "consent")),
        BODY.replace(b'"method":', b'"method":null,"method":'),
        BODY.replace(b'"method":"web-form"', b'"method":null'),
        BODY.replace(b"preference-1", rb"preference\u002d1"),
        b"\xef\xbb\xbf" + BODY,
        b"[" + BODY + b"]",
        wire(WHOLE | {"tenant": "contoso"}),
        wire(WHOLE | {"data": WHOLE["data"] | {"tenant": "contoso"}}),
        wire(WHOLE | {"time": "2026-01-23T11:50:00"}),
        wire(WHOLE | {"time": "2026-01-23"}),
        wire(WHOLE | {"time": "2026-01-23X11:50:00Z"}),
        wire(WHOLE | {"time": "2026-01-23T11:50:60Z"}),
        wire(WHOLE | {"time": "0001-01-01T00:00:00Z"}),
        wire(WHOLE | {"time": "9999-12-31T23:59:59-01:00"}),
        wire(WHOLE | {"time": "yesterday"}),
        wire(WHOLE | {"time": 1769169000}),
        wire(WHOLE | {"specversion": "0.3"}),
        wire(WHOLE | {"type": "sms.opt-out.v1"}),
        wire(WHOLE | {"type": "Microsoft.Communication.SMSReceived"}),
        BODY.replace(b"preference-1", b"preference\x7f1"),
        wire(WHOLE | {"source": ""}),
        BODY.replace(b"https:", b"\x7fhttps:"),
        BODY.replace(SENDER.encode(), b"Con\x7ftoso"),
        wire(WHOLE | {"data": bare() | {"recipients": []}}),
        wire(WHOLE | {"data": bare() | {"recipients": [{"to": 15555555551}]}}),
        wire(WHOLE | {"data": bare() | {"recipients": [PERSON]}}),
        wire(WHOLE | {"data": bare() | {"from": "?"}}),
        wire(WHOLE | {"data": bare() | {"consent": CONSENT | {"capturedAt": ""}}}),
        wire(WHOLE | {"data": bare() | {"consent": {"method": "x" * 1025}}}),
        wire(bare()),
        b"",
        b"\x1f\x8b",
    ],
)
def test_what_is_odd_is_left_to_the_reader_of_every_form(body):
    assert read_at_once(arrival(body)) is None


@pytest.mark.parametrize(
    "beside",
    [{"properties": {"cloudEvents:type": "sms.opt-out.v1"}}, {"unreadable": "the body holds a decimal"}],
)
def test_so_is_what_stands_beside_an_attribute_or_came_broken(beside):
    assert read_at_once(arrival(BODY, **beside)) is None
