"""Builds everything from the settings, at the first invocation, and closes it again. Nothing happens at import."""

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from optout_core.adapters.outbox import ServiceBusOutbox
from optout_core.adapters.requests import Limits, OptOutsClient, open_http
from optout_core.adapters.signing import EntraAuth, HmacAuth, entra_credential
from optout_core.adapters.telemetry import Telemetry
from optout_core.adapters.trigger import WholeMessage
from optout_core.consent import Rule, WithoutLedger
from optout_core.messages import Queue
from optout_core.processor import Processor
from optout_core.settings import Settings

if TYPE_CHECKING:
    import httpx
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.servicebus.aio import ServiceBusClient

    from optout_core.reports import Report


#: Seconds. The host gives messages back at once, and after ten deliveries the broker dead-letters them: without a pause
#: whatever ails us empties the queue within seconds. Budget, sending and this stay under the lock of five minutes.
PAUSE_BEFORE_GIVING_BACK = 30.0


class Service:
    """Process what the trigger brings, starting lazily on the worker's own event loop.

    Attributes:
        observers: Called with the report of each invocation; the sandbox looks on through this.
    """

    def __init__(
        self, environ: Mapping[str, str] = os.environ, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Read the settings from the environment; nothing is opened before the first invocation.

        Raises:
            SettingsError: A setting is missing or wrong. The app then has no trigger and messages wait untouched; found
                at an invocation, it would use up their ten deliveries within seconds.
        """
        self.observers: list[Callable[[Report], None]] = []
        self._settings = Settings.from_environ(environ)
        self._sleep = sleep
        self._starting = asyncio.Lock()
        self._client: OptOutsClient | None = None
        self._processor: Processor | None = None
        self._credentials: dict[str | None, AsyncTokenCredential] = {}
        self._resources = AsyncExitStack()

    async def process(self, messages: Iterable[WholeMessage]) -> None:
        """Process the messages of one invocation.

        Raises:
            SendFailed: The broker took no retries or dead letters; nothing may be completed.
        """
        async with self._starting:
            if self._processor is None:
                self._processor = await self._start(self._settings)
        now = _utc_now()
        try:
            report = await self._processor.process([message.arrival(now) for message in messages])
        except Exception:
            await self._sleep(PAUSE_BEFORE_GIVING_BACK)
            raise
        for observe in self.observers:
            observe(report)

    async def close(self) -> None:
        """Close all connections; the next invocation starts anew."""
        async with self._starting:
            self._processor = self._client = None
            self._credentials.clear()
            await self._resources.aclose()

    async def _start(self, settings: Settings) -> Processor:
        # They tell of every link, retry and request at INFO; what matters to us comes as an error or is measured.
        for library in ("azure", "httpx"):
            logging.getLogger(library).setLevel(logging.WARNING)
        limits = Limits(
            budget=settings.invocation_budget.total_seconds(),
            timeout=settings.http_timeout.total_seconds(),
            attempts=settings.http_attempts,
            concurrency=settings.max_concurrent_requests,
            breaker_failures=settings.breaker_failures,
            breaker_cooldown=settings.breaker_cooldown.total_seconds(),
        )
        telemetry = Telemetry()
        http = await self._resources.enter_async_context(open_http(settings.acs_endpoint, self._auth(settings), limits))
        self._client = OptOutsClient(http, limits, telemetry)
        # The gauge outlives the client: after a restart the same gauge must not show the breaker of the one before.
        telemetry.watch_breaker(lambda: self._client is not None and self._client.breaker_open)
        outbox = ServiceBusOutbox(
            lambda: self._connect(settings),
            {Queue.OPT_INS: settings.opt_in_queue, Queue.DEAD_LETTERS: settings.dead_letter_queue},
        )
        self._resources.push_async_callback(outbox.close)
        return Processor(
            endpoint=self._client,
            outbox=outbox,
            ledger=WithoutLedger(),
            telemetry=telemetry,
            rule=Rule(settings.opt_in_max_age, settings.allowed_senders),
            schedule=settings.schedule,
            opt_in_keywords=settings.opt_in_keywords,
            now=_utc_now,
            chance=random.random,
        )

    def _auth(self, settings: Settings) -> "httpx.Auth":
        if settings.acs_access_key is not None:
            return HmacAuth(settings.acs_access_key)
        return EntraAuth(self._credential(settings.identity_client_id))

    def _connect(self, settings: Settings) -> "ServiceBusClient":
        # Imported late: an invocation in which nothing fails sends nothing, and this is the slowest import of all.
        from azure.servicebus.aio import ServiceBusClient  # noqa: PLC0415

        if settings.connection_string is not None:
            return ServiceBusClient.from_connection_string(settings.connection_string.get_secret_value())
        credential = self._credential(settings.namespace_client_id or settings.identity_client_id)
        return ServiceBusClient(settings.namespace or "", credential)

    def _credential(self, client_id: str | None) -> "AsyncTokenCredential":
        # One for each identity: its cache of tokens is its own.
        if client_id not in self._credentials:
            self._credentials[client_id] = entra_credential(client_id)
            self._resources.push_async_callback(self._credentials[client_id].close)
        return self._credentials[client_id]


def _utc_now() -> datetime:
    return datetime.now(UTC)
