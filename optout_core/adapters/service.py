"""Builds everything from the settings and closes it again. At import it only looks whether that can succeed."""

import asyncio
import gc
import logging
import os
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import gethostname
from time import monotonic
from typing import TYPE_CHECKING

from optout_core import __version__
from optout_core.adapters.connections import Credentials, connect_service_bus, open_acs, open_ledger
from optout_core.adapters.ledger.measured import MeasuredLedger
from optout_core.adapters.ledger.publishing import Publisher
from optout_core.adapters.ledger.replays import AppliedReplays
from optout_core.adapters.outbox import SEND_TIMEOUT, ServiceBusOutbox
from optout_core.adapters.requests import Limits, OptOutsClient
from optout_core.adapters.telemetry import Telemetry, is_ours_to_send
from optout_core.adapters.trigger import WholeMessage
from optout_core.addresses import PostgresAddress, SqliteAddress
from optout_core.arrivals import Arrival
from optout_core.outgoing import Queue
from optout_core.processor import Processor
from optout_core.published import Published, settings_to_publish
from optout_core.settings import Settings

if TYPE_CHECKING:
    from azure.servicebus.aio import ServiceBusClient

    from optout_core.reports import Report


#: Seconds between a failed invocation and its messages' return to the queue, as much again for each earlier delivery.
#: The host gives messages back at once, and after ten deliveries the broker dead-letters them: without a pause whatever
#: ails us empties the queue within seconds.
PAUSE_AFTER_FAILURE = 30.0
#: Seconds after which the host ends us (host.json, `functionTimeout`; the locks last a little longer), less some for
#: giving messages back.
_LATEST = 240.0

#: The name of the app (https://learn.microsoft.com/azure/app-service/reference-app-settings).
_APP = "WEBSITE_SITE_NAME"

#: Objects that were made and not given back before Python looks for cycles among them. What a slice makes goes when the
#: slice ends and is in no cycle: to look through it after each 700 objects takes a quarter of the processor time.
_YOUNG = 100_000

#: What sending retries and dead letters may take beside a queue that fails: two transfers that time out.
_FOR_SENDING = timedelta(seconds=2 * SEND_TIMEOUT)

_log = logging.getLogger("optout_core")


class Service:
    """The function's whole work: it starts lazily on the worker's own event loop and processes what the trigger brings.

    Attributes:
        observers: Called with each report; the sandbox looks on through this.
    """

    def __init__(
        self, environ: Mapping[str, str] = os.environ, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Read the settings and the rest of the environment; nothing is opened before the first invocation.

        Raises:
            SettingsError: A setting, a proxy, certificates or a credential is missing or wrong. The app then has no
                trigger and messages wait untouched; found at an invocation, it would use up their deliveries.
        """
        self.observers: list[Callable[[Report], None]] = []
        self._settings = settings = Settings.from_environ(environ)
        self._credentials = Credentials(environ)
        self._acs = open_acs(settings, self._credentials, environ)
        if settings.connection_string is None:
            self._credentials(settings.namespace_client_id or settings.identity_client_id)
        match settings.consent_ledger:
            case PostgresAddress(has_password=False):
                self._credentials(settings.identity_client_id)
            case SqliteAddress(path=path):
                from optout_core.adapters.ledger.sqlite import check_place

                check_place(Path(path))
        self._published = Published(
            function=environ.get(_APP) or gethostname(),
            started_at=_utc_now(),
            version=__version__,
            settings=settings_to_publish(settings),
        )
        self._is_ours_to_send = is_ours_to_send(environ)
        self._sleep = sleep
        self._has_warned = False
        self._starting = asyncio.Lock()
        self._client: OptOutsClient | None = None
        self._ledger: MeasuredLedger | None = None
        self._replays: AppliedReplays | None = None
        self._processor: Processor | None = None
        self._resources = AsyncExitStack()

    async def process(self, messages: Iterable[WholeMessage]) -> None:
        """Process the messages of one invocation.

        Raises:
            Exception: Starting or processing failed, after a pause; nothing may be completed.
        """
        started, now = monotonic(), _utc_now()
        arrivals = [message.arrival(now) for message in messages]
        try:
            processor = await self._started()
            await processor.process(arrivals, started + self._budget(arrivals, now))
            if self._replays is not None:
                await self._replays.write()
        except Exception:
            await self._sleep(_pause(arrivals, monotonic() - started))
            raise

    def _budget(self, arrivals: Iterable[Arrival], now: datetime) -> float:
        budget = self._settings.invocation_budget
        # A lock that has ended already tells of a clock that is wrong, and not of the time that is left.
        locks = [arrival.locked_until for arrival in arrivals if arrival.locked_until and arrival.locked_until > now]
        left = min(locks, default=now + budget + _FOR_SENDING) - now
        if left >= budget + _FOR_SENDING:
            return budget.total_seconds()
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "messages are locked for %d s, less than INVOCATION_BUDGET (%d s) and what sending may take: fewer"
                " recipients are asked for at a time; set lockDuration of the queue to PT5M",
                left.total_seconds(),
                budget.total_seconds(),
            )
        return min(budget, max(left - _FOR_SENDING, left / 2)).total_seconds()

    async def close(self) -> None:
        """Close all connections; the next invocation starts anew."""
        async with self._starting:
            self._processor = self._client = self._ledger = self._replays = None
            await self._resources.aclose()

    async def _started(self) -> Processor:
        async with self._starting:
            if self._processor is None:
                self._processor = await self._start(self._settings)
            return self._processor

    def _observe(self, report: "Report") -> None:
        if self._replays is not None:
            self._replays.note(report)
        for observe in self.observers:
            observe(report)

    async def _open_ledger(self, settings: Settings, telemetry: Telemetry) -> MeasuredLedger | None:
        address = settings.consent_ledger
        if address is None:
            _log.warning(
                "CONSENT_LEDGER is empty: STOPs are remembered within one invocation only, an older opt-in that comes"
                " later can undo them, and texted START events are ignored (docs/consent.md)"
            )
            return None
        ledger = open_ledger(address, lambda: self._credentials(settings.identity_client_id))
        await self._resources.enter_async_context(ledger)
        self._replays = AppliedReplays(ledger)
        publisher = Publisher(ledger, self._published)
        self._resources.push_async_callback(publisher.close)
        self._ledger = MeasuredLedger(ledger, telemetry, settings.call_horizon, answered=publisher.begin)
        telemetry.watch_stops(lambda: self._ledger.unsettled_stops if self._ledger else None)
        return self._ledger

    async def _start(self, settings: Settings) -> Processor:
        gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
        # They tell of every link, retry and request at INFO; what matters to us comes as an error or is measured.
        for library in ("azure", "aiohttp"):
            logging.getLogger(library).setLevel(logging.WARNING)
        if self._is_ours_to_send:
            # Imported late: only on Azure, where the worker has imported most of it already.
            from optout_core.adapters import azure_monitor

            azure_monitor.send()
        telemetry = Telemetry(observers=[self._observe])
        await self._resources.enter_async_context(self._credentials)
        await self._resources.enter_async_context(self._acs)
        self._client = OptOutsClient(self._acs.post, Limits.of(settings), telemetry)
        # The gauge outlives the client: after a restart the same gauge must not show the gate of the one before.
        telemetry.watch_breaker(lambda: self._client is not None and self._client.gate_is_open)
        outbox = ServiceBusOutbox(
            lambda: _connect(settings, self._credentials),
            {Queue.OPT_INS: settings.opt_in_queue, Queue.DEAD_LETTERS: settings.dead_letter_queue},
        )
        self._resources.push_async_callback(outbox.close)
        ledger = await self._open_ledger(settings, telemetry)
        return Processor(
            endpoint=self._client,
            outbox=outbox,
            telemetry=telemetry,
            ledger=ledger,
            horizon=settings.call_horizon,
            rule=settings.rule,
            schedule=settings.schedule,
            keywords=settings.keywords,
            now=_utc_now,
            chance=random.random,
            give_way=lambda: asyncio.sleep(0),
        )


def _connect(settings: Settings, credentials: Credentials) -> "ServiceBusClient":
    # Imported late: an invocation in which nothing fails sends nothing, and this is the slowest import of all.
    from azure.servicebus.aio import ServiceBusClient

    return connect_service_bus(ServiceBusClient, settings, credentials)


def _pause(arrivals: Iterable[Arrival], elapsed: float) -> float:
    deliveries = 1 + max((arrival.delivery_count for arrival in arrivals), default=0)
    return max(0.0, min(PAUSE_AFTER_FAILURE * deliveries, _LATEST - elapsed))


def _utc_now() -> datetime:
    return datetime.now(UTC)
