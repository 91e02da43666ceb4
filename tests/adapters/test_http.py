"""One POST: what the library does with connections and bytes, and that its errors are ours."""

import asyncio
import json
import random
import socket
import threading
import traceback
from ipaddress import ip_address

import pytest
from cryptography.x509 import IPAddress

from optout_core.adapters.http import HttpEndpoint, unsigned
from optout_core.api import request_target
from optout_core.batches import Operation
from optout_core.errors import EndpointUnavailable
from optout_core.outcomes import Verdict
from sandbox.endpoint import Fault
from servicebus_sandbox.tests.certificates import make_certificate
from tests.adapters.acs_client import PERSON, RawServer, batch, open_client, people, removing_one_by_one

TARGET = request_target(Operation.REMOVE)


async def test_an_answer_that_was_compressed_or_carries_a_byte_order_mark_is_read_all_the_same(endpoint):
    endpoint.faults = [Fault(body="gzip", times=1), Fault(body="byte-order-mark", times=1)]

    async with open_client(endpoint) as caller:
        assert await removing_one_by_one(caller, people(2)) == [Verdict.CONFIRMED] * 2


async def test_a_compressed_answer_is_not_unpacked_without_end(endpoint):
    endpoint.faults = [Fault(body="oversized")]

    async with open_client(endpoint) as caller:
        assert (await caller.remove(PERSON))[PERSON].detail == "the answer is too long to be one"


async def test_the_target_arrives_as_it_was_signed():
    async def answer(_, writer):
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    async with RawServer(answer) as server, HttpEndpoint(server.url, unsigned, timeout=5) as acs:
        host = server.url.removeprefix("http://")
        await acs.post(TARGET, b"{}")

    head = server.heads[0].decode()
    assert head.startswith(f"POST {TARGET} HTTP/1.1\r\nHost: {host}\r\n")
    assert "Content-Type: application/json\r\n" in head


async def test_a_request_that_timed_out_aborts_its_connection():
    """A FIN would leave the request in the network's hands; a reset takes back what was not delivered."""
    ended = asyncio.get_running_loop().create_future()

    async def never(reader, _):
        try:
            while await reader.read(1024):
                pass
            ended.set_result("closed")
        except ConnectionResetError:
            ended.set_result("reset")

    async with RawServer(never) as server, HttpEndpoint(server.url, unsigned, timeout=0.1) as acs:
        with pytest.raises(EndpointUnavailable, match=r"no answer within 0\.1 s"):
            await acs.post("/", b"{}")
        async with asyncio.timeout(5):
            assert await ended == "reset"


def read_later(listening, context, done):
    """Accept a connection over TLS, read nothing for a while, and then all that is still delivered."""
    listening.settimeout(10)
    connection, _ = listening.accept()
    connection.settimeout(10)
    with connection, context.wrap_socket(connection, server_side=True) as spoken:
        assert done.wait(10)
        read = 0
        try:
            while chunk := spoken.recv(65536):
                read += len(chunk)
        except OSError:
            pass
        return read


async def test_over_tls_too_a_request_that_timed_out_is_not_delivered_once_the_server_reads_again(tmp_path):
    context, done = make_certificate(tmp_path, IPAddress(ip_address("127.0.0.1"))), threading.Event()
    body = b" " * 1_000_000
    with socket.socket() as listening:
        # What the server has not taken is still in our hands.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        reading = asyncio.create_task(asyncio.to_thread(read_later, listening, context, done))
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        environ = {"SSL_CERT_FILE": str(tmp_path / "certificate.pem")}
        async with HttpEndpoint(url, unsigned, timeout=0.5, environ=environ) as acs:
            with pytest.raises(EndpointUnavailable, match=r"no answer within 0\.5 s"):
                await acs.post("/", body)
            done.set()
            read = await reading

    assert read < len(body)


async def test_with_a_slow_endpoint_every_connection_comes_back():
    """Answers fall around the time-out: https://github.com/encode/httpcore/issues/1093 lost one after the other."""
    lots, slow = random.Random(1), True  # noqa: S311 - the same delays in every run

    async def serve(reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            asked = json.loads(await reader.readexactly(int(length.split(b":")[1])))
            if slow:
                await asyncio.sleep(lots.expovariate(1 / 0.04))
            items = [{"to": recipient["to"], "httpStatusCode": 200} for recipient in asked["recipients"]]
            body = json.dumps({"value": items}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()

    class Server(RawServer):
        async def _serve(self, reader, writer):
            try:
                await serve(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

    batches = [batch(to) for to in people(32)]
    async with Server(None) as server, open_client(server, timeout=0.05, budget=0.3, cooldown=0.01) as caller:
        for _ in range(40):
            await caller.ask(batches)
        slow = False
        verdicts: set[Verdict] = set()
        while verdicts != {Verdict.CONFIRMED}:
            verdicts = {outcome.verdict for outcome in (await caller.ask(batches)).values()}

        assert len(caller.acs._session.connector._acquired) == 0


async def test_the_library_does_not_bound_the_connections_so_that_none_can_be_waited_for(endpoint):
    """What bounds requests in flight is ours: a request without a place says that, and not that ACS is dead."""
    endpoint.faults = [Fault(delay=0.5)]

    async with open_client(endpoint, concurrency=1, budget=0.8) as caller:
        outcomes = await caller.ask([batch(to) for to in people(3)])

        assert not caller.client.gate_is_open
    assert sorted(outcome.detail for outcome in outcomes.values()) == ["", *["the invocation's time was up"] * 2]


@pytest.mark.parametrize("drop", ["reset", "close", "reset-mid-body", "close-mid-body"])
async def test_errors_keep_quiet_about_what_went_before(endpoint, drop):
    """No chain of exceptions leads from ours to one that holds the request, and with it number and signature."""
    endpoint.faults = [Fault(drop=drop)]

    async with open_client(endpoint) as caller:
        with pytest.raises(EndpointUnavailable) as raised:
            await caller.acs.post(TARGET, f'{{"from":"+1800","recipients":[{{"to":"{PERSON}"}}]}}'.encode())

    assert raised.value.__suppress_context__
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value)
    assert PERSON not in shown
    assert "HMAC-SHA256" not in shown


async def test_a_port_on_which_nobody_listens_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    async with HttpEndpoint(url, unsigned, timeout=5) as acs:
        with pytest.raises(EndpointUnavailable, match="ClientConnectorError: Cannot connect to host"):
            await acs.post("/", b"")
