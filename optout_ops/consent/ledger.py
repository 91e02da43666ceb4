"""Opens the consent ledger that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from optout_core.adapters.connections import Credentials, open_ledger
from optout_core.adapters.ledger.records import Database, Records
from optout_core.errors import LedgerUnavailable, SettingsError
from optout_core.settings import Settings
from optout_ops.exits import Mistake, OutOfReach


@asynccontextmanager
async def open_records(settings: Settings) -> AsyncIterator[Records]:
    """Open the ledger while the block runs, as `open_database` does."""
    async with open_database(settings) as database:
        yield Records(database)


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the ledger while the block runs; its tables are made or brought up to date where that is allowed.

    Raises:
        Mistake: CONSENT_LEDGER is empty, or names a place where no ledger can be.
        OutOfReach: The ledger gives no answer, also to what the block asks.
    """
    address = settings.consent_ledger
    if address is None:
        raise Mistake("CONSENT_LEDGER is empty: set it as the function has it; nothing was read or changed")
    try:
        async with (
            Credentials() as credentials,
            open_ledger(address, lambda: credentials(settings.identity_client_id)) as ledger,
        ):
            await ledger.migrate()
            yield ledger
    except SettingsError as error:
        raise Mistake(f"{error}; nothing was read or changed") from None
    except LedgerUnavailable as error:
        raise OutOfReach(str(error).replace("nothing is called", "nothing more was read or changed")) from None
