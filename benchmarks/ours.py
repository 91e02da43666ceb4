"""The function as `optout_core.adapters.service` wires it, but for the broker: retries and dead letters stay here."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import monotonic
from typing import Any

from benchmarks.endpoint import ACCESS_KEY
from optout_core.adapters.service import Service
from optout_core.adapters.trigger import WholeMessagesConverter
from optout_core.arrivals import Arrival
from optout_core.outgoing import NotTaken, Outgoing, Queue
from optout_core.processor import Processor
from optout_core.settings import Settings

#: Seconds: nothing that is measured may run into the deadline.
BUDGET = 600.0


class MemoryOutbox:
    """Takes everything, and counts it.

    Attributes:
        taken: Messages that were sent to each queue.
        is_in_doubt: Never.
    """

    is_in_doubt = False

    def __init__(self) -> None:
        self.taken = dict.fromkeys(Queue, 0)

    async def send(self, outgoing: Sequence[Outgoing]) -> Sequence[NotTaken]:
        """Take all."""
        for each in outgoing:
            self.taken[each.queue] += 1
        return ()


@dataclass(frozen=True, slots=True)
class Ours:
    """The function, started.

    Attributes:
        processor: What processes messages in memory.
        outbox: What it sends.
    """

    processor: Processor
    outbox: MemoryOutbox = field(default_factory=MemoryOutbox)

    async def process(self, arrivals: Sequence[Arrival]) -> None:
        """Settle messages in memory: one invocation."""
        await self.processor.process(arrivals, monotonic() + BUDGET)


def taken_over(data: Any, metadata: Any, now: datetime) -> list[Arrival]:  # noqa: ANN401 - of the worker
    """Convert what the host hands over as the worker does, and read it as `Service.process` does."""
    messages = WholeMessagesConverter.decode(data, trigger_metadata=metadata, pytype=list)
    return [message.arrival(now) for message in messages]


@asynccontextmanager
async def started(url: str) -> AsyncIterator[Ours]:
    """Start the function for an endpoint, every setting at its default."""
    logging.getLogger("optout_core").setLevel(logging.ERROR)
    service = Service(app_settings(url))
    outbox = MemoryOutbox()
    try:
        # Not built again here: what is measured is wired as on Azure.
        processor = await service._started()  # noqa: SLF001
        yield Ours(replace(processor, outbox=outbox), outbox)
    finally:
        await service.close()


#: Leads nowhere; nothing is sent there.
_NO_BROKER = "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=k"


def app_settings(url: str, broker: str = _NO_BROKER) -> dict[str, str]:
    """Give the app settings that lead to an endpoint and a namespace."""
    settings = {
        "ACS_ENDPOINT": url,
        "ACS_ACCESS_KEY": ACCESS_KEY,
        "ServiceBusConnection": broker,
        "OPT_IN_QUEUE": "opt-ins",
        "DEAD_LETTER_QUEUE": "opt-ins-dead-letter",
    }
    Settings.from_environ(settings)
    return settings
