"""The table of docs/design.md, "Outcomes", row by row, over a real socket."""

import pytest

from optout_core.outcomes import Verdict
from sandbox.endpoint import REFERENCE_FAULTS, Endpoint, Fault, Item
from tests.adapters.acs_client import ANOTHER, PERSON, SENDER, RawServer, open_client, people

ATTEMPTS = 3


async def test_the_example_of_the_api_reference_ends_as_the_reference_says(endpoint):
    endpoint.faults = REFERENCE_FAULTS
    endpoint.opted_out = {(SENDER, "+15555555551"), (SENDER, "+15555555553")}

    async with open_client(endpoint) as caller:
        outcomes = await caller.remove("+15555555551", "+123", "+15555555553")

    assert {to: (outcome.verdict, outcome.status) for to, outcome in outcomes.items()} == {
        "+15555555551": (Verdict.CONFIRMED, 200),
        "+123": (Verdict.REJECTED, 400),
        "+15555555553": (Verdict.FAILED, 500),
    }
    assert endpoint.opted_out == {(SENDER, "+15555555553")}
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("items", "verdict"),
    [
        ([Item()], Verdict.CONFIRMED),
        ([Item(http_status_code=204)], Verdict.CONFIRMED),
        ([Item(is_opted_out=False)], Verdict.CONFIRMED),
        ([Item(), Item()], Verdict.CONFIRMED),
        ([Item(), Item(to="+15555559999", http_status_code=400)], Verdict.CONFIRMED),
        ([Item(http_status_code=400, error_message="Invalid")], Verdict.REJECTED),
        ([Item(http_status_code=404)], Verdict.REJECTED),
        ([Item(http_status_code=408)], Verdict.FAILED),
        ([Item(http_status_code=429)], Verdict.FAILED),
        ([Item(http_status_code=500)], Verdict.FAILED),
        ([Item(http_status_code=503)], Verdict.FAILED),
        ([], Verdict.FAILED),
        ([Item(), Item(http_status_code=400)], Verdict.FAILED),
        ([Item(error_message="Internal Server Error")], Verdict.FAILED),
        ([Item(is_opted_out=True)], Verdict.CONTRADICTED),
    ],
    ids=str,
)
async def test_what_an_item_says_counts_for_its_recipient_and_for_nobody_else(endpoint, items, verdict):
    endpoint.faults = [Fault(to=PERSON, items=tuple(items))]

    async with open_client(endpoint) as caller:
        outcomes = await caller.remove(PERSON, ANOTHER)

    assert {to: outcome.verdict for to, outcome in outcomes.items()} == {PERSON: verdict, ANOTHER: Verdict.CONFIRMED}
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        (Fault(status=400, code="InvalidInput"), Verdict.REJECTED),
        (Fault(status=400, body="problem"), Verdict.REJECTED),
        (Fault(status=400, body="problem-from"), Verdict.SENDER_REJECTED),
        (Fault(status=400, code="InvalidApiVersion"), Verdict.REFUSED),
        (Fault(status=400, code="ApiVersionUnspecified"), Verdict.REFUSED),
        (Fault(status=401, code="Denied"), Verdict.REFUSED),
        (Fault(status=401, code="Unauthorized", message=""), Verdict.REFUSED),
        (Fault(status=403), Verdict.REFUSED),
        (Fault(status=404, body="empty"), Verdict.REFUSED),
    ],
    ids=str,
)
async def test_a_refused_request_is_not_repeated_in_place(endpoint, fault, verdict):
    endpoint.faults = [fault]

    async with open_client(endpoint) as caller:
        outcome = (await caller.remove(PERSON))[PERSON]

    assert (outcome.verdict, outcome.status) == (verdict, fault.status)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        *((Fault(status=status), status) for status in (408, 429, 500, 502, 503, 504, 599)),
        (Fault(status=502, body="html"), 502),
        *((Fault(status=status, body="html"), status) for status in (400, 403, 404)),
        (Fault(status=400, body="empty"), 400),
        (Fault(status=400, body="garbage"), 400),
        (Fault(body="empty"), 200),
        (Fault(body="html"), 200),
        (Fault(body="garbage"), 200),
        (Fault(body="truncated"), 200),
        (Fault(body="oversized"), 200),
        *((Fault(drop=drop), None) for drop in ("reset", "close", "reset-mid-body", "close-mid-body")),
    ],
    ids=str,
)
async def test_an_endpoint_that_gives_no_answer_is_asked_again_and_then_left_for_later(endpoint, fault, status):
    endpoint.faults = [fault]

    async with open_client(endpoint) as caller:
        outcome = (await caller.remove(PERSON))[PERSON]

    assert (outcome.verdict, outcome.status) == (Verdict.UNAVAILABLE, status)
    assert len(endpoint.requests) == ATTEMPTS
    assert len(caller.naps.seconds) == ATTEMPTS - 1


async def test_an_endpoint_that_is_not_there_is_unavailable():
    async with Endpoint() as gone:
        pass
    async with open_client(gone) as caller:
        outcome = (await caller.remove(PERSON))[PERSON]

    assert (outcome.verdict, outcome.status) == (Verdict.UNAVAILABLE, None)
    assert "ClientConnectorError" in outcome.detail


async def test_a_host_without_an_address_is_unavailable():
    class Nowhere:
        url = "https://no-such-resource.invalid"

    async with open_client(Nowhere) as caller:
        assert await caller.verdict() is Verdict.UNAVAILABLE


async def test_an_endpoint_that_recovers_between_two_tries_removes(endpoint):
    endpoint.faults = [Fault(status=503, times=1), Fault(drop="reset", times=1)]
    endpoint.opted_out = {(SENDER, PERSON)}

    async with open_client(endpoint) as caller:
        verdict = await caller.verdict()

    assert verdict is Verdict.CONFIRMED
    assert [request.status for request in endpoint.requests] == [503, None, 200]
    assert endpoint.opted_out == set()


async def test_a_redirect_is_not_followed(endpoint):
    async with Endpoint(access_key=endpoint.access_key) as elsewhere:
        endpoint.faults = [Fault(status=307, location=f"{elsewhere.url}/sms/optouts:remove?api-version=2026-01-23")]
        async with open_client(endpoint) as caller:
            outcome = (await caller.remove(PERSON))[PERSON]

    assert (outcome.verdict, outcome.status) == (Verdict.REFUSED, 307)
    assert elsewhere.requests == []


async def test_a_sender_that_is_not_ours_refuses_us_and_its_number_is_in_no_text():
    async with Endpoint(owned_senders=["+18009999999"]) as endpoint, open_client(endpoint) as caller:
        outcome = (await caller.remove(PERSON))[PERSON]

    assert (outcome.verdict, outcome.status, outcome.error_code) == (Verdict.REFUSED, 401, "Unauthorized")
    assert SENDER not in repr(outcome)


async def test_what_support_asks_for_is_kept(endpoint):
    endpoint.faults = [Fault(to=PERSON, items=(Item(http_status_code=400, error_message=f"bad number {PERSON}"),))]

    async with open_client(endpoint) as caller:
        outcome = (await caller.remove(PERSON))[PERSON]

    assert outcome.ms_cv
    assert str(outcome) == "HTTP 400: bad number +1555•••5551"


@pytest.mark.parametrize(
    "answer",
    [
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"value": null',
        b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"value": [[[[[',
        b"HTTP/1.1 429 Slow\r\nRetry-After: Mon, 99 Foo 99999 99:99:99 +9999\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Slow\r\nRetry-After: " + b"9" * 5000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Slow\r\nRetry-After: \xff\xfe\r\nMS-CV: \xff\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=lambda answer: answer[:60].decode("latin-1"),
)
async def test_whatever_a_server_sends_every_recipient_has_an_outcome(answer):
    async def send(_, writer):
        writer.write(answer)
        await writer.drain()

    async with RawServer(send) as server, open_client(server) as caller:
        outcomes = await caller.remove(*people(3))

    assert {outcome.verdict for outcome in outcomes.values()} <= {Verdict.UNAVAILABLE, Verdict.FAILED}
    assert outcomes.keys() == set(people(3))
