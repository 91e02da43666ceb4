"""The sandbox's broker as a place where the command line works, and the command line in a thread or a process."""

import asyncio
import contextlib
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import structs

from sandbox.endpoint import Endpoint
from sandbox.run import SHORT_DELAYS, function
from servicebus_sandbox import Broker, load_queues
from servicebus_sandbox.amqp import Symbol
from servicebus_sandbox.encode import encode
from servicebus_sandbox.messages import Message
from servicebus_sandbox.sections import Entries
from tests.build import QUEUES_FILE, dead_letter
from tests.ops.command_line import Said, run

ROOT = Path(__file__).parents[2]


class Bus:
    """A broker with the two queues, and the environment that points the command line at it."""

    def __init__(self, broker, place):
        self.broker = broker
        self.environ = {
            "ServiceBusConnection": broker.connection_string,
            "OPTOUT_AUDIT": str(place / "audit.jsonl"),
            "HOME": str(place),
        }

    @property
    def opt_ins(self):
        return self.broker.queue("opt-ins")

    @property
    def dead_letters(self):
        return self.broker.queue("opt-ins-dead-letter")

    def fill(self, *messages):
        """Put dead letters into the queue, past the wire: a link takes a second to open and close."""
        self.dead_letters.send([as_stored(each) for each in messages])

    def bury(self, *numbers, **fields):
        """Put dead letters of the present into the queue."""
        self.fill(*(current(number, **fields) for number in numbers))

    async def __call__(self, *arguments):
        """Run the command line in a thread; one at a time, since standard output is the process's."""
        return await asyncio.to_thread(run, *arguments, environ=self.environ)

    def start(self, *arguments, terminal=None, under=(), **environment):
        """Start the command line in a process of its own, on a terminal or with pipes, `under` another command."""
        return subprocess.Popen(
            [*under, sys.executable, "-m", "optout_ops", *arguments],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]} | self.environ | environment,
            stdin=terminal or subprocess.DEVNULL,
            stdout=terminal or subprocess.PIPE,
            stderr=terminal or subprocess.PIPE,
            text=True,
        )

    async def locked(self):
        """How many dead letters are still locked once the last words of a command have arrived.

        The SDK says `released` and hangs up without waiting for an answer, so a busy broker hears it after the command
        has ended.
        """
        with contextlib.suppress(TimeoutError):
            await self.broker.wait_until(lambda: self.dead_letters.locked == 0)
        return self.dead_letters.locked

    def names(self):
        """The events that wait in the one queue and in the other."""
        return tuple(
            [stored.message.application_properties["optout-event-id"] for stored in queue.messages()]
            for queue in (self.opt_ins, self.dead_letters)
        )


async def finish(process):
    """Wait until a process of the command line ends by itself."""
    out, err = await asyncio.to_thread(process.communicate)
    return Said(process.returncode, out, err)


def current(number, *arguments, **fields):
    """A dead letter whose person decided just now: on the broker the time is the machine's."""
    now = datetime.now(UTC)
    arrived = now + timedelta(seconds=1)
    letter = dead_letter(number, *arguments, **{"time": now, "optout-first-enqueued": arrived.isoformat()} | fields)
    return structs.replace(letter, enqueued_at=arrived)


def as_stored(message):
    """A message as the broker keeps it."""
    if isinstance(message, Message):
        return message
    head = [message.message_id, None, None, None, None, message.correlation_id, Symbol(message.content_type)]
    sections = b"\x00\x53\x75" + encode(message.body)
    entries = b"".join(encode(name) + encode(value) for name, value in message.properties.items())
    return Message(
        message_id=message.message_id,
        application_entries=Entries(len(message.properties), entries),
        properties_section=b"\x00\x53\x73" + encode(head),
        body_sections=sections,
        size=len(sections) + 500,
    )


def queues(lock_seconds=None, **changes):
    """The queues of infra/queues.json with some properties changed."""
    if lock_seconds:
        changes["lock_duration"] = timedelta(seconds=lock_seconds)
    return {name: replace(each, **changes) for name, each in load_queues(QUEUES_FILE).items()}


@contextlib.asynccontextmanager
async def open_bus(place, properties=None, **options):
    """Open a broker; the audit trail lies in `place`."""
    async with Broker(properties or queues(), **options) as broker:
        yield Bus(broker, place)


@contextlib.asynccontextmanager
async def closed_loop(place, settings=(), **acs):
    """Open a broker and the ACS endpoint, with the real function working between them; further settings are both's."""
    async with Endpoint(**acs) as endpoint, open_bus(place) as bus:
        bus.environ |= {
            "ACS_ENDPOINT": endpoint.url,
            "ACS_ACCESS_KEY": endpoint.access_key,
            "OPT_IN_QUEUE": "opt-ins",
            "DEAD_LETTER_QUEUE": "opt-ins-dead-letter",
            **SHORT_DELAYS,
            **dict(settings),
        }
        of_function = {name: value for name, value in bus.environ.items() if name not in {"HOME", "OPTOUT_AUDIT"}}
        before = dict(os.environ)
        # An app can be indexed once only.
        sys.modules.pop("function_app", None)
        try:
            async with function(of_function):
                yield bus
        finally:
            sys.modules.pop("function_app", None)
            # The function's settings are the environment of this process, and would be that of the next test.
            os.environ.clear()
            os.environ.update(before)


def read_all(terminal):
    """Read a terminal until the program at its other end is gone."""
    shown = b""
    # Linux says so with an error.
    with contextlib.suppress(OSError):
        while chunk := os.read(terminal, 4096):
            shown += chunk
    os.close(terminal)
    return shown.decode()
