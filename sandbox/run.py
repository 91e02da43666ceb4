"""One run: start what is not given, publish, let the real function work, look at what became of everything."""

import asyncio
import importlib
import os
import random
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import azure.functions as func
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver

from optout_core.adapters import received
from optout_core.addresses import is_loopback
from optout_core.errors import SettingsError
from optout_core.reports import Report
from optout_core.settings import Settings
from sandbox.endpoint import REFERENCE_FAULTS, Endpoint, load_faults
from sandbox.host import Host, make_trigger, running
from sandbox.publishing import publish, read_publications
from sandbox.telemetry import Collected, Collector
from sandbox.watch import SeenDeadLetter, Watch, read_dead_letter
from sandbox.worker import Worker
from servicebus_sandbox import Broker, load_queues

ROOT = Path(__file__).parent.parent

#: Shortened, so that one sees a schedule come to its end; every other setting is the function's own default.
SHORT_DELAYS = {
    "RETRY_SCHEDULE": "PT0.05S,PT0.1S",
    "OUTAGE_BACKOFF_FIRST": "PT0.5S",
    "OUTAGE_BACKOFF_MAX": "PT2S",
    "BREAKER_COOLDOWN": "PT1S",
    # How long a call may still act, and what that has to be longer than.
    "INVOCATION_BUDGET": "PT2S",
    "HTTP_TIMEOUT": "PT1.5S",
    "CALL_HORIZON": "PT3.5S",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is asked to do.

    Attributes:
        events: Files, folders and "-".
        endpoint: An ACS endpoint to use instead of the sandbox's, or None.
        access_key: Of that endpoint; for the sandbox's own, a key that need not be the right one.
        broker: Connection string of a namespace to use instead of the sandbox's, or None.
        faults: File of what goes wrong at the sandbox's endpoint; None for the API reference's one failing number.
        seed: Makes the jitter the same at every run, or None.
        patience: Seconds without progress after which the run ends.
    """

    events: tuple[str, ...]
    endpoint: str | None = None
    access_key: str | None = field(default=None, repr=False)
    broker: str | None = field(default=None, repr=False)
    faults: Path | None = None
    seed: int | None = None
    patience: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What happened in a run.

    Attributes:
        watch: Every event and recipient.
        dead_letters: The messages that this run left in the dead-letter queue.
        queued: Messages in the queue of opt-ins at the end.
        collected: Requests and metrics.
        duration: Seconds from publishing to the end.
        settled: Whether nothing waits any more.
    """

    watch: Watch
    dead_letters: tuple[SeenDeadLetter, ...]
    queued: int
    collected: Collected
    duration: float
    settled: bool


@dataclass(frozen=True, slots=True)
class Services:
    """What the function works with.

    Attributes:
        settings: The app settings that lead there.
        broker: The sandbox's own, or None where another is used.
        endpoint: The sandbox's own, or None where another is used.
    """

    settings: Mapping[str, str] = field(repr=False)
    broker: Broker | None
    endpoint: Endpoint | None


@asynccontextmanager
async def services(
    options: Options, broker_port: int = 0, endpoint_port: int = 0, clock: Callable[[], float] = time.time
) -> AsyncIterator[Services]:
    """Start the broker and the endpoint, unless others are given.

    Raises:
        SettingsError: A setting in the environment is wrong, and the function would not start with it; or the key of
            an endpoint on this machine is missing.
    """
    broker = endpoint = None
    async with AsyncExitStack() as stack:
        access_key, url, connection = options.access_key, options.endpoint, options.broker
        if url is not None:
            access_key = access_key or os.environ.get("ACS_ACCESS_KEY")
            if not access_key and is_loopback(url):
                raise SettingsError(
                    "--endpoint on loopback needs --access-key, or ACS_ACCESS_KEY: no identity opens it"
                )
        else:
            faults = load_faults(options.faults) if options.faults else REFERENCE_FAULTS
            endpoint = await stack.enter_async_context(Endpoint(faults=faults, port=endpoint_port))
            url, access_key = endpoint.url, access_key or endpoint.access_key
        if connection is None:
            queues = load_queues(ROOT / "infra" / "queues.json")
            broker = await stack.enter_async_context(Broker(queues, broker_port, clock=clock))
            connection = broker.connection_string
        own = {"ACS_ENDPOINT": url, "ACS_ACCESS_KEY": access_key or "", "ServiceBusConnection": connection}
        names = [each.alias or "" for each in Settings.model_fields.values()]
        names = [name for name in names if not name.startswith(tuple(own))]
        chosen = {name: os.environ[name] for name in names if os.environ.get(name)}
        named = {"OPT_IN_QUEUE": "opt-ins", "DEAD_LETTER_QUEUE": "opt-ins-dead-letter"}
        if "CONSENT_LEDGER" not in chosen:
            folder = stack.enter_context(TemporaryDirectory(prefix="optout-", ignore_cleanup_errors=True))
            named["CONSENT_LEDGER"] = f"sqlite:///{folder}/ledger.db"
        settings = named | SHORT_DELAYS | chosen | own
        Settings.from_environ(settings)
        yield Services(settings, broker, endpoint)


@asynccontextmanager
async def function(
    settings: Mapping[str, str],
    observe: Callable[[Report], None] | None = None,
    host_json: Path = ROOT / "host.json",
) -> AsyncIterator[None]:
    """Let the real function_app.py work while the block runs, with these app settings and no others.

    When the block ends, so does the invocation under way, and its messages are settled.

    Raises:
        HostError: The app, host.json or a setting is not one with which the host would start.
        HostEnded: The host ended while the block ran, which is cancelled for it.
    """
    for each in Settings.model_fields.values():
        os.environ.pop(each.alias or "", None)
    os.environ.update(settings)
    loop = asyncio.get_running_loop()
    app: Any = None

    def load() -> func.FunctionApp:
        # Each worker imports the app anew; what it reports comes from the worker's thread.
        nonlocal app
        sys.modules.pop("function_app", None)
        app = importlib.import_module("function_app")
        if observe is not None:
            app.service.observers.append(lambda report: loop.call_soon_threadsafe(observe, report))
        return app.app  # type: ignore[no-any-return] # function_app.py says what it is

    worker = Worker(load)
    try:
        host = Host(make_trigger(await worker.start(), host_json, settings), worker)
        try:
            async with running(host):
                yield
        finally:
            await worker.run(app.service.close)
    finally:
        await worker.close()


@asynccontextmanager
async def run(options: Options, progress: Callable[[Watch], None] = lambda _: None) -> AsyncIterator[Result]:
    """Publish the events, wait until each is settled, and yield what happened before everything is closed again.

    Args:
        options: What to do.
        progress: Called with the state of things whenever it changed.

    Raises:
        OSError, ValueError: The events cannot be read.
        SettingsError: The settings do not do.
        ServiceBusError: The broker cannot be reached.
    """
    random.seed(options.seed)
    # A namespace that is not ours remembers: under the same ids, a second run would be dropped as a duplicate.
    mark = f"@{secrets.token_hex(3)}" if options.broker else ""
    publications = read_publications(options.events, mark)
    if not publications:
        raise ValueError("there are no events to publish")
    collector = Collector()
    async with services(options) as given, AsyncExitStack() as stack:
        settings = given.settings
        watch = Watch((), Settings.from_environ(settings).keywords)

        def observe(report: Report) -> None:
            watch.observe(report)
            progress(watch)

        began, started = datetime.now(UTC), time.monotonic()
        # No retries: who cannot be reached when a person is watching is reported at once.
        client = ServiceBusClient.from_connection_string(settings["ServiceBusConnection"], retry_total=0)
        sender = client.get_queue_sender(settings["OPT_IN_QUEUE"])
        receiver = client.get_queue_receiver(settings["DEAD_LETTER_QUEUE"])
        # Opening and closing a link takes the client half a second: where nothing failed, all at the same time.
        stack.push_async_callback(lambda: asyncio.gather(sender.close(), receiver.close()))
        opening = asyncio.gather(sender.create_message_batch(), receiver.peek_messages(1))
        async with function(settings, observe):
            await opening
            settled = True
            for _, wave in groupby(publications, key=lambda publication: publication.wave):
                together = list(wave)
                watch.expect(together)
                await publish(sender, together)
                if not (settled := await watch.until_settled(options.patience)):
                    break
            dead_letters = await _peek(receiver, began)
            for dead in dead_letters:
                watch.take_over(dead)
            duration = time.monotonic() - started
            settled = settled or watch.settled()
            queued = 0 if settled else await _count(client, settings["OPT_IN_QUEUE"])
            yield Result(
                watch=watch,
                dead_letters=dead_letters,
                queued=queued,
                collected=collector.collect(),
                duration=duration,
                settled=settled,
            )
            closing = asyncio.gather(sender.close(), receiver.close())
        await closing


async def _peek(receiver: ServiceBusReceiver, since: datetime) -> tuple[SeenDeadLetter, ...]:
    found: list[SeenDeadLetter] = []
    next_number = 1
    while messages := await receiver.peek_messages(250, sequence_number=next_number):
        found += [
            read_dead_letter(received.within(each)) for each in messages if _enqueued(each.enqueued_time_utc) >= since
        ]
        next_number = (messages[-1].sequence_number or 0) + 1
    return tuple(found)


async def _count(client: ServiceBusClient, queue: str) -> int:
    count, next_number = 0, 1
    async with client.get_queue_receiver(queue) as receiver:
        while messages := await receiver.peek_messages(250, sequence_number=next_number):
            count += len(messages)
            next_number = (messages[-1].sequence_number or 0) + 1
    return count


def _enqueued(time: datetime | None) -> datetime:
    # The broker's clock and ours may differ by the fraction that AMQP cuts off.
    return datetime.max.replace(tzinfo=UTC) if time is None else time.replace(microsecond=999_999)
