"""A client of the broker that does what the specification says and nothing by itself, for tests frame by frame."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from azure.servicebus._base_handler import _generate_sas_token

from servicebus_sandbox.amqp import Described, Uint, Ulong
from servicebus_sandbox.encode import encode
from servicebus_sandbox.frames import (
    AMQP_HEADER,
    FRAME_HEAD,
    RECEIVER,
    SENDER,
    Attach,
    Begin,
    Close,
    Detach,
    End,
    Flow,
    Open,
    Transfer,
    decode_performative,
    encode_frame,
)
from servicebus_sandbox.messages import decode_message

Q = "queue"
RELEASED = Described(Ulong(0x26), [])


def message(body=b"x", message_id=None):
    properties = encode(Described(Ulong(0x73), [message_id or uuid4().hex]))
    return properties + encode(Described(Ulong(0x75), body))


def locked(queue):
    """Lock the next message; returns its token."""
    return queue.lock_next().lock_token


class Peer:
    """A client that does what the specification says, and nothing by itself."""

    def __init__(self, broker, reader, writer):
        self.broker = broker
        self.reader = reader
        self.writer = writer
        self.heartbeats = 0
        self.frame_sizes = []
        self.next_id = 0

    def send(self, performative, payload=b"", channel=0):
        self.writer.write(encode_frame(channel, performative, payload))

    async def read(self):
        """Read the next frame that is not a heartbeat; returns performative and payload."""
        async with asyncio.timeout(5):
            while True:
                size, offset, _, _ = FRAME_HEAD.unpack(await self.reader.readexactly(8))
                body = (await self.reader.readexactly(size - 8))[offset * 4 - 8 :]
                self.frame_sizes.append(size)
                if body:
                    return decode_performative(body)
                self.heartbeats += 1

    async def expect(self, kind):
        """Skip frames until one of a kind comes; an unexpected end of link, session or connection is a failure."""
        while True:
            performative, payload = await self.read()
            if isinstance(performative, kind):
                return (performative, payload) if kind is Transfer else performative
            assert not isinstance(performative, Detach | End | Close), performative

    async def nothing_of(self, kind, seconds=0.05):
        """Check that no frame of a kind comes for a while."""
        try:
            async with asyncio.timeout(seconds):
                found = await self.expect(kind)
        except TimeoutError:
            return
        raise AssertionError(found)

    async def open(self, **fields):
        self.writer.write(AMQP_HEADER)
        self.send(Open("peer", **fields))
        assert await self.reader.readexactly(8) == AMQP_HEADER
        return await self.expect(Open)

    async def begin(self, window=1000, channel=0):
        self.send(Begin(None, Uint(0), Uint(window), Uint(1000)), channel=channel)
        return await self.expect(Begin)

    async def attach(self, address, role, handle=0, **fields):
        ends = {"source": Described(Ulong(0x28), [address]), "target": Described(Ulong(0x29), [address])}
        count = {"initial_delivery_count": Uint(0)} if role is SENDER else {}
        self.send(Attach(f"link-{handle}", Uint(handle), role, **ends | count | fields))
        return await self.expect(Attach)

    def transfer(self, payload, handle=0, **fields):
        self.send(Transfer(Uint(handle), Uint(self.next_id), b"tag", Uint(0), **fields), payload)
        self.next_id += 1

    def credit(self, credit, handle=0, count=0, window=1000, next_id=None, **fields):
        self.send(
            Flow(
                None if next_id is None else Uint(next_id),
                Uint(window),
                Uint(0),
                Uint(1000),
                Uint(handle),
                Uint(count),
                Uint(credit),
                **fields,
            )
        )

    async def ask(self, node, properties, body, handle=8):
        """Send a request to a node, and return the reply's application properties and body."""
        await self.attach(node, RECEIVER, handle)
        await self.attach(node, SENDER, handle + 1)
        self.credit(10, handle)
        sections = (Described(Ulong(0x73), [uuid4()]), Described(Ulong(0x74), properties), Described(Ulong(0x77), body))
        self.transfer(b"".join(map(encode, sections)), handle + 1)
        _, payload = await self.expect(Transfer)
        for one in (handle, handle + 1):
            self.send(Detach(Uint(one), closed=True))
            assert (await self.read_until(Detach)).handle == one
        reply = decode_message(payload)
        return reply.application_properties, reply.value

    async def read_until(self, kind):
        while not isinstance(performative := (await self.read())[0], kind):
            continue
        return performative

    async def authorize(self, key_name="RootManageSharedAccessKey", key="sandbox", path=Q, *, seconds=3600):
        audience = f"sb://127.0.0.1:{self.broker.port}/{path}"
        token = _generate_sas_token(audience, key_name, key, timedelta(seconds=seconds)).token
        properties = {"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": audience}
        return await self.ask("$cbs", properties, token)

    async def manage(self, operation, body, path=Q):
        return await self.ask(f"{path}/$management", {"operation": f"com.microsoft:{operation}"}, body)


@asynccontextmanager
async def connected(broker, **options):
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port, **options)
    try:
        yield Peer(broker, reader, writer)
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


@asynccontextmanager
async def ready(broker, **fields):
    """Connect, open, begin and show a token."""
    async with connected(broker) as peer:
        await peer.open(**fields)
        await peer.begin()
        await peer.authorize()
        yield peer
