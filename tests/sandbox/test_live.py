"""Lines about what no report of the function tells of."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from azure.servicebus import ServiceBusMessage

from sandbox.live import watch_dead_letters
from servicebus_sandbox import Broker
from servicebus_sandbox.messages import Message
from tests.build import bare, wire
from tests.sandbox.feeding import publish, until, with_locks_of


async def lines_of(broker, *, of_all, happening):
    """Watch while something happens."""
    lines = []
    watching = asyncio.create_task(watch_dead_letters(broker, "opt-ins-dead-letter", lines.append, of_all=of_all))
    await asyncio.sleep(0)
    await happening(lines)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    return [" ".join(line.split()[1:]) for line in lines]


async def test_what_the_broker_gives_up_has_a_line_and_what_the_function_sends_has_none():
    async with Broker(with_locks_of(5)) as broker:

        async def happening(lines):
            message = ServiceBusMessage(wire(bare("+15555555552")), message_id="sent")
            await publish(broker, message, queue="opt-ins-dead-letter")
            mortal = ServiceBusMessage(
                wire(bare("+15555555551")), message_id="m", time_to_live=timedelta(milliseconds=50)
            )
            await publish(broker, mortal)
            await until(lambda: lines)

        lines = await lines_of(broker, of_all=False, happening=happening)

    assert lines == ["dead letter TTLExpiredException +1555•••5551 m"]


async def test_more_letters_than_one_turn_looks_at_have_a_line_each():
    async with Broker(with_locks_of(5)) as broker:

        async def happening(lines):
            messages = [ServiceBusMessage(b"{", message_id=f"m{number}") for number in range(250)]
            await publish(broker, messages, queue="opt-ins-dead-letter")
            await until(lambda: len(lines) == 250)

        lines = await lines_of(broker, of_all=True, happening=happening)

    assert len(set(lines)) == 250


async def test_a_letter_that_cannot_be_decoded_hides_none_behind_it():
    """Its section says what it is in eight bytes, as AMQP allows and no client of Service Bus does."""
    odd = Message(message_id="odd", body_sections=b"\x00\x80" + (0x75).to_bytes(8) + b"\xa0\x01a", size=100)
    async with Broker(with_locks_of(5)) as broker:

        async def happening(lines):
            broker.queue("opt-ins-dead-letter").send([odd])
            await publish(broker, ServiceBusMessage(b"{", message_id="m"), queue="opt-ins-dead-letter")
            await until(lambda: lines)

        lines = await lines_of(broker, of_all=True, happening=happening)

    assert len(lines) == 1
    assert lines[0].endswith(" m")
