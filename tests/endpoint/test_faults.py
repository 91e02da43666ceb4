"""Faults on demand: each row of the outcome table can be provoked."""

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import get_args

import httpx
import pytest

from sandbox.endpoint import REFERENCE_FAULTS, Endpoint, Fault, Item, load_faults
from sandbox.endpoint.fault_file import dump_faults, parse_faults
from sandbox.endpoint.faults import Drop

SENDER = "+18001234567"
PERSON = "+15555555551"
ANOTHER = "+15555555552"
SAMPLES = Path(__file__).parents[1] / "samples" / "acs"


@pytest.mark.parametrize(
    ("items", "answered"),
    [
        ([], []),
        ([{"httpStatusCode": 503}], [{"to": PERSON, "httpStatusCode": 503}]),
        (
            [{"errorMessage": "Internal Server Error"}],
            [{"to": PERSON, "httpStatusCode": 200, "errorMessage": "Internal Server Error"}],
        ),
        ([{"isOptedOut": True}], [{"to": PERSON, "httpStatusCode": 200, "isOptedOut": True}]),
        ([{}, {}], [{"to": PERSON, "httpStatusCode": 200}, {"to": PERSON, "httpStatusCode": 200}]),
        ([{}, {"httpStatusCode": 400}], [{"to": PERSON, "httpStatusCode": 200}, {"to": PERSON, "httpStatusCode": 400}]),
        (
            [{}, {"to": "+15555559999"}],
            [{"to": PERSON, "httpStatusCode": 200}, {"to": "+15555559999", "httpStatusCode": 200}],
        ),
    ],
    ids=["missing", "failed", "2xx with errorMessage", "still opted out", "duplicated", "contradictory", "extra"],
)
async def test_items_take_the_place_of_one_recipients_answer(call, endpoint, items, answered):
    endpoint.faults = parse_faults(json.dumps([{"to": PERSON, "items": items}]))

    assert await call.items(endpoint, to=[PERSON, ANOTHER]) == [*answered, {"to": ANOTHER, "httpStatusCode": 200}]


async def test_items_without_a_recipient_answer_for_everybody(call, endpoint):
    endpoint.faults = [Fault(items=(Item(http_status_code=429),))]

    assert [item["httpStatusCode"] for item in await call.items(endpoint, to=[PERSON, ANOTHER])] == [429, 429]


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        (Fault(items=()), True),
        (Fault(items=(), applied=True), False),
        (Fault(status=503), True),
        (Fault(status=503, applied=True), False),
        (Fault(drop="reset"), True),
        (Fault(drop="close", applied=True), False),
        (Fault(drop="reset-mid-body"), False),
        (Fault(body="truncated"), False),
        (Fault(delay=0.01), False),
    ],
    ids=str,
)
async def test_the_list_changes_unless_the_fault_stands_in_place_of_the_work(call, endpoint, fault, left):
    endpoint.opted_out.add((SENDER, PERSON))
    endpoint.faults = [fault]

    try:
        await call(endpoint)
    except httpx.TransportError:
        assert fault.drop

    assert bool(endpoint.opted_out) == left


@pytest.mark.parametrize("status", [307, 400, 401, 403, 404, 408, 429, 499, 500, 502, 503, 504])
async def test_a_whole_request_can_be_refused_with_any_status(call, endpoint, status):
    endpoint.faults = [Fault(status=status)]

    answered = await call(endpoint)

    assert answered.status_code == status
    assert list(answered.json()) == ["error"]
    assert "MS-CV" in answered.headers


async def test_an_error_object_has_a_word_for_its_status_or_the_text_one_wants(call, endpoint):
    endpoint.faults = [Fault(status=429, times=1), Fault(status=401, code="Unauthorized", message="")]

    assert (await call(endpoint)).json() == {"error": {"code": "TooManyRequests", "message": "Too Many Requests"}}
    assert (await call(endpoint)).json() == {"error": {"code": "Unauthorized", "message": ""}}


async def test_a_problem_names_the_sender_or_nobody(call, endpoint):
    endpoint.faults = [Fault(status=400, body="problem-from", times=1), Fault(status=400, body="problem")]

    from_problem = await call(endpoint)
    problem = await call(endpoint)

    assert from_problem.headers["Content-Type"] == problem.headers["Content-Type"]
    assert problem.headers["Content-Type"].startswith("application/problem+json")
    assert from_problem.json()["errors"] == {"From": ["Invalid from phone number format."]}
    assert problem.json()["errors"] == {}


@pytest.mark.parametrize("status", [400, 502])
async def test_the_edge_answers_in_html_and_without_the_headers_of_acs(call, endpoint, status):
    endpoint.faults = [Fault(status=status, body="html")]

    answered = await call(endpoint)

    assert answered.status_code == status
    assert answered.content == (SAMPLES / f"{status}-edge.html").read_bytes()
    assert answered.headers["Content-Type"] == "text/html"
    assert "x-azure-ref" in answered.headers
    assert "MS-CV" not in answered.headers


@pytest.mark.parametrize("status", [None, 500])
async def test_a_body_can_be_empty(call, endpoint, status):
    endpoint.faults = [Fault(status=status, body="empty")]

    answered = await call(endpoint)

    assert answered.status_code == (status or 200)
    assert answered.content == b""


async def test_a_body_can_be_bytes_that_are_no_text(call, endpoint):
    endpoint.faults = [Fault(body="garbage")]

    answered = await call(endpoint)

    assert answered.status_code == 200
    with pytest.raises(UnicodeDecodeError):
        answered.content.decode()


@pytest.mark.parametrize("status", [None, 400])
async def test_a_truncated_body_is_the_first_half_of_the_answer(call, endpoint, status):
    endpoint.faults = [Fault(status=status, body="truncated")]

    answered = await call(endpoint)

    assert answered.text.startswith('{"error"' if status else '{"value"')
    with pytest.raises(json.JSONDecodeError):
        answered.json()


async def test_an_oversized_body_is_valid_json_of_more_than_thirty_two_mebibytes(call, endpoint):
    endpoint.faults = [Fault(body="oversized")]

    answered = await call(endpoint)

    assert len(answered.content) > 32 * 2**20
    assert answered.json() == {"value": [{"to": PERSON, "httpStatusCode": 200}]}


async def test_a_client_that_leaves_an_oversized_body_early_disturbs_nobody(call, http, endpoint, caplog):
    endpoint.faults = [Fault(body="oversized", times=1)]

    answered = await http.send(call.request(endpoint), stream=True)
    await anext(answered.aiter_raw())
    await answered.aclose()

    assert (await call(endpoint)).status_code == 200
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


@pytest.mark.parametrize("value", [7, "120", "soon"])
async def test_retry_after_is_sent_in_seconds_or_as_any_text(call, endpoint, value):
    endpoint.faults = [Fault(status=429, retry_after=value)]

    assert (await call(endpoint)).headers["Retry-After"] == str(value)


@pytest.mark.parametrize("seconds", [90, -90])
async def test_retry_after_is_sent_as_a_date(call, endpoint, seconds):
    endpoint.faults = [Fault(status=503, retry_after_date=seconds)]

    value = (await call(endpoint)).headers["Retry-After"]

    assert value.endswith(" GMT")
    assert abs((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds() - seconds) < 10


async def test_a_redirect_says_where_it_leads(call, endpoint):
    endpoint.faults = [Fault(status=308, location="https://elsewhere.example/")]

    answered = await call(endpoint)

    assert (answered.status_code, answered.headers["Location"]) == (308, "https://elsewhere.example/")


@pytest.mark.parametrize(
    ("drop", "error"),
    [
        ("reset", httpx.ReadError),
        ("close", httpx.RemoteProtocolError),
        ("reset-mid-body", httpx.ReadError),
        ("close-mid-body", httpx.RemoteProtocolError),
    ],
)
async def test_a_connection_can_end_before_or_in_the_middle_of_the_answer(call, http, endpoint, drop, error):
    endpoint.faults = [Fault(drop=drop, times=1)]
    answered = None

    with pytest.raises(error):  # noqa: PT012 - how far the answer came tells the two kinds apart
        answered = await http.send(call.request(endpoint), stream=True)
        await answered.aread()

    assert (answered is not None) == ("mid-body" in drop)
    assert [request.status for request in endpoint.requests] == [200 if answered else None]
    assert (await call(endpoint)).status_code == 200


async def test_a_client_that_gave_up_before_its_connection_is_dropped_disturbs_nobody(call, http, endpoint):
    endpoint.faults = [Fault(delay=0.05, drop="reset", times=1), Fault(delay=0.2)]
    request = call.request(endpoint)
    request.extensions["timeout"] = {"read": 0.02}

    with pytest.raises(httpx.ReadTimeout):
        await http.send(request)

    assert (await call(endpoint)).status_code == 200
    assert [request.status for request in endpoint.requests] == [None, 200]


@pytest.mark.parametrize("drop", get_args(Drop))
async def test_a_dropped_connection_leaves_no_noise_in_the_log(call, endpoint, caplog, drop):
    endpoint.faults = [Fault(drop=drop)]

    with pytest.raises(httpx.TransportError):
        await call(endpoint)

    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_a_delay_holds_the_answer_back(call, endpoint):
    endpoint.faults = [Fault(delay=0.05, status=503)]

    assert (await call(endpoint)).status_code == 503
    assert endpoint.requests[0].seconds >= 0.05


async def test_leaving_does_not_wait_for_an_answer_that_is_held_back(call, http):
    async with Endpoint(faults=[Fault(delay=3600)]) as endpoint:
        request = call.request(endpoint)
        request.extensions["timeout"] = {"read": 0.1}

        with pytest.raises(httpx.ReadTimeout):
            await http.send(request)


async def test_a_fault_can_let_some_matches_pass_and_then_apply_a_number_of_times(call, endpoint):
    endpoint.faults = [Fault(status=503, after=1, times=2)]

    assert [(await call(endpoint)).status_code for _ in range(5)] == [200, 503, 503, 200, 200]


async def test_an_exhausted_fault_gives_way_to_the_next(call, endpoint):
    endpoint.faults = [Fault(status=429, times=1), Fault(status=500, times=1)]

    assert [(await call(endpoint)).status_code for _ in range(3)] == [429, 500, 200]


async def test_an_item_heals_after_so_many_tries(call, endpoint):
    endpoint.faults = [Fault(to=PERSON, items=(Item(http_status_code=500),), times=2)]

    answers = [await call.items(endpoint, to=[PERSON, ANOTHER]) for _ in range(3)]

    assert [[item["httpStatusCode"] for item in items] for items in answers] == [[500, 200], [500, 200], [200, 200]]


@pytest.mark.parametrize(
    ("matcher", "statuses"),
    [
        ({}, [503, 503, 503, 503]),
        ({"to": PERSON}, [503, 503, 200, 503]),
        ({"sender": SENDER}, [503, 200, 503, 503]),
        ({"operation": "remove"}, [503, 503, 503, 200]),
        ({"to": PERSON, "sender": SENDER, "operation": "check"}, [200, 200, 200, 503]),
    ],
)
async def test_a_fault_meets_the_requests_that_all_its_matchers_name(call, endpoint, matcher, statuses):
    endpoint.faults = [Fault(status=503, **matcher)]

    answered = [
        await call(endpoint, to=[ANOTHER, PERSON]),
        await call(endpoint, sender="+18772125291"),
        await call(endpoint, to=[ANOTHER]),
        await call(endpoint, "check"),
    ]

    assert [one.status_code for one in answered] == statuses


async def test_the_request_and_its_recipients_have_their_own_faults(call, endpoint):
    endpoint.faults = [Fault(delay=0.01), Fault(to=PERSON, items=(Item(http_status_code=408),))]

    assert (await call.items(endpoint))[0]["httpStatusCode"] == 408


async def test_the_edge_asks_for_no_credential(call, endpoint):
    endpoint.faults = [Fault(status=502, body="html")]

    assert (await call(endpoint, key="cGFzc3dvcmQ=")).status_code == 502


async def test_an_unconfirmed_change_still_needs_a_credential(call, endpoint):
    endpoint.faults = [Fault(status=502, applied=True)]

    assert (await call(endpoint, "add", key="cGFzc3dvcmQ=")).status_code == 502
    assert endpoint.opted_out == set()


async def test_setting_faults_starts_their_counts_anew(call, endpoint):
    once = Fault(status=503, times=1)
    statuses = []
    for _ in range(2):
        endpoint.faults = [once]
        statuses += [(await call(endpoint)).status_code for _ in range(2)]

    assert statuses == [503, 200, 503, 200]


async def test_another_process_can_read_set_and_clear_faults_over_http(call, http, endpoint):
    address = f"{endpoint.url}/sandbox/faults"
    faults = [{"to": PERSON, "items": [{"httpStatusCode": 500}], "times": 2}, {"status": 429, "retryAfter": 2}]

    put = await http.put(address, json=faults)

    assert put.json() == (await http.get(address)).json()
    assert parse_faults(put.content) == parse_faults(json.dumps(faults)) == endpoint.faults
    assert (await call(endpoint)).headers["Retry-After"] == "2"
    assert (await http.delete(address)).status_code == 204
    assert endpoint.faults == ()
    assert [request.operation for request in endpoint.requests] == ["remove"]


@pytest.mark.parametrize("body", [b"", b"{}", b'[{"status":"+15555555551"}]', b"[{}]", b'[{"state":500}]'])
async def test_faults_that_cannot_be_used_leave_the_old_ones_in_force(http, endpoint, body):
    endpoint.faults = REFERENCE_FAULTS

    refused = await http.put(f"{endpoint.url}/sandbox/faults", content=body)

    assert refused.status_code == 400
    assert refused.text.startswith("these faults cannot be used: ")
    assert refused.text.endswith("Nothing was changed.\n")
    assert PERSON not in refused.text
    assert endpoint.faults == REFERENCE_FAULTS


def test_faults_are_loaded_from_a_file(tmp_path):
    file = tmp_path / "faults.json"
    file.write_bytes(dump_faults(REFERENCE_FAULTS))

    assert load_faults(file) == REFERENCE_FAULTS


def test_a_file_that_cannot_be_used_is_named_with_the_place_that_is_wrong(tmp_path):
    file = tmp_path / "faults.json"
    file.write_text('[{"status": 500}, {"status": 200}, {"delay": -1}]')

    with pytest.raises(ValueError, match=r"faults\.json: these faults cannot be used: 1\.status: .*\(and 1 more\)$"):
        load_faults(file)


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"to": PERSON, "times": 1},
        {"items": [], "status": 500},
        {"items": [], "delay": 1},
        {"drop": "reset", "status": 500},
        {"drop": "reset", "body": "html"},
        {"retryAfter": 1},
        {"body": "html", "retryAfterDate": 1},
        {"drop": "reset", "location": "/"},
        {"status": 429, "retryAfter": 1, "retryAfterDate": 1},
        {"body": "html", "status": 400, "code": "Denied"},
        {"body": "truncated", "message": "odd"},
        {"delay": 1, "applied": True},
        {"drop": "reset-mid-body", "applied": True},
        {"status": 200},
        {"status": 600},
        {"status": 500, "times": 0},
        {"appliedAfter": 0},
        {"applied": True},
        {"status": 500, "applied": False},
        {"status": 500, "applied": True, "appliedAfter": 1},
        {"textAfter": 1},
        {"text": "HELP"},
        {"text": "STOP", "status": 500},
        {"text": "STOP", "delay": 1},
        {"drop": "silence", "retryAfter": 1},
        {"status": 400, "errors": {"From": []}},
        {"status": 400, "body": "problem", "code": "Denied"},
        {"delay": 1, "code": "Denied"},
        {"delay": {"mean": 1, "atLeast": 1}},
        {"delay": {"atLeast": 1}},
        {"delay": {}},
        {"delay": 0},
        {"status": 500, "share": 1},
        {"status": 500, "share": 0},
    ],
    ids=json.dumps,
)
def test_a_fault_with_an_effect_that_would_do_nothing_is_refused(fault):
    with pytest.raises(ValueError, match="cannot be used"):
        parse_faults(json.dumps([fault]))


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({}, "a fault needs an effect: items, text, drop, status, body, delay, applied, appliedAfter"),
        ({"body": "html", "retryAfter": 1}, "body does not go with retryAfter: leave out, or make it two faults"),
        ({"items": [], "delay": 1, "status": 500}, "items does not go with delay, status: "),
        ({"status": 503, "applied": False}, "applied false is what happens anyway: leave it out"),
        ({"stauts": 503}, "stauts: Extra inputs"),
        ({"delay": {"mean": 1, "attLeast": 1}}, "delay.attLeast: Extra inputs"),
        ({"delay": "long"}, "delay: Input should be a valid number"),
        ({"items": [{"httpStatusCode": []}]}, "items.0.httpStatusCode: Input should be a valid integer"),
        ({PERSON: 1}, "+1555•••5551: Extra inputs"),
        ({"\x1b[2J" + "x" * 90: 1}, "?[2J" + "x" * 36 + ": Extra inputs"),
    ],
    ids=str,
)
def test_a_fault_that_is_refused_says_where_and_why(fault, why):
    with pytest.raises(ValueError, match="cannot be used") as refused:
        parse_faults(json.dumps([fault]))

    assert re.sub(r": 0[:.] ?", ": ", str(refused.value)).startswith(f"these faults cannot be used: {why}")
    assert "\n" not in str(refused.value)


def test_a_fault_that_is_refused_does_not_repeat_its_numbers():
    with pytest.raises(ValueError, match="make it two faults") as refused:
        Fault(to=PERSON, items=(), status=500)

    assert PERSON not in str(refused.value)


def test_a_fault_masks_its_numbers_when_shown():
    fault = Fault(to=PERSON, sender=SENDER, items=(Item(to=ANOTHER),))

    shown = f"{fault!r} {fault}"

    assert "+1555•••5551" in shown
    assert not any(number in shown for number in (PERSON, SENDER, ANOTHER))
