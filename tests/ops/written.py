"""A ledger in a file, in which something was written before a command is called."""

import asyncio
from datetime import UTC, datetime, timedelta

from optout_core.adapters.ledger.sqlite import SqliteLedger
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


def ledger_time(desk):
    """Let the desk live an hour after the ledger's clock."""
    desk.now = datetime.now(UTC) + timedelta(hours=1)
