"""The three operations as ACS answers them, over a real socket."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from sandbox.endpoint import REFERENCE_FAULTS, Endpoint, Fault

SENDER = "+18001234567"
SAMPLES = Path(__file__).parents[1] / "samples" / "acs"
PERSON = "+15555555551"
ANOTHER = "+15555555552"


async def test_the_example_of_the_api_reference_comes_out_as_printed_there(call, endpoint, sample):
    endpoint.faults = REFERENCE_FAULTS

    answered = await call(endpoint, to=["+15555555551", "+123", "+15555555553"])

    assert answered.status_code == 200
    assert answered.json() == sample("remove-200-partial.json")


async def test_the_check_example_of_the_api_reference_comes_out_as_printed_there(call, endpoint, sample):
    endpoint.faults = REFERENCE_FAULTS
    endpoint.opted_out.add((SENDER, PERSON))

    answered = await call(endpoint, "check", to=[PERSON, ANOTHER, "+123", "+15555555553"])

    assert answered.json() == sample("check-200-partial.json")


async def test_the_list_really_changes(call, endpoint):
    await call(endpoint, "add", to=[PERSON, ANOTHER])
    await call(endpoint, "remove", to=[PERSON])

    assert endpoint.opted_out == {(SENDER, ANOTHER)}
    assert await call.items(endpoint, "check", to=[PERSON, ANOTHER]) == [
        {"to": PERSON, "httpStatusCode": 200, "isOptedOut": False},
        {"to": ANOTHER, "httpStatusCode": 200, "isOptedOut": True},
    ]


async def test_an_entry_belongs_to_one_sender(call, endpoint):
    await call(endpoint, "add", sender="+18772125291")

    assert (await call.items(endpoint, "check"))[0]["isOptedOut"] is False


@pytest.mark.parametrize("operation", ["add", "remove"])
async def test_only_check_tells_whether_a_number_is_opted_out(call, endpoint, operation):
    assert await call.items(endpoint, operation) == [{"to": PERSON, "httpStatusCode": 200}]


async def test_removing_a_number_that_is_not_listed_is_a_plain_success(call, endpoint):
    assert await call.items(endpoint, "remove") == [{"to": PERSON, "httpStatusCode": 200}]


async def test_a_duplicate_is_answered_once_per_occurrence(call, endpoint):
    items = await call.items(endpoint, to=[PERSON, PERSON, ANOTHER, PERSON])

    assert [item["to"] for item in items] == [PERSON, PERSON, ANOTHER, PERSON]


@pytest.mark.parametrize(
    "number", ["+123", "15555555551", "+05555555551", "+1555555555a", "+1234567890123456", "+١٢٣٤٥٦٧٨"]
)
async def test_a_recipient_that_is_not_e164_is_refused_alone(call, endpoint, number):
    assert await call.items(endpoint, to=[PERSON, number]) == [
        {"to": PERSON, "httpStatusCode": 200},
        {"to": number, "httpStatusCode": 400, "errorMessage": "Invalid recipient phone number format"},
    ]


@pytest.mark.parametrize("recipients", [["+15550000000"], [PERSON, "+15550000000"]])
async def test_the_recorded_poison_number_refuses_the_whole_request(call, endpoint, sample, recipients):
    endpoint.opted_out.add((SENDER, PERSON))

    answered = await call(endpoint, to=recipients)

    assert answered.status_code == 400
    assert answered.json() == sample("400-invalid-input.json")
    assert answered.headers["Content-Type"] == "application/json"
    assert endpoint.opted_out == {(SENDER, PERSON)}


async def test_a_sender_that_is_not_ours_is_unauthorized(call, sample):
    async with Endpoint(owned_senders={"+18772125291"}) as endpoint:
        answered = await call(endpoint)

        assert answered.status_code == 401
        assert answered.json() == sample("401-unauthorized.json")
        assert (await call(endpoint, sender="+18772125291")).status_code == 200


@pytest.mark.parametrize("sender", [SENDER, "12345", "123456", "Contoso", "Contoso 24"])
async def test_numbers_short_codes_and_alphanumeric_names_can_send(call, endpoint, sender):
    assert (await call(endpoint, sender=sender)).status_code == 200


@pytest.mark.parametrize("sender", ["1234", "+123", "1234567", "Contoso Incorporated", "!"])
async def test_an_impossible_sender_is_a_problem_that_names_from(call, endpoint, sample, sender):
    answered = await call(endpoint, sender=sender)
    expected = sample("400-problem-from.json")

    assert answered.status_code == 400
    assert answered.headers["Content-Type"] == "application/problem+json; charset=utf-8"
    assert {**answered.json(), "traceId": ""} == {**expected, "traceId": ""}
    assert len(answered.json()["traceId"]) == len(expected["traceId"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "$"),
        (b"{", "$"),
        (b"[]", "$"),
        (b"\xff\xfe\xff", "$"),
        (b"[" * 100_000, "$"),
        (b'{"recipients":[{"to":"+15555555551"}]}', "From"),
        (b'{"from":"","recipients":[{"to":"+15555555551"}]}', "From"),
        (b'{"from":18001234567,"recipients":[{"to":"+15555555551"}]}', "From"),
        (b'{"from":"+18001234567"}', "Recipients"),
        (b'{"from":"+18001234567","recipients":{}}', "Recipients"),
        (b'{"from":"+18001234567","recipients":[]}', "Recipients"),
        (b'{"from":"+18001234567","recipients":[{"to":""}]}', "Recipients[0].To"),
        (b'{"from":"+18001234567","recipients":[{"to":"+15555555551"},{}]}', "Recipients[1].To"),
        (b'{"from":"+18001234567","recipients":["+15555555551"]}', "Recipients[0].To"),
        (b'{"from":"+18001234567","recipients":[{"to":1}]}', "Recipients[0].To"),
    ],
)
async def test_a_body_against_the_specification_is_a_problem_that_names_the_field(call, endpoint, body, field):
    answered = await call(endpoint, body=body)

    assert answered.status_code == 400
    assert list(answered.json()["errors"]) == [field]


async def test_one_hundred_recipients_are_the_most(call, endpoint):
    hundred = [f"+1555555{number:04}" for number in range(100)]

    answered = await call(endpoint, to=[*hundred, PERSON])

    assert len(await call.items(endpoint, to=hundred)) == 100
    assert answered.status_code == 400
    assert list(answered.json()["errors"]) == ["Recipients"]


async def test_unknown_extra_fields_are_tolerated(call, endpoint):
    body = b'{"from":"+18001234567","recipients":[{"to":"+15555555551","tag":1}],"note":null}'

    assert (await call(endpoint, body=body)).status_code == 200


async def test_a_recipient_that_is_no_unicode_is_refused_like_any_other(call, endpoint):
    body = b'{"from":"+18001234567","recipients":[{"to":"\\ud800"}]}'

    assert (await call(endpoint, body=body)).json()["value"][0]["httpStatusCode"] == 400


@pytest.mark.parametrize("version", [None, ""])
async def test_a_request_without_an_api_version_is_told_so(call, endpoint, sample, version):
    answered = await call(endpoint, version=version)

    assert answered.status_code == 400
    assert answered.json() == sample("400-api-version-unspecified.json")


async def test_an_unknown_api_version_is_refused_as_printed_in_the_reference(call, endpoint, sample):
    answered = await call(endpoint, version="2024-12-10w-preview")

    assert answered.status_code == 400
    assert answered.json() == sample("400-invalid-api-version.json")
    assert "2026-01-23" in answered.headers["api-supported-versions"].split(", ")


async def test_an_answer_carries_the_headers_of_the_recordings(call, endpoint, sample):
    recorded = sample("remove-200-recording.json")["ResponseHeaders"]
    # TLS ends in front of the sandbox, and how a body is framed is the server's own affair.
    expected = recorded.keys() - {"Strict-Transport-Security", "Transfer-Encoding", "Connection"}

    answered = await call(endpoint)

    assert all(name in answered.headers for name in expected)
    assert answered.headers["Content-Type"] == recorded["Content-Type"]
    assert re.fullmatch(r"\d+ms", answered.headers["X-Processing-Time"])


async def test_each_answer_has_its_own_correlation_vector(call, endpoint):
    vectors = {(await call(endpoint)).headers["MS-CV"] for _ in range(3)}

    assert len(vectors) == 3


@pytest.mark.parametrize("path", ["/", "/sms", "/sms/optouts", "/sms/optouts:list", "/sandbox"])
async def test_an_unknown_path_is_not_found(call, endpoint, path):
    assert (await call(endpoint, path=path)).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_another_method_than_post_is_not_allowed(call, endpoint, method):
    answered = await call(endpoint, method=method)

    assert answered.status_code == 405
    assert answered.headers["Allow"] == "POST"


async def test_another_media_type_than_json_is_not_supported(call, endpoint):
    assert (await call(endpoint, headers={"Content-Type": "text/plain"})).status_code == 415


async def test_a_wrong_content_hash_is_denied_with_the_recorded_text(call, endpoint, sample):
    answered = await call(endpoint, headers={"x-ms-content-sha256": "NpOJNq6PEF5narCdXIqtjwRnLOn28LA17xfjUYghXa8="})

    assert answered.status_code == 401
    assert answered.json() == sample("401-denied.json")


@pytest.mark.parametrize(
    "bent",
    [
        {"key": "cGFzc3dvcmQ="},
        {"headers": {"Authorization": None}},
        {"headers": {"Authorization": "Bearer anything"}},
        {"headers": {"Authorization": b"Bearer \xff"}},
        {"headers": {"Authorization": b"\xff"}},
        {"headers": {"Host": "contoso.communication.azure.com"}},
        {"date": format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)},
    ],
    ids=[
        "wrong key",
        "no authorization",
        "a token where none is known",
        "a token that is no text",
        "no text",
        "another host",
        "an old date",
    ],
)
async def test_a_credential_that_does_not_hold_is_denied_and_changes_nothing(call, endpoint, bent):
    answered = await call(endpoint, "add", **bent)

    assert answered.status_code == 401
    assert answered.json()["error"]["code"] == "Denied"
    assert endpoint.opted_out == set()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_a_known_bearer_token_stands_in_for_a_signature(call, scheme):
    async with Endpoint(bearer_token="opaque") as endpoint:
        accepted = await call(endpoint, headers={"Authorization": f"{scheme} opaque"})
        refused = await call(endpoint, headers={"Authorization": b"Bearer \xff"})

        assert accepted.status_code == 200
        assert refused.status_code == 401
        assert (await call(endpoint)).status_code == 200


async def test_the_endpoint_remembers_what_it_was_asked_and_masks_it_when_shown(call, endpoint):
    before = datetime.now(UTC)
    await call(endpoint, "check", to=[PERSON, "+123"])
    await call(endpoint, path="/elsewhere", body=b"")
    first, second = endpoint.requests

    assert (first.operation, first.sender, first.recipients, first.status) == ("check", SENDER, (PERSON, "+123"), 200)
    assert before <= first.at <= datetime.now(UTC)
    assert (second.operation, second.sender, second.recipients, second.status) == (None, None, (), 404)
    assert repr(first).startswith("Request(check from +1800•••4567 to [+1555•••5551, +123] -> 200 at ")


async def test_nothing_is_logged_about_a_request(call, endpoint, caplog):
    caplog.set_level(0)
    await call(endpoint)

    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_each_endpoint_has_its_own_port_and_key():
    async with Endpoint() as one, Endpoint() as other:
        assert one.url != other.url
        assert one.access_key != other.access_key


async def test_a_taken_port_is_an_error_and_leaves_nothing_behind(call, endpoint):
    port = int(endpoint.url.rpartition(":")[2])

    with pytest.raises(OSError, match="address already in use"):
        await Endpoint(port=port).__aenter__()

    assert (await call(endpoint)).status_code == 200


@pytest.mark.parametrize("key", ["", "secret?"])
def test_a_key_that_is_not_base64_is_refused_at_once(key):
    with pytest.raises(ValueError, match="not base64"):
        Endpoint(access_key=key)


async def test_the_busiest_moment_is_remembered(call, endpoint):
    endpoint.faults = [Fault(delay=0.05)]
    await asyncio.gather(*(call(endpoint) for _ in range(5)))

    assert endpoint.most_in_flight == 5
    assert len(endpoint.requests) == 5


def test_every_wire_sample_names_its_source():
    listed = (SAMPLES / "README.md").read_text()

    assert [file.name for file in SAMPLES.iterdir() if f"`{file.name}`" not in listed] == ["README.md"]
