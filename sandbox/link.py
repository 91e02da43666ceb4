"""One end of an AMQP link: messages in parts become whole, and whoever opened the link hears what comes in."""

import asyncio
from typing import Any, Protocol
from uuid import uuid4

from servicebus_sandbox.amqp import Described, Uint
from servicebus_sandbox.frames import Flow, Transfer


class Refusal(Exception):
    """The broker will not do it.

    Attributes:
        condition: The AMQP error condition, or the status of a reply.
    """

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(description)
        self.condition = condition


class Listener(Protocol):
    """Hears what comes in on one link."""

    def on_message(self, delivery_id: int, tag: bytes, content: bytes) -> None:
        """Take a whole message."""

    def on_flow(self, flow: Flow) -> None:
        """Hear how the other end of the link stands."""

    def on_end(self, error: Exception) -> None:
        """Hear that the link is no more."""


class Link:
    """One end of a link, by its handle."""

    def __init__(self, handle: int, listener: Listener | None) -> None:
        """Take its number, and who hears what comes in."""
        self.name = uuid4().hex
        self.handle = Uint(handle)
        self.attached = future()
        self.ended: Exception | None = None
        self._listener = listener
        self._head: Transfer | None = None
        self._parts: list[bytes] = []

    def on_transfer(self, transfer: Transfer, payload: bytes) -> None:
        """Put a message together and hand it on when it is whole."""
        self._head = self._head or transfer
        self._parts.append(payload)
        if transfer.more:
            return
        head, content = self._head, b"".join(self._parts)
        self._head, self._parts = None, []
        if self._listener is not None and not transfer.aborted:
            self._listener.on_message(int(head.delivery_id or 0), head.delivery_tag or b"", content)

    def on_flow(self, flow: Flow) -> None:
        """Hand on how the other end stands."""
        if self._listener is not None:
            self._listener.on_flow(flow)

    def confirm(self) -> None:
        """Take note that the broker has attached it too; nobody may be waiting for that any more."""
        settle(self.attached)

    def end(self, error: Exception) -> None:
        """Take note that the link is no more, once."""
        if self.ended is not None:
            return
        self.ended = error
        if not self.attached.done():
            self.attached.set_exception(error)
        elif self._listener is not None:
            self._listener.on_end(error)


def future() -> "asyncio.Future[Any]":
    """Make a future whose exception nobody has to ask for."""
    made: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    # Whoever waited may have been cancelled: then nobody asks for the exception, and asyncio would tell of it.
    made.add_done_callback(lambda done: done.cancelled() or done.exception())
    return made


def settle(waited_for: "asyncio.Future[Any]") -> None:
    """End the wait for an answer; whoever waited may have given up or been cancelled."""
    if not waited_for.done():
        waited_for.set_result(None)


def why(error: Described | None) -> Refusal | None:
    """Read an AMQP error; None where there is none."""
    if error is None or not isinstance(error.value, list):
        return None
    condition, description, *_ = *error.value, None, None
    return Refusal(str(condition), str(description or condition))
