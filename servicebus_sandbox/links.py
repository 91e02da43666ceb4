"""The two directions of a link: credit, messages in parts, detaching.

Directions are the broker's: what comes in is what the client sends.

Source: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-transport-v1.0-os.html, section 2.6
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from servicebus_sandbox.amqp import Described, Uint, Ulong
from servicebus_sandbox.errors import Refused
from servicebus_sandbox.exchange import Exchange
from servicebus_sandbox.frames import RECEIVER, SENDER, Attach, Detach, Flow, Performative, Transfer, error

#: Messages a client may send before it is told that it may send more. (pyamqp does not wait to be told.)
CREDIT = 1000

#: Delivery counts and ids wrap around.
SEQUENCE_MODULUS = 2**32


class Carrier(Protocol):
    """What carries links: a session, as far as they know it."""

    @property
    def exchange(self) -> Exchange:
        """What all connections share."""

    @property
    def links(self) -> Sequence[Link]:
        """The links that it carries now."""

    @property
    def can_send(self) -> bool:
        """Whether the client's window and the socket take another message now."""

    def now(self) -> float:
        """Give the event loop's time in seconds."""

    def send(self, performative: Performative, payload: bytes = b"") -> None:
        """Send a frame."""

    def send_flow(
        self,
        handle: Uint | None = None,
        delivery_count: Uint | None = None,
        link_credit: Uint | None = None,
        *,
        drain: bool | None = None,
    ) -> None:
        """Open the window again, and say what there is to say about a link."""

    def send_transfer(self, handle: Uint, content: bytes, tag: bytes, *, settled: bool) -> int:
        """Send a message in as many frames as it needs; returns its delivery id."""

    def expect_settlement(self, delivery_id: int, link: OutgoingLink, token: UUID) -> None:
        """Remember whose message a delivery is."""

    def settle_incoming(self, delivery_id: int, refusal: Refused | None) -> None:
        """Tell the client what became of its message."""

    def drop(self, link: Link) -> None:
        """Forget a link."""

    def abort(self) -> None:
        """Drop the connection without a word."""


class Link(ABC):
    """The broker's end of a link.

    Attributes:
        carrier: What the link belongs to: its session.
        handle: Its number there, the same in both directions.
        name: What the client calls it.
        last_used: When it last carried something, in the event loop's time.
        needs_token_for: The path without a token for which it may not be open, or None.
    """

    needs_token_for: str | None = None

    def __init__(self, carrier: Carrier, attach: Attach) -> None:
        self.carrier = carrier
        self.handle = attach.handle
        self.name = attach.name
        self.last_used = carrier.now()
        self._attach = attach

    def start(self) -> None:
        """Say that the link is attached, echoing both ends.

        A size is named only to those who send: .NET closes a link that brings more than it named
        (`ReceivingAmqpLink.OnProcessTransfer`), and what goes out is larger than what came in.
        """
        self.carrier.send(self._attached())

    def _attached(self) -> Attach:
        sends = self._attach.role is SENDER
        return Attach(
            name=self.name,
            handle=self.handle,
            role=not self._attach.role,
            snd_settle_mode=self._attach.snd_settle_mode,
            rcv_settle_mode=self._attach.rcv_settle_mode,
            source=self._attach.source,
            target=self._attach.target,
            initial_delivery_count=None if sends else Uint(0),
            max_message_size=Ulong(self.carrier.exchange.limits.max_message_size) if sends else None,
        )

    @abstractmethod
    def stop(self) -> None:
        """Let go of everything: the link is detached, or its connection is gone."""

    def detach(self, refused: Refused) -> None:
        """Detach the link for good, and say why."""
        self.carrier.drop(self)
        self.carrier.send(Detach(self.handle, closed=True, error=error(refused.condition, str(refused))))

    @abstractmethod
    def on_flow(self, flow: Flow) -> None:
        """Hear how the client's end stands."""

    @abstractmethod
    def send_flow(self) -> None:
        """Say how the broker's end stands."""


class RefusedLink(Link):
    """A link that is attached only to be detached: that is how AMQP says no.

    Its attach lacks the broker's own end. Clients know from that that there is no link, and wait for the reason; with
    both ends .NET and JavaScript take it for open (`AmqpLink.OnReceiveAttach` of Microsoft.Azure.Amqp).

    Source: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-transport-v1.0-os.html, section 2.6.3
    """

    def start(self) -> None:
        """Say that there is no link."""
        answer = self._attached()
        refusal = answer._replace(target=None) if answer.role is RECEIVER else answer._replace(source=None)
        self.carrier.send(refusal)

    def stop(self) -> None:
        """Nothing is held."""

    def on_flow(self, flow: Flow) -> None:
        """The client does not know yet that it is refused."""

    def send_flow(self) -> None:
        """There is nothing to grant."""


class IncomingLink(Link):
    """A link on which the client sends."""

    def __init__(self, carrier: Carrier, attach: Attach) -> None:
        super().__init__(carrier, attach)
        self._delivery_count = int(attach.initial_delivery_count or 0)
        self._credit = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._first: Transfer | None = None

    def start(self) -> None:
        """Attach, and let the client send."""
        super().start()
        self.send_flow()

    def stop(self) -> None:
        """Forget the parts of an unfinished message."""
        self._parts.clear()

    def on_flow(self, flow: Flow) -> None:
        """Take the client's word for how much it has sent."""
        if flow.delivery_count is not None:
            self._delivery_count = int(flow.delivery_count)
        if flow.echo:
            self.send_flow()

    def send_flow(self) -> None:
        """Let the client send `CREDIT` more messages."""
        self._credit = CREDIT
        count = Uint(self._delivery_count % SEQUENCE_MODULUS)
        self.carrier.send_flow(self.handle, count, Uint(CREDIT))

    def on_transfer(self, transfer: Transfer, payload: bytes) -> None:
        """Take in a message or a part of one. Of what is too large only the size is kept."""
        self.last_used = self.carrier.now()
        first = self._first = self._first or transfer
        self._size += len(payload)
        if self._size <= self.carrier.exchange.limits.max_message_size:
            self._parts.append(payload)
        if transfer.more and not transfer.aborted:
            return
        content, size = b"".join(self._parts), self._size
        self._parts, self._size, self._first = [], 0, None
        self._delivery_count += 1
        self._credit -= 1
        if self._credit <= CREDIT // 2:
            self.send_flow()
        if not transfer.aborted:
            self._receive(first, content, size)

    def _receive(self, transfer: Transfer, content: bytes, size: int) -> None:
        refusal: Refused | None = None
        try:
            self.carrier.exchange.limits.check_size(size)
            self.receive(content, transfer.message_format or 0)
        except Refused as refused:
            refusal = refused
        if not transfer.settled and transfer.delivery_id is not None:
            self.carrier.settle_incoming(transfer.delivery_id, refusal)

    @abstractmethod
    def receive(self, content: bytes, message_format: int) -> None:
        """Do with a whole message what the link is for.

        Raises:
            Refused: It is not wanted; the client is told why.
        """


class OutgoingLink(Link):
    """A link on which the client receives.

    Attributes:
        credit: How many messages the client will take now.
    """

    def __init__(self, carrier: Carrier, attach: Attach) -> None:
        super().__init__(carrier, attach)
        self.credit = 0
        self._delivery_count = 0
        self._drains: bool | None = None

    def on_flow(self, flow: Flow) -> None:
        """Note what the client grants. Flows lag behind what was sent: hence the difference, and its lower bound."""
        self.last_used = self.carrier.now()
        if flow.link_credit is not None:
            ahead = (self._delivery_count - (flow.delivery_count or 0)) % SEQUENCE_MODULUS
            self.credit = max(0, flow.link_credit - ahead)
        while self.pump() and flow.drain:
            pass
        if flow.drain:
            self._delivery_count += self.credit
            self.credit = 0
        self._drains = flow.drain
        if flow.drain or flow.echo:
            self.send_flow()

    def send_flow(self) -> None:
        """Say how much of the granted credit is left, and whether the client has drained it."""
        count = Uint(self._delivery_count % SEQUENCE_MODULUS)
        self.carrier.send_flow(self.handle, count, Uint(self.credit), drain=self._drains)

    @abstractmethod
    def pump(self) -> bool:
        """Send what may be sent; returns whether it stopped only to let others have their turn."""

    def send_message(self, content: bytes, tag: bytes, *, settled: bool) -> int:
        """Send a message for one credit; returns its delivery id."""
        self.last_used = self.carrier.now()
        self._delivery_count += 1
        self.credit -= 1
        return self.carrier.send_transfer(self.handle, content, tag, settled=settled)

    def settle(self, token: UUID, state: Described | None) -> Described | None:
        """Do what the client decided about a message: nothing here, for it was settled when it was sent.

        Returns:
            The outcome to tell the client; None when nothing is decided yet.
        """
        del self, token, state
        return None
