"""A client's AMQP connection with one session: what the host needs of it, on the broker's own codec.

azure-servicebus' receiver decodes what it receives, asks for more than one batch needs and settles one message after
the other; the host that we imitate does none of that. What comes in on a link is handed to whoever opened the link.

Source: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-transport-v1.0-os.html
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Self
from uuid import uuid4

from sandbox.address import Address
from sandbox.link import Link, Listener, Refusal, future, settle, why
from servicebus_sandbox.amqp import DecodeError, Described, Symbol, Ubyte, Uint, Ulong, Ushort
from servicebus_sandbox.encode import encode
from servicebus_sandbox.frames import (
    AMQP_HEADER,
    EMPTY_FRAME,
    FRAME_HEAD,
    RECEIVER,
    SASL_HEADER,
    SENDER,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Open,
    Performative,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    Transfer,
    decode_performative,
    encode_frame,
)
from servicebus_sandbox.messages import decode_message

#: Seconds without a sign of life after which the broker counts as gone, told to it so that it sends heart-beats
#: (`ConnectionIdleTimeout` of AmqpConnectionScope.cs in Azure.Messaging.ServiceBus).
IDLE_TIMEOUT = 60.0
_FRAME = 64 * 1024
#: Transfer frames on their way to us: as many as the field can say, since what bounds them is the link's credit.
_WINDOW = Uint(2**31 - 1)
_SOURCE, _TARGET = Ulong(0x28), Ulong(0x29)
_SECOND = Ubyte(1)
_CBS = "$cbs"


class Connection(asyncio.Protocol):
    """A connection with one session, from `open` to `close`."""

    def __init__(self, address: Address, patience: float) -> None:
        """Take where to connect, and how many seconds any answer may take."""
        self._address = address
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._begun = future()
        self._received = bytearray()
        self._out: list[bytes] = []
        self._in_header = True
        self._links: dict[str, Link] = {}
        self._by_their_handle: dict[int, Link] = {}
        self._next_handle = 0
        self._asking = asyncio.Lock()
        self._next_incoming_id = 0
        self._next_delivery_id = 0
        self._beat: asyncio.TimerHandle | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._last_heard = 0.0
        #: Called with each outcome that the broker confirms.
        self.on_disposition: Callable[[Disposition], None] = lambda _: None

    # --- opening and closing ---

    async def open(self) -> Self:
        """Connect.

        Raises:
            OSError: Nobody answers, or not in time.
        """
        secure = ssl.create_default_context() if self._address.is_encrypted else None
        async with asyncio.timeout(self._patience):
            await self._loop.create_connection(lambda: self, self._address.host, self._address.port, ssl=secure)
            await self._begun
        return self

    async def close(self) -> None:
        """Close the connection; what the broker still says is not heard."""
        if self._transport is not None and self.is_open:
            self.send(End())
            self.send(Close())
            self._flush()
            self._transport.close()
            # A broker that does not read would keep the socket open for what is still to be written.
            if self._transport.get_write_buffer_size():
                self._transport.abort()
        # The socket is closed in the next turn of the loop.
        await asyncio.sleep(0)

    @property
    def is_open(self) -> bool:
        """Say whether frames still go out."""
        return self._transport is not None and not self._transport.is_closing()

    # --- what a client does ---

    async def authorize(self, queue: str) -> None:
        """Show the token for a queue.

        Raises:
            Refusal: The broker does not take it; the condition is the status of the reply.
            OSError: The connection is lost.
        """
        audience = f"sb://{self._address.host}:{self._address.port}/{queue}"
        facts: dict[str, object] = {
            "operation": "put-token",
            "type": "servicebus.windows.net:sastoken",
            "name": audience,
        }
        reply = await self.request(_CBS, facts, self._address.token(audience))
        if (status := str(reply.get("status-code")))[:1] != "2":
            raise Refusal(status, str(reply.get("status-description", "")))

    async def attach(self, role: bool, node: str, listener: Listener | None = None) -> Link:  # noqa: FBT001 - of AMQP
        """Attach a link to a node of the broker, as SENDER or as RECEIVER.

        Raises:
            Refusal: The broker detaches it at once.
            OSError: The connection is lost.
        """
        link = Link(self._next_handle, listener)
        self._next_handle += 1
        self._links[link.name] = link
        source, target = (node, link.name) if role is RECEIVER else (link.name, node)
        self.send(
            Attach(
                name=link.name,
                handle=link.handle,
                role=role,
                rcv_settle_mode=_SECOND if role is RECEIVER else None,
                source=Described(_SOURCE, [source]),
                target=Described(_TARGET, [target]),
                initial_delivery_count=None if role is RECEIVER else Uint(0),
            )
        )
        async with asyncio.timeout(self._patience):
            await link.attached
        if link.ended:
            raise link.ended
        return link

    async def request(self, node: str, facts: dict[str, object], body: object) -> dict[str, object]:
        """Ask a node of the broker; give the application properties of its reply.

        Raises:
            Refusal: The node does not let us ask.
            OSError: The connection is lost, or nobody answers in time.
        """
        async with self._asking:
            answer = _Answer()
            inward = await self.attach(RECEIVER, node, answer)
            outward = await self.attach(SENDER, node)
            self.grant(inward, 0, 1)
            properties = [uuid4().hex, None, None, None, inward.name]
            sections = ((0x73, properties), (0x74, facts), (0x77, body))
            content = b"".join(b"\x00\x53" + bytes((code,)) + encode(value) for code, value in sections)
            number, self._next_delivery_id = self._next_delivery_id, self._next_delivery_id + 1
            self.send(Transfer(outward.handle, Uint(number), number.to_bytes(4, "big"), Uint(0), settled=True), content)
            async with asyncio.timeout(self._patience):
                reply = decode_message(await answer.content)
            for link in (inward, outward):
                self.send(Detach(link.handle, closed=True))
        return reply.application_properties

    def grant(self, link: Link, delivery_count: int, credit: int, *, drain: bool | None = None) -> None:
        """Say how many messages a link takes."""
        self.send(
            Flow(
                next_incoming_id=Uint(self._next_incoming_id),
                incoming_window=_WINDOW,
                next_outgoing_id=Uint(self._next_delivery_id),
                outgoing_window=_WINDOW,
                handle=link.handle,
                delivery_count=Uint(delivery_count % 2**32),
                link_credit=Uint(credit),
                drain=drain,
            )
        )

    def send(self, performative: Performative, payload: bytes = b"") -> None:
        """Send a frame.

        Raises:
            OSError: The connection is lost.
        """
        if not self.is_open:
            raise ConnectionResetError("the connection to the broker is lost")
        self._write(encode_frame(0, performative, payload))

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with SASL, which authenticates nobody: the tokens do."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - create_connection makes no other; for mypy
        self._transport = transport
        self._last_heard = self._loop.time()
        self._watch_silence()
        transport.write(SASL_HEADER)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        lost = ConnectionResetError("the connection to the broker is lost")
        lost.__cause__ = exc
        self._fail(lost)

    def data_received(self, data: bytes) -> None:
        """Do what the whole frames among the bytes say."""
        self._received += data
        self._last_heard = self._loop.time()
        try:
            while (end := self._end_of_next()) is not None:
                frame = bytes(self._received[:end])
                del self._received[:end]
                if self._in_header:
                    self._on_header(frame)
                elif len(frame) > FRAME_HEAD.size:
                    performative, payload = decode_performative(frame[frame[4] * 4 :])
                    self._on_frame(performative, payload)
        except DecodeError as error:
            self._fail(ConnectionAbortedError(f"the broker sent what is no AMQP: {error}"))

    def _end_of_next(self) -> int | None:
        if len(self._received) < FRAME_HEAD.size:
            return None
        end = len(AMQP_HEADER) if self._in_header else int.from_bytes(self._received[:4], "big")
        return end if len(self._received) >= end else None

    def _on_header(self, header: bytes) -> None:
        self._in_header = False
        if header == AMQP_HEADER:
            idle = Uint(int(IDLE_TIMEOUT * 1000))
            self.send(Open(f"host-{uuid4().hex}", self._address.host, Uint(_FRAME), Ushort(0), idle))
            self.send(Begin(None, Uint(0), incoming_window=_WINDOW, outgoing_window=_WINDOW))

    def _on_frame(self, performative: Performative, payload: bytes) -> None:  # noqa: C901 - one line for each verb
        match performative:
            case SaslMechanisms():
                self.send(SaslInit(Symbol("ANONYMOUS")))
            case SaslOutcome():
                self._in_header = True
                self._write(AMQP_HEADER)
            case Open():
                if performative.idle_time_out:
                    self._keep_alive(performative.idle_time_out / 2000)
            case Begin():
                settle(self._begun)
            case Attach():
                link = self._links[performative.name]
                self._by_their_handle[performative.handle] = link
                # A refused link has no end at the broker, and a detach that says why is on its way.
                if (performative.source if performative.role is SENDER else performative.target) is not None:
                    link.confirm()
            case Transfer():
                self._next_incoming_id = (self._next_incoming_id + 1) % 2**32
                self._by_their_handle[performative.handle].on_transfer(performative, payload)
            case Flow() if performative.handle is not None:
                self._by_their_handle[performative.handle].on_flow(performative)
            case Disposition():
                self.on_disposition(performative)
            case Detach():
                link = self._by_their_handle.pop(performative.handle)
                self._links.pop(link.name)
                link.end(why(performative.error) or ConnectionResetError("the broker detached the link"))
            case End() | Close():
                self._fail(why(performative.error) or ConnectionResetError("the broker closed the connection"))

    def _write(self, content: bytes) -> None:
        # All frames of one turn of the loop go out together: a batch is settled with one system call.
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(content)

    def _flush(self) -> None:
        if self.is_open and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _keep_alive(self, every: float) -> None:
        self._write(EMPTY_FRAME)
        self._beat = self._loop.call_later(every, self._keep_alive, every)

    def _watch_silence(self) -> None:
        left = self._last_heard + IDLE_TIMEOUT - self._loop.time()
        if left > 0:
            self._silence = self._loop.call_later(left, self._watch_silence)
            return
        # What was written waits in vain for its way out: there is nobody to say good-bye to.
        if self._transport is not None:
            self._transport.abort()
        self._fail(ConnectionAbortedError(f"the broker has not been heard of for {IDLE_TIMEOUT:g} s"))

    def _fail(self, error: Exception) -> None:
        for timer in (self._beat, self._silence):
            if timer is not None:
                timer.cancel()
        if self._transport is not None:
            self._transport.close()
        if not self._begun.done():
            self._begun.set_exception(error)
        for link in self._links.values():
            link.end(error)


class _Answer:
    """Waits for the one message that a reply link brings."""

    def __init__(self) -> None:
        self.content: asyncio.Future[bytes] = future()

    def on_message(self, delivery_id: int, tag: bytes, content: bytes) -> None:
        del delivery_id, tag
        if not self.content.done():
            self.content.set_result(content)

    def on_flow(self, flow: Flow) -> None:
        """Nothing is asked of it."""

    def on_end(self, error: Exception) -> None:
        if not self.content.done():
            self.content.set_exception(error)
