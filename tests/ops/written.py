"""A ledger in a file, in which something was written before a command is called."""

import asyncio
from datetime import UTC, datetime, timedelta

from optout_core.adapters.ledger.publishing import publish
from optout_core.adapters.ledger.sqlite import SqliteLedger
from optout_core.published import Published, settings_to_publish
from optout_core.settings import Settings
from tests.consent.said import confirmed


def keep(path, *words):
    """Let words be applied, one after the other."""

    async def work():
        async with SqliteLedger(path) as ledger:
            for word in words:
                await ledger.admit([word])
                await ledger.record(confirmed([word], ms_cv="cv-1"))

    asyncio.run(work())


async def admit(path, *words):
    """Take words in, without calling anything for them."""
    async with SqliteLedger(path) as ledger:
        await ledger.admit(words)


def publish_settings(path, *, started_at, function="optin-prod", **environ):
    """Let a function say what it runs with."""
    known = {
        "ACS_ENDPOINT": "https://shop.example",
        "ServiceBusConnection": "Endpoint=sb://memory.example/;SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0",
    }
    settings = settings_to_publish(Settings.from_environ(known | environ))
    said = Published(function=function, started_at=started_at, version="1.0.0", settings=settings)

    async def work():
        async with SqliteLedger(path) as ledger:
            await publish(ledger, said)

    asyncio.run(work())


def ledger_time(desk):
    """Let the desk live an hour after the ledger's clock."""
    desk.now = datetime.now(UTC) + timedelta(hours=1)
