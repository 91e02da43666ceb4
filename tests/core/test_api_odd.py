"""Answers that nobody wrote down: whatever comes back, everybody asked for has an outcome, and no wait is absurd."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from optout_core.api import Answer, read_answer
from optout_core.batches import MAX_RECIPIENTS, Batch
from optout_core.errors import RequestError
from optout_core.numbers import read_number, read_sender
from optout_core.outcomes import Outcome, Verdict
from tests.build import NOW, answer, batch
from tests.core.strategies import clear_numbers, json_values, written_senders

batches = st.builds(
    Batch,
    written_senders.map(read_sender),
    st.lists(clear_numbers, min_size=1, max_size=MAX_RECIPIENTS, unique=True).map(tuple),
)


def write(number):
    return number.text


@given(batch=batches, choose=st.data())
def test_nobody_vanishes_and_nobody_is_invented(batch, choose):
    items = st.fixed_dictionaries(
        {"to": (st.sampled_from(batch.recipients) | clear_numbers).map(write) | json_values},
        optional={
            "httpStatusCode": st.sampled_from([200, 204, 400, 408, 429, 500]) | json_values,
            "errorMessage": json_values,
            "isOptedOut": json_values,
        },
    )
    body = {"value": choose.draw(st.lists(items | json_values, max_size=20))}

    outcomes = reconciled(batch, answer(body=body))

    removed = {to for to, outcome in outcomes.items() if outcome.verdict is Verdict.CONFIRMED}
    named = [item for item in body["value"] if isinstance(item, dict)]
    assert all(
        any(is_about(to, item.get("to")) and item.get("httpStatusCode") in (200, 204) for item in named)
        for to in removed
    )


@given(
    batch=batches,
    status=st.integers(200, 599) | st.sampled_from([200, 400, 401, 429]),
    body=st.binary(max_size=50) | json_values.map(lambda document: json.dumps(document).encode()),
    headers=st.dictionaries(
        st.sampled_from(["ms-cv", "retry-after", "retry-after-ms", "x-ms-retry-after-ms"]), st.text(max_size=40)
    ),
)
@example(batch=batch(), status=429, body=b"", headers={"retry-after": "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"})
def test_whatever_comes_back_everybody_has_an_outcome_that_can_be_sent_on(batch, status, body, headers):
    reconciled(batch, Answer(status=status, headers=headers, body=body, received_at=NOW))


def is_about(recipient, written):
    return isinstance(written, str) and read_number(written).digits == recipient.digits


def reconciled(batch, received):
    """Read an answer as the client does, and hold what every outcome must keep to."""
    try:
        outcomes = read_answer(batch, received)
    except RequestError as error:
        outcomes = dict.fromkeys(batch.recipients, Outcome.of_error(error))
    assert list(outcomes) == list(batch.recipients)
    for outcome in outcomes.values():
        assert len(outcome.detail) <= 200
        assert outcome.status is None or 100 <= outcome.status < 600
        assert outcome.retry_after is None or outcome.retry_after >= 0
    return outcomes


# --- how long to wait ---------------------------------------------------------------------------------------------


def waits(status, headers):
    """Give the seconds that an answer asks us to wait."""
    with pytest.raises(RequestError) as raised:
        read_answer(batch(), answer(status, headers=headers))
    return raised.value.retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 120 "}, 120.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "Fri, 23 Jan 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 23 Jan 2026 13:00:30 +0100"}, 30.0),
        ({"retry-after": "Fri, 23 Jan 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Friday, 23-Jan-26 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 23 Jan 2026 11:59:00 GMT"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "1500", "x-ms-retry-after-ms": "250", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "3601"}, 3600.0),
        ({"retry-after": "9" * 400}, 3600.0),
        ({"retry-after": "Fri, 23 Jan 2026 14:00:30 GMT"}, 3600.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359"}, 3600.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"}, None),
        ({"retry-after": "Fri, 23 Jan 2026 12:00:30 +9999"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_server_says_how_long_to_wait_and_is_believed_up_to_an_hour(headers, seconds):
    assert waits(429, headers) == seconds


@pytest.mark.parametrize("status", [400, 401, 404])
def test_only_an_endpoint_that_is_unavailable_says_how_long_to_wait(status):
    assert waits(status, {"retry-after": "7"}) is None
