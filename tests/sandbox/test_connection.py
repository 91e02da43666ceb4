"""Whoever waits for an answer of the broker may be cancelled at any moment; the answer comes all the same."""

import asyncio

import pytest

from sandbox.address import Address
from sandbox.connection import Connection
from servicebus_sandbox.frames import RECEIVER


@pytest.mark.parametrize("step", ["open", "authorize", "attach"])
async def test_an_answer_that_comes_after_its_waiter_was_cancelled_disturbs_nobody(broker, caplog, step):
    """As a host that is stopped while it connects again."""
    address = Address.parse(broker.connection_string)
    for turns in range(30):
        connection = Connection(address, 5)
        if step != "open":
            await connection.open()
        if step == "attach":
            await connection.authorize("opt-ins")
        asked = {
            "open": connection.open,
            "authorize": lambda: connection.authorize("opt-ins"),  # noqa: B023 - called in this turn
            "attach": lambda: connection.attach(RECEIVER, "opt-ins"),  # noqa: B023 - called in this turn
        }[step]()
        waiting = asyncio.ensure_future(asked)
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0.01)
        await connection.close()

    assert not [record for record in caplog.records if record.levelname == "ERROR"]
