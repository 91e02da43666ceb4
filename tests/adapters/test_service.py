"""The service: it starts at the first invocation, once, from the settings there are, and closes all that it opened."""

import asyncio
import json
import logging
import sys
import traceback
from datetime import timedelta

import pytest

from optout_core.adapters.outbox import SEND_TIMEOUT
from optout_core.adapters.service import PAUSE_AFTER_FAILURE, Service
from optout_core.errors import SendFailed, SettingsError
from optout_core.reports import Report
from optout_core.settings import Settings
from sandbox.endpoint import Endpoint, Fault
from servicebus_sandbox import load_queues
from tests.adapters.acs_client import SENDER, Naps, RawServer
from tests.adapters.function import ROOT, fresh, messages
from tests.build import QUEUES_FILE

KEY = "c2VjcmV0LWtleQ=="
NO_BROKER = f"Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey={KEY};UseDevelopmentEmulator=true;"


@pytest.fixture
def environ(endpoint):
    return {"ACS_ENDPOINT": endpoint.url, "ACS_ACCESS_KEY": endpoint.access_key, "ServiceBusConnection": NO_BROKER}


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


async def test_sixteen_first_invocations_at_once_start_once(service, endpoint):
    seen: list[Report] = []
    service.observers.append(seen.append)

    await asyncio.gather(*[service.process(messages(fresh(f"+155555500{number}"))) for number in range(10, 26)])

    assert [report.messages for report in seen] == [1] * 16
    assert len(endpoint.requests) == 16


async def test_a_closed_service_starts_again(service, endpoint):
    await service.process(messages(fresh()))
    await service.close()
    await service.close()
    await service.process(messages(fresh()))

    assert len(endpoint.requests) == 2


def test_a_wrong_environment_is_one_clear_line_before_there_is_a_service(environ):
    environ |= {"BREAKER_FAILURES": "many", "ACS_ACCESS_KEY": f"{KEY}!", "INVOCATION_BUDGET": ""}
    del environ["ServiceBusConnection"]

    with pytest.raises(SettingsError) as raised:
        Service(environ)

    said = str(raised.value)
    assert "\n" not in said
    assert all(name in said for name in ("BREAKER_FAILURES", "ACS_ACCESS_KEY"))
    assert KEY not in "".join(traceback.format_exception(raised.value))


def test_an_empty_environment_names_what_is_missing():
    with pytest.raises(SettingsError, match="ACS_ENDPOINT is missing"):
        Service({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "/nonexistent/ca.pem"),
        ("HTTPS_PROXY", "socks5://127.0.0.1:1080"),
        ("ALL_PROXY", "http://proxy:port"),
    ],
)
def test_a_way_to_acs_that_cannot_be_gone_is_named_before_there_is_a_service(environ, name, value):
    with pytest.raises(SettingsError, match=name):
        Service(environ | {"ACS_ENDPOINT": "https://contoso.communication.azure.com", name: value})


def test_an_identity_that_cannot_be_used_is_named_before_there_is_a_service(environ, monkeypatch):
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "prodd")
    del environ["ACS_ACCESS_KEY"]

    with pytest.raises(SettingsError, match="AZURE_TOKEN_CREDENTIALS"):
        Service(environ | {"AZURE_TOKEN_CREDENTIALS": "prodd"})


async def test_starting_that_fails_is_given_back_after_the_pause_too(service, monkeypatch):
    naps = Naps()
    service._sleep = naps

    def fail(**_):
        raise OSError("no memory for a meter")

    monkeypatch.setattr("optout_core.adapters.service.Telemetry", fail)
    for _ in range(2):
        with pytest.raises(OSError, match="no memory"):
            await service.process([])

    assert naps.seconds == [PAUSE_AFTER_FAILURE] * 2


async def test_what_fails_is_given_back_after_a_pause_since_ten_deliveries_are_soon_over(environ, monkeypatch):
    """The host abandons at once, and after ten deliveries the broker dead-letters what was never looked at."""
    naps = Naps()
    service = Service(environ, sleep=naps)

    def refuse(*_):
        raise OSError("there is no broker")

    monkeypatch.setattr("optout_core.adapters.service._connect", refuse)

    for body in (b"a dead letter for which there is no broker", fresh()):
        with pytest.raises(SendFailed):
            await service.process(messages(body))
    await service.close()

    assert naps.seconds == [PAUSE_AFTER_FAILURE] * 2
    assert PAUSE_AFTER_FAILURE * 10 >= 300


def test_an_invocation_ends_before_its_locks_do():
    budget = max(bound.le for bound in Settings.model_fields["invocation_budget"].metadata if hasattr(bound, "le"))
    lock = load_queues(QUEUES_FILE)["opt-ins"].lock_duration
    document = json.loads((ROOT / "host.json").read_text())
    hours, minutes, seconds = map(int, document["functionTimeout"].split(":"))
    limit = timedelta(hours=hours, minutes=minutes, seconds=seconds)

    assert budget + timedelta(seconds=3 * SEND_TIMEOUT + PAUSE_AFTER_FAILURE) <= limit < lock


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
from optout_core.adapters.service import Service
from servicebus_sandbox import Broker, load_queues
from sandbox.endpoint import Endpoint, Fault
from sandbox.telemetry import Collector
from tests.adapters.function import fresh, messages
from tests.build import QUEUES_FILE

async def main():
    def look():
        [point] = collector.collect().metrics["optout.breaker.open"]["points"]
        seen.append(point["value"])

    collector, seen = Collector(), []
    async with Endpoint(faults=[Fault(status=503, times=1)]) as endpoint, Broker(load_queues(QUEUES_FILE)) as broker:
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


async def test_the_pause_grows_with_the_deliveries_and_ends_before_the_function_is_ended(environ, monkeypatch):
    naps = Naps()
    service = Service(environ, sleep=naps)

    def refuse(*_):
        raise OSError("there is no broker")

    monkeypatch.setattr("optout_core.adapters.service._connect", refuse)

    for deliveries in (0, 1, 5, 9):
        with pytest.raises(SendFailed):
            await service.process(messages(b"garbled", delivery_count=deliveries))
    await service.close()

    assert naps.seconds[:3] == [30.0, 60.0, 180.0]
    assert 200 < naps.seconds[3] <= 240
    assert sum(naps.seconds) > 8 * 60


async def test_a_lock_shorter_than_the_budget_is_said_once_and_half_of_it_is_left_for_sending(
    environ, caplog, endpoint, monkeypatch
):
    def refuse(*_):
        raise OSError("there is no broker")

    monkeypatch.setattr("optout_core.adapters.service._connect", refuse)
    endpoint.faults = [Fault(delay=3)]
    service = Service(environ, sleep=Naps())

    # Who is not answered within half a second has to wait, and there is no broker to wait at.
    for _ in range(2):
        with pytest.raises(SendFailed):
            await service.process(messages(fresh(), locked_for=timedelta(seconds=1)))
    await service.close()

    assert len(endpoint.requests) == 1
    [record] = [each for each in caplog.records if "locked" in each.getMessage()]
    assert "set lockDuration of the queue to PT5M" in record.getMessage()
