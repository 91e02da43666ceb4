"""A session: links by handle, deliveries by id, and the windows that bound how many transfer frames are on their way.

Source: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-transport-v1.0-os.html, section 2.5
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from servicebus_sandbox.amqp import Described, Uint, Ushort
from servicebus_sandbox.errors import Refused
from servicebus_sandbox.exchange import Exchange
from servicebus_sandbox.frames import (
    ACCEPTED,
    RECEIVER,
    SENDER,
    Attach,
    Begin,
    Detach,
    Disposition,
    Flow,
    Performative,
    Transfer,
    error,
    rejected,
)
from servicebus_sandbox.links import SEQUENCE_MODULUS, IncomingLink, Link, OutgoingLink, RefusedLink
from servicebus_sandbox.nodes import Grants, make_link

#: Transfer frames a client may have on their way to us.
WINDOW = 5000


class SessionError(Exception):
    """The client broke the rules of the session, which ends."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(description)
        self.condition = condition


class Wire(Protocol):
    """A connection, as far as its sessions know it."""

    @property
    def exchange(self) -> Exchange:
        """What all connections share."""

    @property
    def grants(self) -> Grants:
        """What the connection's tokens allow it."""

    @property
    def payload_room(self) -> int:
        """Bytes of a message that fit in one frame."""

    @property
    def can_write(self) -> bool:
        """Whether the socket takes more messages now."""

    def now(self) -> float:
        """Give the event loop's time in seconds."""

    def send(self, channel: int, performative: Performative, payload: bytes = b"") -> None:
        """Send a frame."""

    def abort(self) -> None:
        """Drop the connection without a word."""


class Session:
    """The broker's end of a session.

    Attributes:
        exchange: What all connections share.
        now: The event loop's time in seconds.
    """

    def __init__(self, wire: Wire, channel: int, begin: Begin) -> None:
        self.exchange = wire.exchange
        self.now = wire.now
        self._wire = wire
        self._channel = channel
        self._links: dict[int, Link] = {}
        self._dropped: set[int] = set()
        self._next_incoming_id = int(begin.next_outgoing_id)
        self._incoming_window = WINDOW
        self._next_outgoing_id = 0
        self._outgoing_window = int(begin.incoming_window)
        self._held: deque[tuple[Transfer, bytes]] = deque()
        self._next_delivery_id = 0
        self._unsettled: dict[int, tuple[OutgoingLink, UUID]] = {}
        self._handlers: dict[type, Callable[[Any, bytes], None]] = {
            Attach: self._on_attach,
            Flow: self._on_flow,
            Transfer: self._on_transfer,
            Disposition: self._on_disposition,
            Detach: self._on_detach,
        }
        window = Uint(WINDOW)
        self.send(Begin(Ushort(channel), Uint(0), incoming_window=window, outgoing_window=window, handle_max=Uint(255)))

    @property
    def links(self) -> list[Link]:
        """The links that are attached now."""
        return list(self._links.values())

    @property
    def can_send(self) -> bool:
        """Whether the client's window and the socket take another message now."""
        return not self._held and self._outgoing_window > 0 and self._wire.can_write

    def handle(self, performative: Performative, payload: bytes) -> None:
        """Do what a frame says.

        Raises:
            SessionError: The frame has no place here, or not now.
        """
        handler = self._handlers.get(type(performative))
        if handler is None:
            raise SessionError("amqp:illegal-state", f"{type(performative).__name__} has no place in a session")
        handler(performative, payload)

    def stop(self) -> None:
        """Let go of all links."""
        for link in self.links:
            self.drop(link)

    def drop(self, link: Link) -> None:
        """Forget a link. What the client still says about its messages is not heard; they stay locked."""
        link.stop()
        self._links.pop(link.handle, None)
        self._dropped.add(link.handle)
        self._unsettled = {number: held for number, held in self._unsettled.items() if held[0] is not link}
        self.exchange.changed()

    def send(self, performative: Performative, payload: bytes = b"") -> None:
        """Send a frame."""
        self._wire.send(self._channel, performative, payload)

    def send_flow(
        self,
        handle: Uint | None = None,
        delivery_count: Uint | None = None,
        link_credit: Uint | None = None,
        *,
        drain: bool | None = None,
    ) -> None:
        """Open the window again, and say what there is to say about a link."""
        self._incoming_window = WINDOW
        self.send(
            Flow(
                next_incoming_id=Uint(self._next_incoming_id),
                incoming_window=Uint(WINDOW),
                next_outgoing_id=Uint(self._next_outgoing_id),
                outgoing_window=Uint(WINDOW),
                handle=handle,
                delivery_count=delivery_count,
                link_credit=link_credit,
                drain=drain,
            )
        )

    def send_transfer(self, handle: Uint, content: bytes, tag: bytes, *, settled: bool) -> int:
        """Send a message in as many frames as it needs; returns its delivery id."""
        delivery_id = self._next_delivery_id
        self._next_delivery_id = (delivery_id + 1) % SEQUENCE_MODULUS
        first = Transfer(handle, Uint(delivery_id), tag, Uint(0), settled=settled)
        room = self._wire.payload_room
        for start in range(0, len(content) or 1, room):
            transfer = first if start == 0 else Transfer(handle)
            more = start + room < len(content)
            self._held.append((transfer._replace(more=more), content[start : start + room]))
        self._release_held()
        return delivery_id

    def expect_settlement(self, delivery_id: int, link: OutgoingLink, token: UUID) -> None:
        """Remember whose message a delivery is."""
        self._unsettled[delivery_id] = (link, token)

    def settle_incoming(self, delivery_id: int, refusal: Refused | None) -> None:
        """Tell the client what became of its message."""
        state = ACCEPTED if refusal is None else rejected(error(refusal.condition, str(refusal)))
        self.send(Disposition(RECEIVER, Uint(delivery_id), settled=True, state=state))

    def _release_held(self) -> None:
        while self._held and self._outgoing_window > 0:
            self._outgoing_window -= 1
            self._next_outgoing_id = (self._next_outgoing_id + 1) % SEQUENCE_MODULUS
            self.send(*self._held.popleft())

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._wire.abort()

    def _on_attach(self, attach: Attach, _payload: bytes) -> None:
        if attach.handle in self._links:
            raise SessionError("amqp:session:handle-in-use", f"handle {attach.handle} is in use")
        self._dropped.discard(attach.handle)
        try:
            link = make_link(self, attach, self._wire.grants)
        except Refused as refused:
            link = self._links[attach.handle] = RefusedLink(self, attach)
            link.start()
            link.detach(refused)
        else:
            self._links[attach.handle] = link
            link.start()

    def _on_flow(self, flow: Flow, _payload: bytes) -> None:
        seen = self._next_outgoing_id if flow.next_incoming_id is None else flow.next_incoming_id
        on_their_way = (self._next_outgoing_id - seen) % SEQUENCE_MODULUS
        self._outgoing_window = max(0, flow.incoming_window - on_their_way)
        self._release_held()
        if flow.handle is None:
            if flow.echo:
                self.send_flow()
        elif (link := self._attached(flow.handle)) is not None:
            link.on_flow(flow)
        self.exchange.changed()

    def _on_transfer(self, transfer: Transfer, payload: bytes) -> None:
        self._next_incoming_id = (self._next_incoming_id + 1) % SEQUENCE_MODULUS
        self._incoming_window -= 1
        if self._incoming_window <= WINDOW // 2:
            self.send_flow()
        link = self._attached(transfer.handle)
        if isinstance(link, IncomingLink):
            link.on_transfer(transfer, payload)
        elif link is not None and not isinstance(link, RefusedLink):
            raise SessionError("amqp:not-allowed", "a transfer on a link that the client receives on")

    def _on_disposition(self, disposition: Disposition, _payload: bytes) -> None:
        if disposition.role is SENDER:
            return
        first = disposition.first
        last = first if disposition.last is None else disposition.last
        outcomes: list[tuple[int, Described]] = []
        meant = [first] if first == last else [number for number in self._unsettled if first <= number <= last]
        for delivery_id in meant:
            if delivery_id not in self._unsettled:
                continue
            link, token = self._unsettled[delivery_id]
            outcome = link.settle(token, disposition.state)
            if outcome is not None:
                del self._unsettled[delivery_id]
                outcomes.append((delivery_id, outcome))
        if not disposition.settled:
            for delivery_id, outcome in outcomes:
                self.send(Disposition(SENDER, Uint(delivery_id), settled=True, state=outcome))

    def _on_detach(self, detach: Detach, _payload: bytes) -> None:
        link = self._attached(detach.handle)
        self._dropped.discard(detach.handle)
        if link is not None:
            self.drop(link)
            self._dropped.discard(detach.handle)
            self.send(Detach(detach.handle, closed=detach.closed))

    def _attached(self, handle: int) -> Link | None:
        """Return a link; None when it was dropped and the client may not have heard of it yet.

        Raises:
            SessionError: There never was one.
        """
        if handle not in self._links and handle not in self._dropped:
            raise SessionError("amqp:session:unattached-handle", f"handle {handle} is not attached")
        return self._links.get(handle)
