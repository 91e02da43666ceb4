"""The service: it starts at the first invocation, once, from the settings there are, and closes all that it opened."""

import asyncio
import json
import logging
import sys
import traceback

import pytest

from optout_core.errors import SettingsError
from optout_core.reports import Report
from optout_core.wiring import Service
from sandbox.endpoint import Endpoint
from tests.shell.calling import SENDER, RawServer
from tests.shell.hosting import ROOT, fresh, messages

KEY = "c2VjcmV0LWtleQ=="
NO_BROKER = f"Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey={KEY};UseDevelopmentEmulator=true;"


class Environ(dict):
    """An environment that counts how often it is read."""

    reads = 0

    def items(self):
        self.reads += 1
        return super().items()


@pytest.fixture
def environ(endpoint):
    return Environ(ACS_ENDPOINT=endpoint.url, ACS_ACCESS_KEY=endpoint.access_key, ServiceBusConnection=NO_BROKER)


@pytest.fixture
async def service(environ):
    running = Service(environ)
    yield running
    await running.close()


async def test_one_invocation_removes_the_recipients_of_all_its_messages_in_one_request(service, endpoint):
    people = [f"+1555555000{number}" for number in range(5)]
    endpoint.opted_out = {(SENDER, person) for person in people}

    await service.process(messages(fresh(*people[:2]), fresh(*people[2:4], id="2"), fresh(*people[3:], id="3")))

    assert endpoint.opted_out == set()
    assert [request.recipients for request in endpoint.requests] == [tuple(people)]


async def test_the_environment_is_read_at_the_first_invocation_and_not_before(environ, service):
    assert environ.reads == 0

    await service.process(messages(fresh()))
    await service.process(messages(fresh()))

    assert environ.reads == 1


async def test_sixteen_first_invocations_at_once_start_once(environ, service, endpoint):
    seen: list[Report] = []
    service.observers.append(seen.append)

    await asyncio.gather(*[service.process(messages(fresh(f"+155555500{number}"))) for number in range(10, 26)])

    assert environ.reads == 1
    assert [report.messages for report in seen] == [1] * 16
    assert len(endpoint.requests) == 16


async def test_a_closed_service_starts_again_with_the_settings_of_then(environ, service, endpoint):
    await service.process(messages(fresh()))
    await service.close()
    await service.close()
    async with Endpoint(access_key=endpoint.access_key) as another:
        environ["ACS_ENDPOINT"] = another.url
        await service.process(messages(fresh()))

        assert len(another.requests) == len(endpoint.requests) == 1


async def test_a_wrong_environment_is_one_clear_line_and_right_settings_then_work(environ, service, endpoint):
    good = dict(environ)
    environ |= {"HTTP_ATTEMPTS": "many", "ACS_ACCESS_KEY": f"{KEY}!", "INVOCATION_BUDGET": ""}
    del environ["ServiceBusConnection"]

    with pytest.raises(SettingsError) as raised:
        await service.process(messages(fresh()))
    environ.clear()
    environ.update(good)
    await service.process(messages(fresh()))

    said = str(raised.value)
    assert "\n" not in said
    assert all(name in said for name in ("HTTP_ATTEMPTS", "ACS_ACCESS_KEY"))
    assert KEY not in "".join(traceback.format_exception(raised.value))
    assert len(endpoint.requests) == 1


async def test_an_empty_environment_names_what_is_missing():
    with pytest.raises(SettingsError, match="ACS_ENDPOINT is missing"):
        await Service({}).process(messages(fresh()))


async def test_libraries_that_tell_of_every_request_are_silent(service, caplog):
    caplog.set_level(logging.INFO)

    await service.process(messages(fresh()))

    assert {record.name for record in caplog.records} == {"optout_core"}


def test_nothing_shows_a_secret(environ, service):
    assert environ["ACS_ACCESS_KEY"] not in repr(service)


async def test_without_a_key_the_identity_of_the_settings_is_used(environ, monkeypatch):
    """The identity endpoint of App Service, as a server here: it gives the token that the endpoint takes."""
    asked = []

    async def answer(_, writer):
        asked.append(platform.heads[-1].decode())
        token = {"access_token": "the-token", "expires_on": "4102444800", "token_type": "Bearer"}
        body = json.dumps(token | {"resource": "https://communication.azure.com/"}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        await writer.drain()

    async with RawServer(answer) as platform, Endpoint(bearer_token="the-token") as endpoint:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{platform.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "of-the-platform")
        service = Service(environ | {"ACS_ENDPOINT": endpoint.url, "ACS_ACCESS_KEY": "", "AZURE_CLIENT_ID": "client-1"})
        await service.process(messages(fresh()))
        await service.close()

        assert [request.status for request in endpoint.requests] == [200]
    assert "client_id=client-1" in asked[0]


#: In a process of its own, since a process has one meter provider.
RESTART = """
import asyncio
from optout_core.wiring import Service
from sandbox.broker import Broker, load_queues
from sandbox.endpoint import Endpoint, Fault
from sandbox.endpoint import Endpoint
from sandbox.telemetry import Collector
from tests.shell.hosting import fresh, messages

async def main():
    def look():
        [point] = collector.collect().metrics["optout.breaker.open"]["points"]
        seen.append(point["value"])

    collector, seen = Collector(), []
    async with Endpoint(faults=[Fault(status=503, times=1)]) as endpoint, Broker(load_queues()) as broker:
        service = Service({
            "ACS_ENDPOINT": endpoint.url,
            "ACS_ACCESS_KEY": endpoint.access_key,
            "ServiceBusConnection": broker.connection_string,
            "BREAKER_FAILURES": "1",
        })
        await service.process(messages(fresh()))
        look()
        await service.close()
        look()
        await service.process(messages(fresh()))
        look()
        await service.close()
    print(seen)

asyncio.run(main())
"""


async def test_the_breaker_of_a_service_that_was_closed_is_not_shown_any_more():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", RESTART, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()

    assert (process.returncode, printed.decode().strip()) == (0, "[1, 0, 0]")
