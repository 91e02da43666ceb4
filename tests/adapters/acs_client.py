"""The real client with everything around it that a test may want to see or to shorten."""

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from time import monotonic

from pydantic import SecretStr

from optout_core.adapters.http import HttpEndpoint
from optout_core.adapters.requests import Limits, OptOutsClient
from optout_core.adapters.signing import HmacSigner
from optout_core.batches import Batch, Operation, Pair, plan
from optout_core.numbers import read_number, read_sender
from tests.build import wanted

SENDER = "+18001234567"
PERSON = "+15555555551"
ANOTHER = "+15555555552"

#: Generous: a test that wants to see a limit at work names it.
LIMITS = Limits(concurrency=16, failures=1000, cooldown=30)


def first(recipients, count):
    """Choose always the same recipients to be asked alone, where the real client draws lots."""
    return recipients[:count]


def last(recipients, count):
    """Choose always the same recipients, from the end."""
    return recipients[-count:]


class Naps:
    """A sleep that takes no time and remembers how long it was asked for."""

    def __init__(self):
        self.seconds = []

    async def __call__(self, seconds):
        self.seconds.append(seconds)
        await asyncio.sleep(0)


class Watch:
    """Request telemetry that remembers: recipients and status of each request, None where no answer came."""

    def __init__(self):
        self.requests = []
        self.operations = []

    @contextmanager
    def request(self, operation, recipients):
        self.operations.append(operation)
        entry = [recipients, None]
        self.requests.append(entry)

        def answered(status):
            entry[1] = status

        yield answered


class Caller:
    """The client under test, and what it did."""

    def __init__(self, acs, limits, budget, sleep, telemetry, choose):
        self.acs = acs
        self.budget = budget
        self.naps = Naps()
        self.watch = Watch()
        self.client = OptOutsClient(acs.post, limits, telemetry or self.watch, sleep=sleep or self.naps, choose=choose)

    async def ask(self, batches):
        """Ask for batches within the budget; give the outcome of each entry of the list."""
        outcomes = await self.client.call(batches, monotonic() + self.budget)
        return {Pair(sender, to): outcome for sender, by in outcomes.items() for to, outcome in by.items()}

    async def remove(self, *recipients, sender=SENDER):
        """Give the outcome of each recipient, by number."""
        outcomes = await self.ask(plan(Operation.REMOVE, wanted([pair(to, sender) for to in recipients])))
        assert {asked.sender.text for asked in outcomes} <= {sender}
        return {asked.recipient.text: outcome for asked, outcome in outcomes.items()}

    async def verdict(self, recipient=PERSON):
        """Give what came of one recipient."""
        return (await self.remove(recipient))[recipient].verdict


@asynccontextmanager
async def open_client(
    endpoint,
    *,
    sign=None,
    sleep=None,
    telemetry=None,
    timeout=5,  # noqa: ASYNC109 - of ours
    budget=20,
    choose=first,
    **limits,
):
    """Open a client for a sandbox endpoint, or for any server with a `url`; limits not named are `LIMITS`."""
    bounds = replace(LIMITS, **limits)
    sign = sign or HmacSigner(endpoint.url, SecretStr(getattr(endpoint, "access_key", "pw==")))
    async with HttpEndpoint(endpoint.url, sign, timeout=timeout) as acs:
        yield Caller(acs, bounds, budget, sleep, telemetry, choose)


async def removing_one_by_one(caller, recipients):
    """Ask for each recipient in a request of its own, all at once; give the verdicts in the same order."""
    outcomes = await caller.ask([batch(to) for to in recipients])
    return [outcomes[pair(to)].verdict for to in recipients]


def pair(recipient=PERSON, sender=SENDER):
    """Name one entry of the opt-out list."""
    return Pair(read_sender(sender), read_number(recipient))


def batch(*recipients, sender=SENDER):
    """Ask for these recipients in one request."""
    return Batch(read_sender(sender), tuple(map(read_number, recipients)))


def people(count):
    """Give so many different numbers."""
    return tuple(f"+1555{number:07}" for number in range(1, count + 1))


class RawServer:
    """A server of bytes: it reads one request and lets `answer(reader, writer)` do the rest."""

    def __init__(self, answer):
        self._answer = answer
        self.heads = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
