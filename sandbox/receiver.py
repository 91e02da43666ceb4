"""Receives and settles messages of one queue as the .NET client does for the batch trigger of the Functions host.

Exactly as much credit as a batch holds; after the first message 20 ms for more; what the broker sends on credit that is
left over goes back unseen (`released`); every message of a batch is settled at once, and each on its own; over a new
connection, settled through `$management`. (docs/sandbox.md, "The host".)
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from uuid import UUID

from sandbox.address import Address
from sandbox.connection import Connection
from sandbox.link import Link, Refusal, why
from servicebus_sandbox.amqp import Array, Described, Uint, Ulong
from servicebus_sandbox.frames import RECEIVER, RELEASED, Disposition, Flow

#: Seconds in which more messages are waited for once there is one (`ReceivingAmqpLink` of Microsoft.Azure.Amqp, with
#: the 20 ms that `AmqpReceiver` of Azure.Messaging.ServiceBus gives it).
GATHER = 0.02
_REJECTED = 0x25


class Outcome(Enum):
    """What becomes of a received message: the outcome on its link, and the status that `$management` takes."""

    COMPLETED = Described(Ulong(0x24), []), "completed"
    #: `modified` with no field set, as `AmqpReceiver.GetModifiedOutcome` makes it: it counts as a delivery.
    ABANDONED = Described(Ulong(0x27), []), "abandoned"

    @property
    def state(self) -> Described:
        """Give the outcome on the link."""
        return self.value[0]

    @property
    def status(self) -> str:
        """Give the disposition-status."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as it came.

    Attributes:
        id: Of the delivery, unique on its link.
        lock_token: As above.
        content: The encoded AMQP message.
        link: What it came on.
    """

    id: int
    lock_token: UUID
    content: bytes = field(repr=False)
    link: "Link | None" = field(default=None, repr=False, compare=False)


class Receiver:
    """A receiver in peek-lock; it connects when it has to, and again after whatever went wrong."""

    def __init__(self, address: Address, queue: str, patience: float) -> None:
        """Take where the queue is, and how many seconds any answer of the broker may take."""
        self._address = address
        self._queue = queue
        self._patience = patience
        self._connection: Connection | None = None
        self._link: Link | None = None
        self._delivery_count = 0
        self._credit = 0
        self._gathered: list[Delivery] | None = None
        self._changed = asyncio.Event()
        self._settling: dict[int, asyncio.Future[Described | None]] = {}
        self._connecting = asyncio.Lock()

    async def receive(self, at_most: int, wait: float) -> list[Delivery]:
        """Receive a batch.

        Args:
            at_most: Messages, at least 1.
            wait: Seconds for the first message.

        Returns:
            The messages, locked; none when none came.

        Raises:
            Refusal: The broker does not let us.
            OSError: It is out of reach, or the connection was lost.
        """
        connection, link = await self._attached()
        gathered = self._gathered = []
        self._credit = at_most
        connection.grant(link, self._delivery_count, at_most)
        try:
            await self._gather(gathered, 1, wait)
            if gathered:
                await self._gather(gathered, at_most, GATHER)
        except asyncio.CancelledError:
            for delivery in gathered:
                self._release(delivery.id)
            raise
        finally:
            self._gathered = None
        if not gathered and link.ended:
            raise link.ended
        return gathered

    async def settle(self, deliveries: Sequence[Delivery], outcome: Outcome) -> list[Exception | None]:
        """Settle messages, all at once and each on its own.

        Returns:
            For each message, why it was not settled, or None.
        """
        return await asyncio.gather(*(self._settle(delivery, outcome) for delivery in deliveries))

    async def close(self) -> None:
        """Take back what credit there is, and close; messages that come meanwhile go back unseen."""
        connection, link = self._connection, self._link
        if connection is None:
            return
        if link and not link.ended and self._credit and connection.is_open:
            connection.grant(link, self._delivery_count, self._credit, drain=True)
            with suppress(OSError):
                async with asyncio.timeout(self._patience):
                    while self._credit and not link.ended:
                        self._changed.clear()
                        await self._changed.wait()
        self._connection = self._link = None
        await connection.close()

    # --- what the link brings ---

    def on_message(self, delivery_id: int, tag: bytes, content: bytes) -> None:
        """Take a message, or give it back when nobody waits for it."""
        self._delivery_count += 1
        self._credit -= 1
        if self._gathered is None:
            self._release(delivery_id)
            return
        self._gathered.append(Delivery(delivery_id, UUID(bytes_le=tag), content, self._link))
        self._changed.set()

    def on_flow(self, flow: Flow) -> None:
        """Hear that the broker has used up credit by draining."""
        if flow.drain or flow.link_credit == 0:
            self._delivery_count = int(flow.delivery_count or 0)
            self._credit = 0
            self._changed.set()

    def on_end(self, error: Exception) -> None:
        """Give up what waits for an answer on this link."""
        for answer in self._settling.values():
            if not answer.done():
                answer.set_exception(error)
        self._settling.clear()
        self._changed.set()

    def _on_disposition(self, disposition: Disposition) -> None:
        last = disposition.first if disposition.last is None else disposition.last
        for number in range(disposition.first, last + 1):
            if (answer := self._settling.pop(number, None)) and not answer.done():
                answer.set_result(disposition.state)

    # --- inside ---

    async def _attached(self) -> tuple[Connection, Link]:
        connection, link = self._connection, self._link
        if connection is not None and link is not None and not link.ended:
            return connection, link
        connection = await self._connected()
        self._delivery_count = self._credit = 0
        self._link = await connection.attach(RECEIVER, self._queue, self)
        return connection, self._link

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is not None and self._connection.is_open:
                return self._connection
            connection = Connection(self._address, self._patience)
            try:
                await connection.open()
                await connection.authorize(self._queue)
            except BaseException:
                await connection.close()
                raise
            connection.on_disposition = self._on_disposition
            self._connection = connection
            return connection

    async def _gather(self, gathered: Sequence[Delivery], enough: int, wait: float) -> None:
        link = self._link
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while len(gathered) < enough and link and not link.ended:
                    self._changed.clear()
                    await self._changed.wait()

    def _release(self, delivery_id: int) -> None:
        with suppress(OSError):
            self._send_disposition(delivery_id, RELEASED, settled=True)

    def _send_disposition(self, delivery_id: int, state: Described, *, settled: bool) -> None:
        if self._connection is None:
            raise ConnectionResetError("the connection to the broker is lost")
        number = Uint(delivery_id)
        self._connection.send(Disposition(RECEIVER, number, number, settled=settled, state=state))

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> Exception | None:
        try:
            if delivery.link is None or delivery.link.ended:
                return await self._settle_anew(delivery, outcome)
            answer = self._settling[delivery.id] = asyncio.get_running_loop().create_future()
            self._send_disposition(delivery.id, outcome.state, settled=False)
            async with asyncio.timeout(self._patience):
                state = await answer
        except (OSError, Refusal) as error:
            if delivery.link is not None and error is delivery.link.ended:
                return await self._settle(delivery, outcome)
            return error
        if state is None or state.descriptor != _REJECTED:
            return None
        return why(state.value[0] if state.value else None) or Refusal(
            "amqp:internal-error", "rejected without a reason"
        )

    async def _settle_anew(self, delivery: Delivery, outcome: Outcome) -> Exception | None:
        connection = await self._connected()
        facts: dict[str, object] = {"operation": "com.microsoft:update-disposition"}
        body = {"disposition-status": outcome.status, "lock-tokens": Array([delivery.lock_token])}
        reply = await connection.request(f"{self._queue}/$management", facts, body)
        if reply.get("statusCode") != 200:  # noqa: PLR2004 - success in HTTP's own words
            return Refusal(str(reply.get("errorCondition")), str(reply.get("statusDescription")))
        return None
