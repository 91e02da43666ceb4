"""Pack the recipients of many events into few requests, and remember who asked for whom.

10,000 events of one recipient each cost 100 requests, not 10,000.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

#: The API takes 1 to 100 recipients and one sender per request (docs/facts/acs-optouts.md, "The request").
MAX_RECIPIENTS = 100


@dataclass(frozen=True, slots=True)
class Pair:
    """Name one entry of the opt-out list: the sender, and the recipient who had opted out of its messages."""

    sender: str = field(repr=False)
    recipient: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Batch:
    """Hold what one request asks.

    Attributes:
        sender: The sender whose list is meant.
        recipients: 1 to 100 numbers, each once, in the order of the events.
    """

    sender: str = field(repr=False)
    recipients: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        """Count the recipients."""
        return len(self.recipients)

    def halves(self) -> tuple["Batch", "Batch"]:
        """Split a batch of at least two in the middle."""
        middle = len(self.recipients) // 2
        return Batch(self.sender, self.recipients[:middle]), Batch(self.sender, self.recipients[middle:])


def plan(pairs: Iterable[Pair]) -> tuple[Batch, ...]:
    """Pack pairs into as few batches as the API allows: one sender each, every pair exactly once."""
    by_sender: dict[str, dict[str, None]] = {}
    for pair in pairs:
        by_sender.setdefault(pair.sender, {})[pair.recipient] = None
    return tuple(
        Batch(sender, chunk) for sender, recipients in by_sender.items() for chunk in chunks(recipients, MAX_RECIPIENTS)
    )


def chunks(recipients: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    """Cut recipients into tuples of `size`, the last one shorter."""
    rest = iter(recipients)
    while chunk := tuple(islice(rest, size)):
        yield chunk
