"""The orders in which a STOP was undone before there was a ledger: nine people, one run of the real function.

Each person's STOP is the newest word; ACS has it on its list at once, as it does for texts, and our event comes later.
"""

import itertools
import os
import sys
from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from sandbox.endpoint import Fault, Item
from sandbox.run import Options, function, services
from tests.build import SENDER, canonical, text_message, wire

ORDERS = (
    "an opt-in fails, a STOP comes, the opt-in is tried again",
    "the event of an older START comes after that of the STOP",
    "the same opt-in is published again after the STOP",
    "an opt-in is processed while the event of the STOP is on its way",
    "the answer to an opt-in is lost, a STOP comes, the opt-in is tried again",
    "both in one invocation",
    "an opt-in without a time, published again after the STOP",
    "an opt-in dated in the future, before the STOP",
    "a letter that was refused before the STOP is sent back by hand",
)


def ago(seconds):
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def person(order):
    return f"+1555700000{order}"


def stop(order, said=0):
    return text_message("STOP", person=person(order)[1:], received=ago(said), id=f"stop-{order}")


def opt_in(order, said: float | None = 60):
    return canonical(person(order), id=f"opt-in-{order}", time=None if said is None else ago(said))


class Run:
    """The real function between a broker and an ACS, and what is published to it."""

    def __init__(self, given, sender):
        self.broker, self.acs = given.broker, given.endpoint
        self._sender = sender
        self._numbers = itertools.count()

    async def publish(self, *events):
        """Publish events together; each message has an id of its own, so that the broker takes repeats."""
        messages = [ServiceBusMessage(wire(each), message_id=str(next(self._numbers))) for each in events]
        await self._sender.send_messages(messages)

    def text_stop(self, order):
        """Let ACS put a person on its list by itself."""
        self.acs.opted_out.add((SENDER, person(order)))

    def called(self):
        """Give everybody about whom ACS was asked."""
        return {to for request in self.acs.requests for to in request.recipients}

    async def until_idle(self):
        """Wait until nothing is ready, scheduled or locked any more."""
        await self.broker.wait_until(lambda: not self.broker.queue("opt-ins").messages(), timeout=40)


@pytest.fixture
async def run(monkeypatch):
    before = dict(os.environ)
    for name in ("CONSENT_LEDGER", "CALL_HORIZON"):
        monkeypatch.delenv(name, raising=False)
    sys.modules.pop("function_app", None)
    try:
        async with services(Options(())) as given, function(given.settings):
            client = ServiceBusClient.from_connection_string(given.settings["ServiceBusConnection"])
            async with client, client.get_queue_sender("opt-ins") as sender:
                yield Run(given, sender)
    finally:
        sys.modules.pop("function_app", None)
        os.environ.clear()
        os.environ.update(before)


async def test_whatever_the_order_the_stop_stands_in_the_end(run):
    run.acs.faults = [
        Fault(to=person(0), items=(Item(http_status_code=500),), times=1),
        Fault(to=person(4), delay=2.5, times=1),
        Fault(to=person(8), items=(Item(http_status_code=400),), times=1),
    ]
    await run.publish(stop(1))
    for order, said in {0: 60, 2: 60, 3: 60, 6: None, 7: -3600, 8: 60}.items():
        await run.publish(opt_in(order, said))
    await run.broker.wait_until(lambda: run.called() >= {person(order) for order in (0, 1, 2, 3, 6, 7, 8)}, timeout=20)
    await run.publish(opt_in(4))
    await run.broker.wait_until(lambda: person(4) in run.called(), timeout=20)
    await run.broker.wait_until(lambda: len(run.broker.queue("opt-ins-dead-letter").messages()) == 1, timeout=20)
    for order in range(len(ORDERS)):
        run.text_stop(order)
    await run.publish(*(stop(order) for order in (0, 2, 3, 4, 6, 7, 8)), opt_in(5), stop(5))
    await run.publish(text_message("START", person=person(1)[1:], received=ago(120), id="start-1"))
    await run.publish(opt_in(2))
    await run.publish(opt_in(6, None))
    await run.publish(opt_in(8))
    await run.until_idle()

    stands = {ORDERS[order]: (SENDER, person(order)) in run.acs.opted_out for order in range(len(ORDERS))}
    assert stands == dict.fromkeys(ORDERS, True)
