"""The functions that work with a ledger say there what they run with, so that operators need not guess.

One SQL for both databases. It happens once in the life of an instance, beside its work: nothing waits for it, and
nothing fails with it.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic

from pydantic_core import from_json, to_json

from optout_core.adapters.ledger.records import Database
from optout_core.consent import microseconds
from optout_core.masking import show
from optout_core.published import Published

#: Seconds after which it is tried again.
_AGAIN = 60.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_PUBLISH = """
INSERT INTO consent_function AS f (name, started_at, version, settings)
VALUES (:name, :started_at, :version, :settings)
ON CONFLICT (name) DO UPDATE
SET started_at = excluded.started_at, version = excluded.version, settings = excluded.settings
WHERE f.started_at <= excluded.started_at
"""
_READ = "SELECT name, started_at, version, settings FROM consent_function ORDER BY started_at DESC, name"

_log = logging.getLogger("optout_core")


async def publish(database: Database, published: Published) -> None:
    """Say what a function runs with; what an instance said that started later stays.

    Raises:
        LedgerUnavailable: There is no answer, or we may not.
    """
    arguments = {
        "name": published.function,
        "started_at": microseconds(published.started_at),
        "version": published.version,
        "settings": to_json(published.settings).decode(),
    }
    await database.run(_PUBLISH, arguments)


async def read_published(database: Database) -> list[Published]:
    """Give what each function said of itself, the one that started last first.

    Raises:
        LedgerUnavailable: There is no answer.
    """
    return [
        Published(
            function=str(name),
            started_at=_EPOCH + timedelta(microseconds=int(str(started_at))),
            version=str(version),
            settings=_read(str(settings)),
        )
        for name, started_at, version, settings in await database.run(_READ, {})
    ]


def _read(text: str) -> dict[str, str]:
    try:
        found = from_json(text)
    except ValueError:
        found = None
    # Whatever stands there, the tool that looks at it must not end.
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


class Publisher:
    """Says once what this instance runs with."""

    def __init__(self, database: Database, published: Published) -> None:
        """Take the ledger, and what to say; nothing is said yet."""
        self._database = database
        self._published: Published | None = published
        self._task: asyncio.Task[None] | None = None
        self._not_before = float("-inf")
        self._has_warned = False

    def begin(self) -> None:
        """Begin to say it, unless that is done or was tried just now; call it when the ledger has answered."""
        if self._published is None or monotonic() < self._not_before:
            return
        self._not_before = monotonic() + _AGAIN
        self._task = asyncio.create_task(self._publish(self._published))

    async def close(self) -> None:
        """Leave it, if it is not done yet."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _publish(self, published: Published) -> None:
        try:
            await publish(self._database, published)
        except Exception as error:  # noqa: BLE001 - nobody waits for it, and operators see that it is missing
            if not self._has_warned:
                self._has_warned = True
                # What the ledger says of itself goes on with what that means for a recipient.
                why = show(str(error).partition(": nothing is called")[0])
                _log.warning("operators cannot see the settings in the ledger (%s); nothing else is affected", why)
        else:
            self._published = None
