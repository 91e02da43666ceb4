"""No number stands in what the endpoint logs, raises or shows."""

import asyncio
import json
import logging

import pytest

from sandbox.endpoint import Endpoint, Fault, Item
from sandbox.endpoint.answers import results
from sandbox.endpoint.fault_file import parse_faults
from sandbox.endpoint.optouts import read_call

SENDER = "+18001234567"
PERSON = "+15555555551"


async def send_raw(endpoint, raw):
    port = int(endpoint.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    answered = await asyncio.wait_for(reader.read(4000), 5)
    writer.close()
    await writer.wait_closed()
    return answered


@pytest.mark.parametrize(
    "raw",
    [
        b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n{"to":"+15555555551"}\r\n\r\n',
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +15555555551\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\n+15555555551 : 1\r\n\r\n",
        b"+15555555551 / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=["body longer than said", "length", "header", "method"],
)
async def test_a_request_that_is_no_http_is_not_repeated_in_the_log(endpoint, caplog, raw):
    caplog.set_level(logging.DEBUG)

    answered = await send_raw(endpoint, raw)

    assert b"400 Bad Request" in answered
    assert "Error handling request" in caplog.text
    assert "5555551" not in caplog.text


async def test_an_error_of_our_own_is_logged_with_its_place_and_without_its_text(call, endpoint, caplog):
    class Broken(set):
        def __ior__(self, entries):  # type: ignore[misc] # it never returns
            raise KeyError(entries)

    endpoint.opted_out = Broken()

    answered = await call(endpoint, "add")

    assert answered.status_code == 500
    assert PERSON not in answered.text + caplog.text
    assert "KeyError" in caplog.text
    assert "server.py" in caplog.text


@pytest.mark.parametrize(
    "faults",
    [
        [{PERSON: 1}],
        [{"status": 500, PERSON: {"to": PERSON}}],
        [{"items": [{PERSON: 200}]}],
        [{"delay": {"mean": 1, PERSON: 1}}],
        [{"status": 400, "body": "problem", "errors": {PERSON: 1}}],
        [{"text": PERSON}],
        [{"drop": PERSON}],
        {PERSON: []},
    ],
    ids=json.dumps,
)
def test_a_fault_file_that_cannot_be_used_does_not_have_its_names_or_values_repeated(faults):
    with pytest.raises(ValueError, match="cannot be used") as refused:
        parse_faults(json.dumps(faults))

    assert "5555551" not in str(refused.value)


def test_values_are_shown_without_numbers():
    call = read_call("add", json.dumps({"from": SENDER, "recipients": [{"to": PERSON}]}).encode())
    odd = read_call("add", json.dumps({"from": SENDER, "recipients": [{"to": PERSON}], PERSON: 1}).encode())
    values = [
        call,
        odd,
        results([{"to": PERSON}]),
        Fault(status=400, message=f"bad {PERSON}", code=PERSON),
        Fault(status=400, body="problem", errors={PERSON: (PERSON,)}),
        Fault(status=308, location=f"https://elsewhere.example/{PERSON}"),
        Fault(items=(Item(error_message=f"bad {PERSON}"),)),
        Fault(status=429, retry_after=PERSON),
        Endpoint(),
    ]

    assert [value for value in map(repr, values) if "5555551" in value or SENDER in value] == []
