"""What hypothesis makes up for the core: numbers, events, JSON of every kind."""

import re
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

from optout_core.contract import Consent
from optout_core.envelopes import Form
from optout_core.events import OptIn
from optout_core.masking import Untrusted
from optout_core.numbers import read_number, read_sender
from tests.build import NOW

#: Numbers that name a person, as they are after cleaning.
people = st.from_regex(r"\+1[2-9][0-9]{9}", fullmatch=True)
#: What a publisher may write where a number belongs.
written_numbers = st.one_of(
    people,
    st.text("+0123456789 -.()", min_size=1, max_size=20),
    st.text(min_size=1, max_size=20),
)
#: What the published schema allows where a number belongs.
numbers_of_the_schema = st.one_of(
    people, st.from_regex(re.compile(r"(?:tel:)?(?:\+|00)?[1-9](?:[ .()/-]{0,2}[0-9]){2,14}", re.ASCII), fullmatch=True)
).filter(lambda number: "(0)" not in number)
#: Numbers as a decoded event holds them; some are none.
read_numbers = written_numbers.map(read_number)
#: Numbers that are worth a question to ACS.
clear_numbers = st.one_of(people, st.from_regex(r"\+?[1-9][0-9]{2,14}", fullmatch=True)).map(read_number)
#: What a publisher may write where the sender belongs, of the kinds that are taken.
written_senders = st.one_of(
    people,
    st.from_regex(r"[1-9][0-9]{4,5}", fullmatch=True),
    st.from_regex(r"[A-Za-z][A-Za-z0-9 .-]{0,10}", fullmatch=True),
)
#: NUL is no text that could be stored.
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=300)
facts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)

_offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(
    lambda offset: timezone(timedelta(minutes=offset // timedelta(minutes=1)))
)
#: From year 1 to 9999, in every offset, but for the ends of the calendar.
times = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=_offsets)  # noqa: DTZ001 - hypothesis adds the zone
past_times = st.datetimes(datetime(2000, 1, 1), NOW.replace(tzinfo=None) - timedelta(days=2), timezones=_offsets)  # noqa: DTZ001 - hypothesis adds the zone

consents = st.builds(
    Consent,
    captured_at=st.none() | past_times.map(lambda time: time.astimezone(UTC)),
    method=st.none() | facts,
    reference=st.none() | facts,
)


@st.composite
def opt_ins(draw):
    """An opt-in as `decode` may give it: its time is the earliest that is known."""
    consent = draw(st.none() | consents)
    said = draw(past_times).astimezone(UTC)
    captured = consent.captured_at if consent else None
    return OptIn(
        form=draw(st.sampled_from(Form)),
        source=Untrusted(draw(names)),
        id=Untrusted(draw(names)),
        time=min(said, captured or said),
        sender=read_sender(draw(written_senders)),
        recipients=tuple(draw(st.lists(read_numbers, min_size=1, max_size=20, unique=True))),
        consent=consent,
    )


_surrogates = st.text(st.characters(codec=None), max_size=10)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(allow_nan=False, allow_infinity=False),
    _surrogates,
    st.sampled_from(["1.0", "sms.opt-in.v1", "sms.opt-out.v1", "Microsoft.Communication.SMSReceived", "START", "STOP"]),
    st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.9999999-14:00", "2026-01-23T10:00:00Z"]),
)
_keys = (
    _surrogates
    | st.sampled_from(["specversion", "SpecVersion", "type", "source", "id", "time", "data", "eventType", "topic"])
    | st.sampled_from(["from", "recipients", "to", "consent", "capturedAt", "method", "reference", "eventTime"])
    | st.sampled_from(["From", "To", "Message", "message", "receivedTimestamp"])
)
json_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=6),
    max_leaves=12,
)


@st.composite
def published_events(draw):
    """What the contract allows, with fields that it does not name."""

    def extended(fields):
        unknown = draw(
            st.dictionaries(_surrogates.filter(lambda name: plain(name) not in known), json_values, max_size=2)
        )
        return unknown | fields

    def plain(name):
        return name.replace("_", "").replace("-", "").casefold()

    known = {"from", "to", "recipients", "consent", "capturedat", "method", "reference", "specversion"}
    known |= {"type", "source", "id", "time", "data", "database64"}
    consent = {"capturedAt": draw(st.none() | times.map(datetime.isoformat)), "method": draw(st.none() | facts)}
    recipients = [extended({"to": draw(numbers_of_the_schema)}) for _ in range(draw(st.integers(1, 3)))]
    request = {"from": draw(written_senders), "recipients": recipients, "consent": extended(consent)}
    event = {
        "specversion": "1.0",
        "type": "sms.opt-in.v1",
        "source": draw(names),
        "id": draw(names),
        "time": draw(st.none() | times.map(datetime.isoformat)),
        "data": extended(request),
    }
    return extended(event)


@st.composite
def mutated(draw, documents):
    """A document in which some values, somewhere, were left out or replaced by others."""
    document = draw(documents)
    for _ in range(draw(st.integers(1, 3))):
        document = _mutate(draw, document)
    return document


def _mutate(draw, value):
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        rest = {name: inner for name, inner in value.items() if name != key}
        return rest if not draw(st.integers(0, 3)) else rest | {key: _mutate(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], _mutate(draw, value[index]), *value[index + 1 :]]
    return draw(json_values)
