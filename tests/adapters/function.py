"""The real function_app.py, fed what the host sends: encoded AMQP messages, and the metadata arrays beside them."""

import importlib
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from optout_core.adapters.trigger import WholeMessagesConverter
from sandbox.handover import hand_over
from sandbox.receiver import Delivery
from servicebus_sandbox.amqp import Long, Symbol, Timestamp, Uint
from servicebus_sandbox.encode import encode
from tests.build import canonical, wire

ROOT = Path(__file__).parents[2]
LOCK = timedelta(minutes=5)


def section(code, value):
    """Encode one section of a message."""
    return b"\x00\x53" + bytes((code,)) + encode(value)


def data(*contents):
    """Encode a body of data sections."""
    return b"".join(section(0x75, content) for content in contents)


def value(content):
    """Encode a body that is one AMQP value."""
    return section(0x77, content)


def sequence(*contents):
    """Encode a body that is one AMQP sequence."""
    return section(0x76, [*contents])


def amqp(body=b"", *, properties=None, enqueued_at=None, number=1, delivery_count=0, locked_for=LOCK, **standard):
    """Encode a message as the broker hands it out.

    Args:
        body: Encoded sections.
        properties: Application properties; a value of the broker's AMQP classes keeps its type.
        enqueued_at: When it was accepted; aware; now, unless it is named.
        number: The sequence number.
        delivery_count: Deliveries in vain.
        locked_for: How long it is still locked.
        standard: `message_id`, `correlation_id`, `content_type`.
    """
    millis = int((enqueued_at or datetime.now(UTC)).timestamp() * 1000)
    content_type = standard.get("content_type")
    fields = [standard.get("message_id"), None, None, None, None, standard.get("correlation_id")]
    annotations = {
        Symbol("x-opt-sequence-number"): Long(number),
        Symbol("x-opt-enqueued-time"): Timestamp(millis),
        Symbol("x-opt-locked-until"): Timestamp(int((datetime.now(UTC) + locked_for).timestamp() * 1000)),
    }
    sections = [
        section(0x70, [None, None, None, None, Uint(delivery_count)]),
        section(0x72, annotations),
        section(0x73, [*fields, None if content_type is None else Symbol(content_type)]),
        section(0x74, properties) if properties else b"",
    ]
    return b"".join(sections) + body


def handed_over(*contents):
    """Give what the host sends to the worker for a batch of encoded messages: data, and metadata."""
    batch = [Delivery(number, UUID(int=number), content) for number, content in enumerate(contents)]
    return hand_over(batch, "namespace.example")


def whole(*contents, **changed):
    """Give what the function gets for a batch of encoded messages, with `changed` metadata arrays."""
    data, metadata = handed_over(*contents)
    return converted(data, metadata | changed)


def converted(data, metadata):
    """Convert as the worker does."""
    return WholeMessagesConverter.decode(data, trigger_metadata=metadata, pytype=list)


def encoded(*documents, **facts):
    """Encode a batch of messages with one data section each; a document that is no bytes is written as JSON."""
    return [
        amqp(
            data(each if isinstance(each, bytes) else wire(each)),
            message_id=f"message-{number}",
            number=number + 1,
            **facts,
        )
        for number, each in enumerate(documents)
    ]


def messages(*documents, **facts):
    """Give what the function gets for such a batch; `facts` as `amqp` takes them."""
    return whole(*encoded(*documents, **facts))


def fresh(*recipients, **attributes):
    """Give a canonical event that is never too old: without a time, the time of arrival counts."""
    return canonical(*recipients, **{"time": None} | attributes)


@asynccontextmanager
async def function_app():
    """Import function_app.py as nobody has done before, yield its app, and close what the function opens."""
    sys.modules.pop("function_app", None)
    module = importlib.import_module("function_app")
    try:
        yield module.app
    finally:
        await module.service.close()


@asynccontextmanager
async def process_opt_ins():
    """Import function_app.py likewise and yield the function, as the worker finds it."""
    async with function_app() as app:
        [function] = app.get_functions()
        yield function.get_user_function()
