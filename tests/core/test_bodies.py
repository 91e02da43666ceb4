"""The fast reader of JSON understands what Python's understands, and refuses what we refuse."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout_core.bodies import _DECODER, read_json
from optout_core.errors import MalformedEvent

TEXTS = st.text() | st.sampled_from([":", "a:b", '":', "\\u003a", "\u003a", "specversion", "🙂", "\\"])
NUMBERS = (
    st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(min_value=10**20, max_value=10**400)
)
#: An object is a list of pairs, so that a field can stand there twice.
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.lists(st.tuples(TEXTS, inner), max_size=4).map(tuple),
    max_leaves=12,
)


def written(value, *, ascii_only):
    """Write a value, whatever stands in it twice."""
    if isinstance(value, tuple):
        pairs = (f"{written(name, ascii_only=ascii_only)}: {written(of, ascii_only=ascii_only)}" for name, of in value)
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(written(each, ascii_only=ascii_only) for each in value)}]"
    return json.dumps(value, ensure_ascii=ascii_only)


def understood(read, body):
    """Give what a reader makes of a body, or that it refuses it."""
    try:
        return read(body)
    except MalformedEvent:
        return "refused"


@given(value=VALUES, ascii_only=st.booleans())
def test_both_readers_understand_the_same(value, ascii_only):
    text = written(value, ascii_only=ascii_only)

    slow = understood(_DECODER.decode, text)

    fast = understood(read_json, text.encode(errors="surrogatepass"))
    # Half a surrogate pair is no UTF-8.
    assert fast == slow or (fast == "refused" and not ascii_only and not text.isprintable())


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": ":", "a": 2}',
        rb'{"a": 1, "a": "\u003a"}',
        rb'{"a": 1, "a": "\u003A"}',
        b'{"x": {"a": [{"b": 1, "b": 1}]}}',
        b'[{"a": 1, "a": 1}]',
    ],
)
def test_a_field_that_stands_there_twice_is_refused_wherever_a_colon_is(body):
    with pytest.raises(MalformedEvent, match="twice"):
        read_json(body)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"01", b"+1", b".5", b"1."])
def test_what_is_no_number_of_json_is_refused(number):
    with pytest.raises(MalformedEvent, match="not JSON"):
        read_json(b'{"a": ' + number + b"}")


def test_a_number_beyond_every_float_is_infinite_to_both():
    assert math.isinf(read_json(b'{"a": 1e999}')["a"])
    assert math.isinf(read_json(rb'{"a": 1e999, "b": "\u003c"}')["a"])
