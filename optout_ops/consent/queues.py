"""Dead letters beside what the ledger knows of the people in them."""

from collections.abc import AsyncIterator
from typing import Any

from msgspec.structs import replace

from optout_core.adapters.ledger.records import Records
from optout_core.consent import ConsentKey
from optout_core.events import OptIn
from optout_core.numbers import person_key, sender_key
from optout_core.outgoing import Queue
from optout_ops.letters.letter import read_letter
from optout_ops.queues.messages import QueueMessage
from optout_ops.queues.protocols import QueuePair

#: Letters of one question to the ledger.
_AT_ONCE = 200


class InformedQueues:
    """The two queues; each dead letter that is peeked says what the ledger knows of its people."""

    def __init__(self, queues: QueuePair, records: Records) -> None:
        """Take the queues and the ledger."""
        self._queues = queues
        self._records = records

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of the queues
        """Leave everything else to the queues themselves."""
        return getattr(self._queues, name)

    async def peek(self, queue: Queue, start: int = 1) -> AsyncIterator[QueueMessage]:
        """Yield the messages of a queue, as `Peeks` does."""
        if queue is Queue.OPT_INS:
            async for message in self._queues.peek(queue, start):
                yield message
            return
        waiting: list[QueueMessage] = []
        async for message in self._queues.peek(queue, start):
            waiting.append(message)
            if len(waiting) == _AT_ONCE:
                for informed in await self._informed(waiting):
                    yield informed
                waiting = []
        for informed in await self._informed(waiting):
            yield informed

    async def _informed(self, messages: list[QueueMessage]) -> list[QueueMessage]:
        keys = [set(_people(message)) for message in messages]
        rows = await self._records.rows(key for each in keys for key in each)
        return [
            replace(message, known={key: rows[key] for key in each if key in rows})
            for message, each in zip(messages, keys, strict=True)
        ]


def _people(message: QueueMessage) -> list[ConsentKey]:
    return [
        ConsentKey(sender_key(event.sender), person_key(to))
        for event in read_letter(message).events
        if isinstance(event, OptIn)
        for to in event.recipients
    ]
