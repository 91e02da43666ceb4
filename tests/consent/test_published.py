"""A function says in the ledger what it runs with: once, beside its work, without a secret or a number."""

import asyncio
import logging
from datetime import timedelta

import pytest

from optout_core import __version__
from optout_core.adapters.ledger.publishing import Publisher, publish, read_published
from optout_core.adapters.ledger.sqlite import SqliteLedger
from optout_core.adapters.service import Service
from optout_core.errors import LedgerUnavailable
from optout_core.published import Published, settings_to_publish
from optout_core.settings import Settings
from sandbox.endpoint import Endpoint
from tests.adapters.function import fresh, messages
from tests.build import NOW

KEY = "c2VjcmV0LWtleQ=="
BROKER = f"Endpoint=sb://Shop.example:5671/;SharedAccessKeyName=n;SharedAccessKey={KEY}"


def settings(**environ):
    return Settings.from_environ(
        {"ACS_ENDPOINT": "https://shop.example", "ACS_ACCESS_KEY": KEY, "ServiceBusConnection": BROKER} | environ
    )


def published(name="optin-prod", *, after=timedelta(0), **environ):
    return Published(
        function=name, started_at=NOW + after, version="1.0.0", settings=settings_to_publish(settings(**environ))
    )


async def test_what_is_published_is_read_as_it_was(database):
    await publish(database, published(OPT_IN_MAX_AGE="PT24H", RETRY_SCHEDULE="PT1M,PT5M"))

    assert await read_published(database) == [published(OPT_IN_MAX_AGE="PT24H", RETRY_SCHEDULE="PT1M,PT5M")]


async def test_an_instance_that_started_later_says_what_holds_and_an_earlier_one_does_not_take_it_back(database):
    for minutes in (0, 2, 1):
        await publish(database, published(after=timedelta(minutes=minutes), MAX_CONCURRENT_REQUESTS=str(1 + minutes)))

    (known,) = await read_published(database)
    assert known.settings["MAX_CONCURRENT_REQUESTS"] == "3"


async def test_each_function_has_its_own_and_the_last_that_started_is_the_first(database):
    await publish(database, published("optin-prod", after=timedelta(hours=1)))
    await publish(database, published("optin-test"))

    assert [each.function for each in await read_published(database)] == ["optin-prod", "optin-test"]


# --- by the function ------------------------------------------------------------------------------------------------


@pytest.fixture
async def endpoint():
    async with Endpoint() as running:
        yield running


@pytest.fixture
async def service(endpoint, tmp_path):
    running = Service(
        {
            "ACS_ENDPOINT": endpoint.url,
            "ACS_ACCESS_KEY": endpoint.access_key,
            "ServiceBusConnection": BROKER,
            "CONSENT_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}",
            "WEBSITE_SITE_NAME": "optin-prod",
        }
    )
    yield running
    await running.close()


async def until(condition):
    for _ in range(1_000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come true in ten seconds")


async def test_the_first_invocation_publishes_what_the_instance_runs_with(service, endpoint, tmp_path):
    await service.process(messages(fresh()))

    async with SqliteLedger(tmp_path / "ledger.db") as ledger:
        await until(lambda: read_published(ledger))
        (known,) = await read_published(ledger)
    assert (known.function, known.version) == ("optin-prod", __version__)
    assert known.settings["ACS_ENDPOINT"] == endpoint.url


class Recorder:
    """A ledger that remembers what it was asked, and refuses as often as it is told to."""

    def __init__(self, refusals=0, error=None):
        self.asked = []
        self.refusals = refusals
        self.error = error or LedgerUnavailable(
            "the consent ledger gives no answer (permission denied): nothing is called"
        )

    async def run(self, *asked):
        self.asked.append(asked)
        if len(self.asked) <= self.refusals:
            raise self.error
        return []


async def test_it_is_said_once_however_many_invocations_there_are():
    ledger = Recorder()
    publisher = Publisher(ledger, published())

    for _ in range(50):
        publisher.begin()
        await asyncio.sleep(0)
    await publisher.close()

    assert len(ledger.asked) == 1


@pytest.mark.parametrize("error", [None, RuntimeError("what nobody thought of +15555555551")])
async def test_a_ledger_that_refuses_is_asked_again_a_minute_later_and_nothing_fails(monkeypatch, caplog, error):
    clock = [1000.0]
    monkeypatch.setattr("optout_core.adapters.ledger.publishing.monotonic", lambda: clock[0])
    ledger = Recorder(refusals=2, error=error)
    publisher = Publisher(ledger, published())

    with caplog.at_level(logging.WARNING, logger="optout_core"):
        for _ in range(200):
            clock[0] += 1
            publisher.begin()
            await asyncio.sleep(0)
    await publisher.close()

    assert len(ledger.asked) == 3
    assert len(caplog.records) == 1
    assert "nothing is called" not in caplog.text
    assert "15555555551" not in caplog.text


async def test_who_closes_does_not_wait_for_it():
    class Hanging:
        async def run(self, *_):
            await asyncio.Event().wait()

    publisher = Publisher(Hanging(), published())
    publisher.begin()
    await asyncio.sleep(0)

    async with asyncio.timeout(1):
        await publisher.close()


async def test_an_invocation_does_not_notice_that_it_cannot_be_published(service, endpoint, tmp_path, caplog):
    async with SqliteLedger(tmp_path / "ledger.db") as ledger:
        await ledger.migrate()
        await ledger.run("DROP TABLE consent_function", {})

    with caplog.at_level(logging.WARNING, logger="optout_core"):
        await service.process(messages(fresh()))
        await until(lambda: _said(caplog))

    assert len(endpoint.requests) == 1


async def _said(caplog):
    return "operators cannot see the settings in the ledger" in caplog.text
