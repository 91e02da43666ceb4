"""Outages and incidents that were seen, or that a client has to survive: each can be provoked."""

import gzip
import json
from itertools import islice

import httpx
import pytest

from sandbox.endpoint import Fault
from sandbox.endpoint.fault_file import parse_faults
from sandbox.endpoint.faults import Slowness
from sandbox.endpoint.plan import FaultPlan

SENDER = "+18001234567"
POISON = "+15555550000"
OTHERS = [f"+1555555{number:04}" for number in range(1, 100)]


def provoke(endpoint, *faults):
    endpoint.faults = parse_faults(json.dumps(faults))


@pytest.mark.parametrize(
    ("effect", "seen"),
    [
        ({"status": 500}, 500),
        ({"status": 400}, 400),
        ({"status": 400, "body": "html"}, "400 text/html"),
        ({"status": 403, "body": "html"}, "403 text/html"),
        ({"drop": "reset"}, "ReadError"),
        ({"drop": "silence"}, "ReadTimeout"),
    ],
    ids=str,
)
async def test_one_number_can_fail_the_request_it_is_in_and_no_other(call, http, endpoint, effect, seen):
    provoke(endpoint, {"to": POISON, **effect})
    request = call.request(endpoint, "add", to=[POISON, *OTHERS])
    request.extensions["timeout"] = {"read": 0.2}

    try:
        answered = await http.send(request)
        kind = answered.headers["Content-Type"]
        found = f"{answered.status_code} {kind}" if kind == "text/html" else answered.status_code
    except httpx.TransportError as lost:
        found = type(lost).__name__
    left_undone = endpoint.opted_out == set()
    items = await call.items(endpoint, "add", to=OTHERS)

    assert found == seen
    assert left_undone
    assert {item["httpStatusCode"] for item in items} == {200}


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500])
async def test_an_outage_can_be_told_item_by_item_for_so_many_requests(call, endpoint, status):
    provoke(endpoint, {"items": [{"httpStatusCode": status}], "times": 2})

    answers = [await call.items(endpoint, "add", to=OTHERS) for _ in range(3)]

    assert [{item["httpStatusCode"] for item in items} for items in answers] == [{status}, {status}, {200}]
    assert [len(items) for items in answers] == [99, 99, 99]


async def test_an_answer_can_hold_nobody_for_so_many_requests(call, endpoint):
    provoke(endpoint, {"items": [], "times": 1})

    answers = [(await call(endpoint, to=OTHERS)).json() for _ in range(2)]

    assert answers[0] == {"value": []}
    assert len(answers[1]["value"]) == 99


async def test_every_request_can_be_refused_as_recorded_with_a_400_that_names_nobody(call, endpoint, sample):
    provoke(endpoint, {"status": 400, "body": "invalid-input"})

    answers = [await call(endpoint, to=to) for to in ([*OTHERS], [POISON], OTHERS[:1])]

    assert [answered.status_code for answered in answers] == [400, 400, 400]
    assert all(answered.json() == sample("400-invalid-input.json") for answered in answers)
    assert answers[0].headers["Content-Type"] == "application/json"


async def test_a_problem_can_name_its_fields_as_one_likes(call, endpoint):
    errors = {"OptOutRequest.From": ["Invalid from phone number format."], "$": []}
    provoke(endpoint, {"status": 400, "body": "problem", "errors": errors})

    assert (await call(endpoint)).json()["errors"] == errors


@pytest.mark.parametrize(
    ("item", "answered"),
    [
        ({"httpStatusCode": 200.0}, b'"httpStatusCode":200.0'),
        ({"httpStatusCode": "200"}, b'"httpStatusCode":"200"'),
        ({"isOptedOut": 0}, b'"isOptedOut":0'),
        ({"isOptedOut": "false"}, b'"isOptedOut":"false"'),
    ],
    ids=str,
)
async def test_an_item_can_have_values_of_a_wrong_type(call, endpoint, item, answered):
    provoke(endpoint, {"items": [item]})

    assert answered in (await call(endpoint)).content


async def test_an_item_can_have_no_status(call, endpoint):
    provoke(endpoint, {"items": [{"httpStatusCode": None}]})

    assert (await call(endpoint, to=[POISON])).json() == {"value": [{"to": POISON}]}


async def test_an_answer_can_be_compressed_though_nobody_asked(call, http, endpoint):
    provoke(endpoint, {"body": "gzip"})

    answered = await http.send(call.request(endpoint, headers={"Accept-Encoding": "identity"}), stream=True)
    raw = b"".join([chunk async for chunk in answered.aiter_raw()])

    assert answered.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(raw))["value"]


async def test_an_answer_can_begin_with_a_byte_order_mark(call, endpoint):
    provoke(endpoint, {"body": "byte-order-mark"})

    assert (await call(endpoint)).content.startswith(b'\xef\xbb\xbf{"value"')


@pytest.mark.parametrize("body", ["truncated", "gzip", "byte-order-mark"])
async def test_what_is_made_from_an_answer_keeps_its_status(call, endpoint, body):
    provoke(endpoint, {"body": body})

    assert (await call(endpoint, key="cGFzc3dvcmQ=")).status_code == 401


async def test_retry_after_can_be_said_once_before_all_is_well(call, endpoint):
    provoke(endpoint, {"status": 429, "retryAfter": 3600, "times": 1}, {"status": 503, "after": 1, "times": 1})

    answers = [await call(endpoint) for _ in range(4)]

    assert [(answered.status_code, answered.headers.get("Retry-After")) for answered in answers] == [
        (429, "3600"),
        (200, None),
        (503, None),
        (200, None),
    ]


@pytest.mark.parametrize(("share", "met"), [(0.75, 30), (0.25, 10), (0.1, 4)])
async def test_a_share_of_the_requests_can_be_throttled_evenly(call, endpoint, share, met):
    provoke(endpoint, {"status": 429, "retryAfter": 60, "share": share})

    statuses = [(await call(endpoint)).status_code for _ in range(40)]

    assert statuses.count(429) == met
    assert statuses[0] == 429
    assert all(abs(statuses[:n].count(429) - n * share) <= 1 for n in range(41))


async def test_a_share_has_its_end_and_its_beginning(call, endpoint):
    provoke(endpoint, {"status": 503, "share": 0.5, "after": 1, "times": 2})

    assert [(await call(endpoint)).status_code for _ in range(7)] == [200, 503, 200, 503, 200, 200, 200]


def delays(slowness):
    plan = FaultPlan([Fault(delay=slowness)])
    while True:
        fault = plan.for_request("remove", SENDER, [POISON])
        assert fault is not None
        yield fault.delay


def test_slow_answers_are_spread_around_their_mean_and_the_same_for_the_same_seed():
    slowness = Slowness(mean=0.2, at_least=0.05, seed=7)

    drawn = list(islice(delays(slowness), 4000))

    assert drawn == list(islice(delays(slowness), 4000))
    assert drawn[:10] != list(islice(delays(Slowness(mean=0.2, at_least=0.05)), 10))
    assert min(drawn) >= 0.05
    assert sum(drawn) / len(drawn) == pytest.approx(0.2, rel=0.05)
    # Of an exponential distribution, 1/e lies above the mean: far from an even or a constant delay.
    assert sum(delay > 0.2 for delay in drawn) / len(drawn) == pytest.approx(0.368, abs=0.03)


async def test_an_answer_waits_as_long_as_was_drawn(call, endpoint):
    provoke(endpoint, {"delay": {"mean": 0.06, "atLeast": 0.05}, "status": 503})

    assert (await call(endpoint)).status_code == 503
    assert endpoint.requests[0].seconds >= 0.05
