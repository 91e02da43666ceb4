"""Runs a plan: processes on loopback, proxies between them, a publisher that does not give up."""

import asyncio
import base64
import json
import time
from contextlib import AsyncExitStack, suppress

import aiohttp
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from tests.chaos.oracle import Seen, arrival, read_journal, still_to_do
from tests.chaos.processes import Process
from tests.proxy import Proxy

#: Seconds after the last trouble in which everything has to be settled.
PATIENCE = 60.0
#: Seconds. Where no answer may get lost, nothing times out because the machine is busy; elsewhere times are as short as
#: a test can wait for. A lock is longer than an invocation with all its sends, as on Azure.
_PATIENT, _IMPATIENT = (
    {"HTTP_TIMEOUT": "PT8S", "INVOCATION_BUDGET": "PT10S", "CALL_HORIZON": "PT18S"},
    {"HTTP_TIMEOUT": "PT0.8S", "INVOCATION_BUDGET": "PT1.5S", "CALL_HORIZON": "PT2.5S"},
)
_LONG_LOCK, _SHORT_LOCK = 60, 6
_KEY = base64.b64encode(b"chaos").decode()
_SETTINGS = {
    "OPT_IN_QUEUE": "opt-ins",
    "DEAD_LETTER_QUEUE": "opt-ins-dead-letter",
    "RETRY_SCHEDULE": "PT0.2S,PT0.5S",
    "OUTAGE_BACKOFF_FIRST": "PT0.3S",
    "OUTAGE_BACKOFF_MAX": "PT1S",
    "BREAKER_COOLDOWN": "PT0.5S",
    "ACS_ACCESS_KEY": _KEY,
}


class World:
    """The processes of one run, and what may be done to them; a step of a plan is the name of a method."""

    def __init__(self, plan, folder):
        self._plan = plan
        self._folder = folder
        self._broker = Process(folder, "broker")
        self._acs = Process(folder, "acs")
        self._functions = [Process(folder, "function") for _ in range(plan.functions)]
        self._to_broker, self._to_acs = Proxy(0), Proxy(0)
        self._arguments: tuple[object, ...] = ()
        self._acs_port = 0
        self._connection = ""
        self._codes: list[int] = []
        self._restarts: set[asyncio.Task[object]] = set()

    async def run(self):
        """Run the plan to its end, and give what can be seen then."""
        async with AsyncExitStack() as stack:
            for process in (self._broker, self._acs, *self._functions):
                stack.push_async_callback(process.kill)
            await stack.enter_async_context(self._to_broker)
            await stack.enter_async_context(self._to_acs)
            await self._start()
            began = time.monotonic()
            publishing = asyncio.create_task(self._publish(began))
            stack.callback(publishing.cancel)
            for step in self._plan.steps:
                await asyncio.sleep(max(0.0, began + step.at - time.monotonic()))
                await getattr(self, step.what)(*step.arguments)
            await publishing
            await self._calm_down()
            await self._drain()
            self._codes += await asyncio.gather(*(function.stop() for function in self._functions))
            return Seen(
                journal=read_journal((self._folder / "journal").read_text()),
                waiting=await self._look("opt-ins"),
                dead=await self._look("opt-ins-dead-letter"),
                logs={log.stem: log.read_text(errors="replace") for log in self._folder.glob("*.log")},
                codes=self._codes,
            )

    # --- what may be done ---

    async def kill_function(self):
        """Kill one, and start it anew."""
        function = self._functions[0]
        await function.kill()
        self._later(function.start(*self._arguments))

    async def stop_function(self):
        """Ask it to end in the middle of its work, and start it anew."""
        function = self._functions[0]
        # While it starts there is nothing to be ended in good order; a start that a kill overtook has failed.
        await asyncio.gather(*self._restarts, return_exceptions=True)
        self._codes.append(await function.stop())
        self._later(function.start(*self._arguments))

    async def kill_acs(self):
        """Kill it; it is back a little later."""
        await self._acs.kill()
        self._later(self._start_acs())

    async def cut_broker(self):
        """Reset all connections between function and broker."""
        self._to_broker.cut()

    async def drop_broker(self, *ways):
        """Drop what goes between function and broker."""
        self._to_broker.drop(*ways)

    async def heal_broker(self):
        """Let new connections through; those that lost something are never heard of again."""
        self._to_broker.heal()

    async def cut_acs(self):
        """Reset all connections between function and ACS."""
        self._to_acs.cut()

    async def refuse(self, queue, is_full):
        """Let a queue take nothing."""
        await self._broker.ask("refuse", queue, is_full)

    async def admit(self, queue):
        """Let it take messages again."""
        await self._broker.ask("admit", queue)

    async def lose_answers(self, count):
        """Let the next sends in without a word."""
        await self._broker.ask("lose_answers", count)

    async def detach(self):
        """Detach the links that are idle."""
        await self._broker.ask("detach")

    async def weather(self, *faults):
        """Let ACS fail for a while."""
        url = f"http://127.0.0.1:{self._acs_port}/sandbox/faults"
        # It may have been killed: then it has fallen silent anyway.
        with suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session, session.put(url, json=[*faults, *self._plan.faults]) as put:
                put.raise_for_status()

    # --- inside ---

    async def _start(self):
        (self._folder / "journal").touch()
        (self._folder / "faults.json").write_text(json.dumps(self._plan.faults))
        host_json = self._folder / "host.json"
        retries = {"tryTimeout": "00:00:02", "delay": "00:00:00.10", "maxRetries": 1}
        service_bus = {"maxMessageBatchSize": self._plan.batch, "clientRetryOptions": retries}
        host_json.write_text(json.dumps({"functionTimeout": "00:00:30", "extensions": {"serviceBus": service_bus}}))
        lock, times = (_SHORT_LOCK, _IMPATIENT) if self._plan.may_repeat else (_LONG_LOCK, _PATIENT)
        self._connection, _ = await asyncio.gather(self._broker.start(lock), self._start_acs())
        self._to_broker.target = int(self._connection.partition(";")[0].rpartition(":")[2])
        self._to_acs.target = self._acs_port
        here, there = f":{self._to_broker.port};", f":{self._to_broker.target};"
        settings = (
            _SETTINGS
            | times
            | {
                "ServiceBusConnection": self._connection.replace(there, here),
                "ACS_ENDPOINT": f"http://127.0.0.1:{self._to_acs.port}",
                # One for all functions, and for those that come after they were killed.
                "CONSENT_LEDGER": f"sqlite:///{self._folder}/ledger.db",
            }
        )
        self._arguments = (json.dumps(settings), host_json)
        await asyncio.gather(*(function.start(*self._arguments) for function in self._functions))

    async def _start_acs(self):
        url = await self._acs.start(self._folder / "journal", self._folder / "faults.json", self._acs_port, _KEY)
        self._acs_port = int(url.rpartition(":")[2])

    def _later(self, starting):
        task = asyncio.create_task(starting)
        self._restarts.add(task)

    async def _publish(self, began):
        """Publish every event at its time until the broker has said that it has it."""
        for event in sorted(self._plan.events, key=lambda event: event.at):
            await asyncio.sleep(max(0.0, began + event.at - time.monotonic()))
            for _ in range(event.copies):
                await self._send(event)

    async def _send(self, event):
        while True:
            try:
                if not hasattr(self, "_sender"):
                    self._client = ServiceBusClient.from_connection_string(self._connection, retry_total=0)
                    self._sender = self._client.get_queue_sender("opt-ins")
                await self._sender.send_messages(ServiceBusMessage(event.body, message_id=event.message_id))
            except Exception:  # noqa: BLE001 - whatever it is, a publisher tries again
                await self._hang_up()
                await asyncio.sleep(0.2)
            else:
                return

    async def _hang_up(self):
        client, sender = self.__dict__.pop("_client", None), self.__dict__.pop("_sender", None)
        with suppress(Exception):
            if sender is not None:
                await sender.close()
            if client is not None:
                await client.close()

    async def _calm_down(self):
        await self._hang_up()
        self._to_broker.heal()
        # A restart that was overtaken by the next kill has failed, and the next one has not.
        await asyncio.gather(*self._restarts, return_exceptions=True)
        await self.weather()

    async def _drain(self):
        latest = time.monotonic() + PATIENCE
        while still_to_do(self._plan, await self._look("opt-ins")) and time.monotonic() < latest:  # noqa: ASYNC110
            await asyncio.sleep(0.3)

    async def _look(self, queue):
        return [arrival(base64.b64decode(each)) for each in await self._broker.ask("look", queue)]
