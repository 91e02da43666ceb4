"""Packs the recipients of many events into few requests, and remembers who asked for whom.

10,000 events of one recipient each cost 100 requests, not 10,000.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from optout_core.numbers import Number

#: The API takes 1 to 100 recipients and one sender per request (docs/facts/acs-optouts.md, "The request").
MAX_RECIPIENTS = 100


class Operation(StrEnum):
    """What a request does with the opt-out list; the value stands in its path."""

    ADD = "add"
    REMOVE = "remove"
    CHECK = "check"


class Pair(NamedTuple):
    """One entry of the opt-out list: the sender, and the recipient who had opted out of its messages."""

    sender: Number
    recipient: Number


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request asks.

    Attributes:
        sender: The sender whose list is meant.
        recipients: 1 to 100 numbers, each once, in the order of the events.
        alone: Whether they failed before while others were answered, and are all of one event therefore.
        operation: What is done with them.
    """

    sender: Number
    recipients: tuple[Number, ...]
    alone: bool = False
    operation: Operation = Operation.REMOVE

    def __len__(self) -> int:
        """Count the recipients."""
        return len(self.recipients)

    def halves(self) -> tuple["Batch", "Batch"]:
        """Split a batch of at least two in the middle."""
        middle = len(self.recipients) // 2
        return self.only(self.recipients[:middle]), self.only(self.recipients[middle:])

    def only(self, recipients: Iterable[Number]) -> "Batch":
        """Ask for these recipients instead."""
        return Batch(self.sender, tuple(recipients), self.alone, self.operation)

    def without(self, recipients: Collection[Number]) -> "Batch":
        """Leave these recipients out."""
        return self.only(to for to in self.recipients if to not in recipients)


#: For whom an event asks: for each of these senders, all of these recipients.
Wanted = Iterable[tuple[Collection[Number], Collection[Number]]]


def plan(operation: Operation, wanted: Wanted, apart: Iterable[Wanted] = ()) -> tuple[Batch, ...]:
    """Pack recipients into as few batches as the API allows: one sender each, everybody exactly once.

    Args:
        operation: What is done with them.
        wanted: Of all events that share requests.
        apart: Of each event that shares a request with no other.
    """
    packed: dict[Number, dict[Number, None]] = {}
    batches: list[Batch] = []
    for event in apart:
        batches += _pack(operation, event, packed, alone=True)
    return (*batches, *_pack(operation, wanted, packed, alone=False))


def _pack(
    operation: Operation, wanted: Wanted, packed: dict[Number, dict[Number, None]], *, alone: bool
) -> Iterator[Batch]:
    """Pack those who are not packed yet."""
    by_sender: defaultdict[Number, dict[Number, None]] = defaultdict(dict)
    for senders, recipients in wanted:
        for sender in senders:
            of_sender = by_sender[sender]
            for to in recipients:
                of_sender[to] = None
    for sender, of_sender in by_sender.items():
        new = [to for to in of_sender if to not in packed[sender]] if sender in packed else of_sender
        yield from (Batch(sender, chunk, alone, operation) for chunk in chunks(new, MAX_RECIPIENTS))
        packed.setdefault(sender, {}).update(of_sender)


def chunks(recipients: Iterable[Number], size: int) -> Iterator[tuple[Number, ...]]:
    """Cut recipients into tuples of `size`, the last one shorter."""
    rest = iter(recipients)
    while chunk := tuple(islice(rest, size)):
        yield chunk
