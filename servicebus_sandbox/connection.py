"""A connection: bytes to frames and back, the opening ceremony, heartbeats, and the sessions.

Source: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-transport-v1.0-os.html, section 2.4
"""

from __future__ import annotations

import asyncio
import logging
from uuid import uuid4

from servicebus_sandbox.amqp import Array, DecodeError, Symbol, Ubyte, Uint, Ushort
from servicebus_sandbox.errors import Unauthorized
from servicebus_sandbox.exchange import Exchange
from servicebus_sandbox.frames import (
    AMQP_HEADER,
    EMPTY_FRAME,
    FRAME_HEAD,
    SASL_HEADER,
    SASL_TYPE,
    Begin,
    Close,
    End,
    Open,
    Performative,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    decode_performative,
    encode_frame,
    error,
)
from servicebus_sandbox.framing import FrameBuffer, ProtocolError
from servicebus_sandbox.links import Link
from servicebus_sandbox.nodes import Grants
from servicebus_sandbox.session import Session, SessionError

_LOG = logging.getLogger(__name__)

_CHANNEL_MAX = 255
_SMALLEST_FRAME = 512
#: Bytes that the head and the fields of a transfer frame need at most.
_TRANSFER_ROOM = 64

#: Bytes of one turn of the event loop, after which messages wait for the next: what is handed out is locked.
_MOST_UNSENT = 256 * 1024

#: Only PLAIN authenticates. With the others the tokens shown to `$cbs` do.
_MECHANISMS = ("ANONYMOUS", "PLAIN", "MSSBCBS", "EXTERNAL")
#: What the requests of HTTP begin with: clients of the administration API, and of AMQP over WebSocket.
_HTTP = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ", b"PATCH ", b"OPTIONS ")
_NO_HTTP = b"This is a broker for AMQP over TCP: it has no administration API, and no AMQP over WebSocket.\n"


class Connection(asyncio.Protocol):
    """The broker's end of a connection.

    Attributes:
        exchange: What all connections share.
        grants: What its tokens allow it.
        now: The event loop's time in seconds.
        payload_room: Bytes of a message that fit in one frame.
        lost: Set when the connection is gone.
    """

    def __init__(self, exchange: Exchange, alive: set[Connection]) -> None:
        self.exchange = exchange
        self.grants = Grants(exchange, self._watch_tokens)
        self._paused = False
        self._unsent = 0
        self.lost = asyncio.Event()
        self.payload_room = _SMALLEST_FRAME - _TRANSFER_ROOM
        # With those that are made and not lost. Where the handshake of TLS fails, asyncio calls neither method.
        self._alive = alive
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._transport: asyncio.Transport | None = None
        self._frames = FrameBuffer(exchange.limits.max_frame_size)
        self._opened = False
        self._sessions: dict[int, Session] = {}
        self._out: list[bytes] = []
        self._last_received = self.now()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def links(self) -> list[Link]:
        """The links of all sessions."""
        return [link for session in self._sessions.values() for link in session.links]

    @property
    def can_write(self) -> bool:
        """Whether the socket takes more messages now."""
        return not self._paused and self._unsent < _MOST_UNSENT

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP server makes no other; for mypy
        self._transport = transport
        self._alive.add(self)
        self._watch_idleness()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything. What the client has locked stays locked until the locks expire."""
        del exc
        for timer in self._timers.values():
            timer.cancel()
        for session in self._sessions.values():
            session.stop()
        self._sessions.clear()
        self._transport = None
        self._alive.discard(self)
        self.lost.set()

    def pause_writing(self) -> None:
        """Stop handing out messages: the client does not read them."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        self.exchange.changed()

    def data_received(self, data: bytes) -> None:
        """Take in bytes, and do what the whole frames among them say."""
        self._last_received = self.now()
        try:
            for part in self._frames.cut(data):
                if self._transport is None or self._transport.is_closing():
                    break
                if self._frames.in_header:
                    self._on_header(part)
                else:
                    self._on_frame(part)
        except DecodeError as fault:
            self.close("amqp:decode-error", str(fault))
        except ProtocolError as fault:
            self.close(fault.condition, str(fault))

    def send(self, channel: int, performative: Performative, payload: bytes = b"") -> None:
        """Send a frame, together with all others of this turn of the event loop."""
        self._write(encode_frame(channel, performative, payload))

    def close(self, condition: str, description: str) -> None:
        """Close the connection, and say why."""
        _LOG.info("closing a connection: %s: %s", condition, description)
        if self._opened:
            self.send(0, Close(error(condition, description)))
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection without a word, as a broken network does."""
        if self._transport is not None:
            self._transport.abort()

    def _write(self, content: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(content)
        self._unsent += len(content)

    def _flush(self) -> None:
        if self._out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
        if not self.can_write:
            self.exchange.changed()
        self._out.clear()
        self._unsent = 0

    def _on_header(self, header: bytes) -> None:
        self._frames.in_header = False
        if header.startswith(_HTTP):
            head = f"HTTP/1.1 501 Not Implemented\r\nContent-Type: text/plain\r\nContent-Length: {len(_NO_HTTP)}"
            self._write(f"{head}\r\nConnection: close\r\n\r\n".encode() + _NO_HTTP)
            raise ProtocolError("amqp:not-implemented", "a request of HTTP")
        if header == SASL_HEADER:
            self._write(SASL_HEADER)
            self.send(0, SaslMechanisms(Array(map(Symbol, _MECHANISMS))))
        else:
            self._write(AMQP_HEADER)
            if header != AMQP_HEADER:
                raise ProtocolError("amqp:connection:framing-error", "this is not the protocol header of AMQP 1.0")

    def _on_frame(self, frame: bytes) -> None:
        _, offset, frame_type, channel = FRAME_HEAD.unpack_from(frame)
        body = frame[offset * 4 :]
        if not FRAME_HEAD.size <= offset * 4 <= len(frame):
            raise ProtocolError("amqp:connection:framing-error", "a frame's data begin outside of it")
        if not body:
            return
        performative, payload = decode_performative(body)
        if frame_type == SASL_TYPE:
            self._on_sasl(performative)
        elif isinstance(performative, Open):
            self._on_open(performative)
        elif not self._opened:
            raise ProtocolError("amqp:illegal-state", "a connection begins with Open")
        elif isinstance(performative, Close):
            self.send(0, Close())
            self._flush()
            if self._transport is not None:
                self._transport.close()
        else:
            self._on_session_frame(channel, performative, payload)

    def _on_sasl(self, performative: Performative) -> None:
        if self._opened:
            raise ProtocolError("amqp:illegal-state", "SASL comes before Open")
        if not isinstance(performative, SaslInit):
            raise ProtocolError("amqp:illegal-state", "a client begins SASL with its choice of a mechanism")
        try:
            self._authenticate(performative)
        except Unauthorized as refused:
            self.send(0, SaslOutcome(Ubyte(1)))
            raise ProtocolError(refused.condition, str(refused)) from None
        self.send(0, SaslOutcome(Ubyte(0)))
        self._frames.in_header = True

    def _authenticate(self, choice: SaslInit) -> None:
        if choice.mechanism not in _MECHANISMS:
            raise Unauthorized(f"the SASL mechanism {choice.mechanism} is none of {', '.join(_MECHANISMS)}")
        if choice.mechanism == "PLAIN":
            self.grants.add(self.exchange.access.check_plain(choice.initial_response))

    def _on_open(self, opening: Open) -> None:
        if self._opened:
            raise ProtocolError("amqp:illegal-state", "the connection is open already")
        self._opened = True
        limits = self.exchange.limits
        frame_size = min(opening.max_frame_size or limits.max_frame_size, limits.max_frame_size)
        self.payload_room = max(frame_size, _SMALLEST_FRAME) - _TRANSFER_ROOM
        self.send(
            0,
            Open(
                container_id=f"sandbox-{uuid4().hex}",
                max_frame_size=Uint(limits.max_frame_size),
                channel_max=Ushort(_CHANNEL_MAX),
                idle_time_out=Uint(limits.idle_timeout * 1000),
            ),
        )
        if opening.idle_time_out:
            self._beat(opening.idle_time_out / 2000)

    def _on_session_frame(self, channel: int, performative: Performative, payload: bytes) -> None:
        session = self._sessions.get(channel)
        if isinstance(performative, Begin):
            if session is not None or channel > _CHANNEL_MAX:
                raise ProtocolError("amqp:not-allowed", f"channel {channel} is in use, or above {_CHANNEL_MAX}")
            self._sessions[channel] = Session(self, channel, performative)
        elif session is None:
            _LOG.debug("a frame for a session that has ended: %s", type(performative).__name__)
        elif isinstance(performative, End):
            self._end(channel, End())
        else:
            try:
                session.handle(performative, payload)
            except SessionError as fault:
                self._end(channel, End(error(fault.condition, str(fault))))

    def _end(self, channel: int, end: End) -> None:
        self._sessions.pop(channel).stop()
        self.send(channel, end)

    def _beat(self, every: float) -> None:
        """Send empty frames, so that the client does not take us for dead."""
        self._timers["beat"] = self._loop.call_later(every, self._beat, every)
        self._write(EMPTY_FRAME)

    def _watch_tokens(self) -> None:
        """Drop the links to what no token is valid for any more, promptly, and nothing else.

        Source: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide, "Claims-based
        security"
        """
        for link in self.links:
            if link.needs_token_for is not None:
                try:
                    self.grants.require(link.needs_token_for)
                except Unauthorized:
                    link.detach(Unauthorized("ExpiredToken: The token is expired; show a new one before that"))
        if timer := self._timers.pop("tokens", None):
            timer.cancel()
        if (left := self.grants.next_expiry) is not None:
            self._timers["tokens"] = self._loop.call_later(left, self._watch_tokens)

    def _watch_idleness(self) -> None:
        """Close the connection when nothing has come for twice the time that we announce."""
        patience = 2 * self.exchange.limits.idle_timeout
        silent = self.now() - self._last_received
        if silent >= patience:
            self.close("amqp:resource-limit-exceeded", f"nothing was received for {patience:g} s")
        else:
            self._timers["idle"] = self._loop.call_later(patience - silent, self._watch_idleness)
