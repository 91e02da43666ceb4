"""Does what the batch trigger of the Azure Functions host does: receive, invoke, complete all or abandon all, again.

One batch at a time, no pause anywhere and no lock renewal. What it is told apart from the real one by stands in
docs/sandbox.md, "The host"; the texts are those of `ServiceBusListener` in
https://github.com/Azure/azure-sdk-for-net/tree/main/sdk/servicebus/Microsoft.Azure.WebJobs.Extensions.ServiceBus.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from sandbox.address import Address
from sandbox.dotnet import Undecodable
from sandbox.failures import is_busy, may_heal, named
from sandbox.handover import hand_over
from sandbox.host_json import HostError, HostJson, read_host_json
from sandbox.link import Refusal
from sandbox.receiver import Delivery, Outcome, Receiver
from sandbox.worker import Indexed, Worker, WorkerDied

#: Seconds between the time-out of an invocation and the end of its worker (`functionTimeout`, azure-functions-host).
GRACE = 2.0
#: Seconds that the client waits more when the service says that it is busy (`ServerBusyBaseSleepTime`).
BUSY = 10.0

#: Of the metadata, what the extension logs of every batch at Information.
_LOGGED = ("MessageIdArray", "SequenceNumberArray", "DeliveryCountArray", "EnqueuedTimeUtcArray", "ExpiresAtUtcArray")

_log = logging.getLogger("sandbox.host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What the host needs to know of one Service Bus batch trigger.

    Attributes:
        name: Of the function.
        queue: Its name, app settings filled in.
        address: Of the namespace.
        settings: What host.json says.
        grace: Seconds that a function has left after its time-out.
        busy: Seconds that a busy service is given.
    """

    name: str
    queue: str
    address: Address = field(repr=False)
    settings: HostJson
    grace: float = GRACE
    busy: float = BUSY


def make_trigger(indexed: Indexed, host_json: Path, settings: Mapping[str, str]) -> Trigger:
    """Fill in what the trigger of an app leaves to app settings.

    Raises:
        HostError: host.json or a setting is not what a Service Bus batch trigger needs.
    """
    queue = re.sub(r"%([^%]+)%", lambda name: _setting(name.group(1), settings), indexed.queue)
    try:
        address = Address.parse(_setting(indexed.connection, settings))
    except ValueError as error:
        raise HostError(f"the app setting {indexed.connection}: {error}") from None
    return Trigger(name=indexed.name, queue=queue, address=address, settings=read_host_json(host_json))


def _setting(name: str, settings: Mapping[str, str]) -> str:
    if not settings.get(name):
        raise HostError(f"the app setting {name} is missing: the trigger needs it")
    return settings[name]


class HostEnded(Exception):
    """The host does not receive any more."""


class Host:
    """Feed one trigger until it is stopped."""

    def __init__(self, trigger: Trigger, worker: Worker) -> None:
        """Take the trigger and a worker that has been started; nothing is received before `run`."""
        self._trigger = trigger
        self._worker = worker
        self._stopping = asyncio.Event()
        self._receiver = self._make_receiver()
        host = trigger.address.host
        self._details = (
            f"namespace='{host}', entityPath='{trigger.queue}', singleDispatch='False', isSessionsEnabled='False',"
            f" functionId='{trigger.name}'"
        )

    async def run(self) -> None:
        """Receive and invoke until `stop` is called; what goes wrong is logged, and the loop goes on at once."""
        try:
            while not self._stopping.is_set():
                try:
                    await self._turn()
                except (OSError, Refusal, Undecodable) as error:
                    # Of some of what it cannot decode, the client says nothing.
                    if text := named(error):
                        _log.error(
                            "An unhandled exception occurred in the message batch receive loop (%s). %s",
                            self._details,
                            text,
                        )
                    # What the client cannot retry fails without waiting for anything.
                    await asyncio.sleep(0)
        finally:
            await self._receiver.close()

    def stop(self) -> None:
        """Let `run` return when the invocation under way is settled."""
        self._stopping.set()

    # --- one turn ---

    async def _turn(self) -> None:
        receiving = asyncio.create_task(self._receive())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((receiving, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not receiving.done():
            receiving.cancel()
            await asyncio.wait((receiving,))
            return
        batch = receiving.result()
        if not batch:
            return
        if self._stopping.is_set():
            # The function is not called any more, and the delivery counts all the same.
            await self._settle(batch, Outcome.ABANDONED)
            return
        await self._invoke(batch)

    async def _receive(self) -> list[Delivery]:
        """Receive a batch as the .NET client does: what may heal is tried again before anybody hears of it."""
        batch, retries = self._trigger.settings.max_batch, self._trigger.settings.retries
        repetition = 0
        while True:
            try:
                return await self._receiver.receive(batch, retries.try_timeout.total_seconds())
            except (OSError, Refusal) as error:
                repetition += 1
                if not may_heal(error) or repetition > retries.max_retries:
                    raise
                await asyncio.sleep(retries.pause(repetition) + (self._trigger.busy if is_busy(error) else 0))

    async def _invoke(self, batch: Sequence[Delivery]) -> None:
        # What the client cannot decode fails the whole receive: nothing is abandoned, all stay locked.
        data, metadata = hand_over(batch, self._trigger.address.host)
        number = uuid4()
        name = self._trigger.name
        _log.info("Executing 'Functions.%s' (Reason='(null)', Id=%s)", name, number)
        details = (f"{array}: {metadata[array].python_value}" for array in _LOGGED)
        _log.info("Trigger Details: %s", ", ".join(details))
        try:
            await self._call(asyncio.create_task(self._worker.invoke(data, metadata)))
        except Exception as error:  # noqa: BLE001 - whatever a function raises, the host abandons and goes on
            _log.error("Executed 'Functions.%s' (Failed, Id=%s): %s: %s", name, number, type(error).__name__, error)
            outcome = Outcome.ABANDONED
        else:
            _log.info("Executed 'Functions.%s' (Succeeded, Id=%s)", name, number)
            if not self._trigger.settings.auto_complete:
                return
            outcome = Outcome.COMPLETED
        await self._settle(batch, outcome)

    async def _call(self, invocation: "asyncio.Task[None]") -> None:
        limit = self._trigger.settings.timeout
        done, _ = await asyncio.wait((invocation,), timeout=limit.total_seconds())
        if not done:
            _log.error(
                "Timeout value of %s exceeded by function 'Functions.%s'. Initiating cancellation.",
                limit,
                self._trigger.name,
            )
            await asyncio.wait((invocation,), timeout=self._trigger.grace)
            self._worker.kill()
            invocation.cancel()
            await self._worker.start()
            raise TimeoutError(f"Timeout value of {limit} was exceeded by function: Functions.{self._trigger.name}")
        if isinstance(invocation.exception(), WorkerDied):
            await self._worker.start()
        invocation.result()

    async def _settle(self, batch: Sequence[Delivery], outcome: Outcome) -> None:
        failed = [error for error in await self._receiver.settle(batch, outcome) if error is not None]
        if failed:
            # `Task.WhenAll` waits for all of them and raises the first.
            raise failed[0]

    def _make_receiver(self) -> Receiver:
        patience = self._trigger.settings.retries.try_timeout.total_seconds()
        return Receiver(self._trigger.address, self._trigger.queue, patience)


@asynccontextmanager
async def running(host: Host) -> AsyncIterator[None]:
    """Let a host run while the block does, and wait until it has settled what it was doing.

    Raises:
        HostEnded: It ended by itself; the block is cancelled, so that nobody waits for what will not come.
    """
    block = asyncio.current_task()
    assert block is not None  # noqa: S101 - a coroutine runs in a task; for mypy
    pump = asyncio.create_task(host.run())
    pump.add_done_callback(lambda ended: ended.cancelled() or ended.exception() is None or block.cancel())
    try:
        yield
    except asyncio.CancelledError:
        if not pump.done() or pump.exception() is None:
            raise
        block.uncancel()
    finally:
        host.stop()
        await asyncio.wait((pump,))
    if error := pump.exception():
        raise HostEnded(
            f"the host ended ({type(error).__name__}: {error}); messages wait in the queue; start the sandbox again"
        ) from error
