"""What the tests of the command line are made of: dead letters, a broker, and the real `main` in a thread."""

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from optout_ops.__main__ import main
from optout_ops.letters.dead_letters import QueueMessage
from sandbox.endpoint import Endpoint
from sandbox.run import SHORT_DELAYS, function
from servicebus_sandbox import Broker, load_queues
from servicebus_sandbox.amqp import Symbol
from servicebus_sandbox.encode import encode
from servicebus_sandbox.messages import Entries, Message

ROOT = Path(__file__).parents[2]
SENDER = "+18001234567"
#: Replay at once, all of it.
QUICK = ("--yes", "--no-ramp", "--rate", "100000")
NOW = datetime(2026, 1, 23, 12, tzinfo=UTC)


def event(name="e1", numbers=("+15555555551",), time=None, **changes):
    """A canonical event as a publisher or the function writes it."""
    return {
        "specversion": "1.0",
        "type": "sms.opt-in.v1",
        "source": "urn:test",
        "id": name,
        "time": (time or datetime.now(UTC)).isoformat(),
        "datacontenttype": "application/json",
        "data": {"from": SENDER, "recipients": [{"to": number} for number in numbers]},
    } | changes


def properties(reason="RetriesExhausted", name="e1", **more):
    """What the function writes beside a dead letter."""
    return {
        "DeadLetterReason": reason,
        "DeadLetterErrorDescription": f"{reason}, says the test",
        "optout-event-id": name,
        "optout-attempt": 5,
        "optout-hop": 6,
        "optout-first-enqueued": datetime.now(UTC).isoformat(),
        "optout-recipients": 1,
        "optout-of": 3,
        "optout-http-status": 500,
        "traceparent": "00-9a29da02af5978aed1a381e03dab39f9-4667f38b0fbfea6c-00",
        **more,
    }


def message(body=None, number=1, enqueued_at=NOW, **facts):
    """A message of the dead-letter queue, as it is read."""
    body = json.dumps(event(time=NOW - timedelta(hours=1))) if body is None else body
    given = {"message_id": f"urn:test/e{number}:d6:0", "properties": properties(), "delivery_count": 0} | facts
    return QueueMessage(number, enqueued_at, body=body if isinstance(body, bytes) else body.encode(), **given)


@dataclass
class Said:
    """What one call of the command line gave."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@dataclass
class Bus:
    """A broker, the two queues, and the command line that is pointed at them."""

    broker: Broker

    @property
    def opt_ins(self):
        return self.broker.queue("opt-ins")

    @property
    def dead_letters(self):
        return self.broker.queue("opt-ins-dead-letter")

    def take_away(self, number):
        """Let a dead letter vanish, as if another tool had taken it."""
        [stored] = [each for each in self.dead_letters.messages() if each.sequence_number == number]
        self.dead_letters.life.remove(stored)

    def fill(self, messages):
        """Put dead letters into the queue, past the wire: a link takes a second to open and close."""
        self.dead_letters.send(list(messages))

    def bury(self, count, **facts):
        self.fill(dead(number, **facts) for number in range(1, count + 1))

    async def __call__(self, *arguments):
        return await asyncio.to_thread(run, *arguments)

    async def together(self, *calls):
        """Run several commands at once: most of their time they wait for links to open and close."""
        return await asyncio.gather(*(self(*arguments) for arguments in calls))

    async def released(self):
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

    def start(self, environment, *arguments, terminal=None):
        """Start the command line in a process of its own, on a terminal or with pipes."""
        return subprocess.Popen(
            [sys.executable, "-m", "optout_ops", *arguments],
            cwd=ROOT,
            env=os.environ | environment,
            stdin=terminal or subprocess.DEVNULL,
            stdout=terminal or subprocess.PIPE,
            stderr=terminal or subprocess.PIPE,
            text=True,
        )

    async def finish(self, process):
        """Wait until such a process ends by itself."""
        out, err = await asyncio.to_thread(process.communicate)
        return Said(process.returncode, out, err)


@contextlib.asynccontextmanager
async def closed_loop(environment):
    """A broker, the ACS endpoint, and the real function working between them."""
    async with Endpoint() as endpoint, Broker(queues()) as broker:
        settings = {
            "ACS_ENDPOINT": endpoint.url,
            "ACS_ACCESS_KEY": endpoint.access_key,
            "ServiceBusConnection": broker.connection_string,
            "OPT_IN_QUEUE": "opt-ins",
            "DEAD_LETTER_QUEUE": "opt-ins-dead-letter",
            **SHORT_DELAYS,
        }
        for name, value in settings.items():
            environment.setenv(name, value)
        # An app can be indexed once only.
        sys.modules.pop("function_app", None)
        async with function(settings):
            yield Bus(broker)
        sys.modules.pop("function_app", None)


def dead(number, reason="RetriesExhausted", **more):
    """A dead letter as the broker keeps it; `name`, `numbers`, `time` and `body` are those of its event."""
    name = more.pop("name", f"e{number}")
    numbers = more.pop("numbers", (f"+1555{number:07}",))
    body = more.pop("body", None) or json.dumps(event(name, numbers, more.pop("time", None)))
    return stored(
        f"urn:test/{name}:d6:{number}", body, properties(reason, name, **{"optout-recipients": len(numbers)} | more)
    )


def stored(message_id, body, properties):
    """A message as the broker keeps it."""
    head = [message_id, None, None, None, None, "c-1", Symbol("application/cloudevents+json")]
    sections = b"\x00\x53\x75" + encode(body if isinstance(body, bytes) else body.encode())
    return Message(
        message_id=message_id,
        application_entries=Entries(
            len(properties), b"".join(encode(name) + encode(value) for name, value in properties.items())
        ),
        properties_section=b"\x00\x53\x73" + encode(head),
        body_sections=sections,
        size=len(sections) + 500,
    )


def run(*arguments):
    """Run the command line in this thread, and give what it says."""
    with OUT.heard() as out, ERR.heard() as err:
        code = main(arguments)
    return Said(code, out.getvalue(), err.getvalue())


class Ear(io.TextIOBase):
    """Stands in for a standard stream, and hears each thread on its own: several commands may run at once."""

    def __init__(self, name):
        self._name = name
        self._own = threading.local()
        self._lock = threading.Lock()
        self._users = 0
        self._before = None

    def write(self, text):
        stream = getattr(self._own, "stream", self._before)
        assert stream is not None
        return stream.write(text)

    @contextlib.contextmanager
    def heard(self):
        with self._lock:
            if self._users == 0:
                self._before = getattr(sys, self._name)
                setattr(sys, self._name, self)
            self._users += 1
        self._own.stream = io.StringIO()
        try:
            yield self._own.stream
        finally:
            del self._own.stream
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    setattr(sys, self._name, self._before)


OUT, ERR = Ear("stdout"), Ear("stderr")


def queues(lock_seconds=None, **changes):
    """The queues of infra/queues.json with some properties changed."""
    if lock_seconds:
        changes["lock_duration"] = timedelta(seconds=lock_seconds)
    return {name: replace(each, **changes) for name, each in load_queues(ROOT / "infra" / "queues.json").items()}


@contextlib.asynccontextmanager
async def open_bus(properties, setenv):
    async with Broker(properties) as broker:
        setenv("ServiceBusConnection", broker.connection_string)
        yield Bus(broker)


def read_all(terminal):
    """Read a terminal until the program at its other end is gone."""
    shown = b""
    # Linux says so with an error.
    with contextlib.suppress(OSError):
        while chunk := os.read(terminal, 4096):
            shown += chunk
    os.close(terminal)
    return shown.decode()
