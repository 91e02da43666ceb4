"""A message as a queue holds it, whatever it means. Pure."""

from dataclasses import dataclass, fields
from typing import Self

from optout_core.arrivals import Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMessage(Arrival):
    """One message of a queue, peeked or locked.

    Attributes:
        sequence_number: Its place in the queue; never given twice.
    """

    sequence_number: int

    @classmethod
    def at(cls, sequence_number: int, arrival: Arrival) -> Self:
        """Say at which place of its queue a message stands."""
        return cls(
            sequence_number=sequence_number, **{each.name: getattr(arrival, each.name) for each in fields(arrival)}
        )

    @property
    def size(self) -> int:
        """Estimate the bytes of body and properties."""
        return len(self.body) + sum(len(name) + len(str(value)) + 8 for name, value in self.properties.items())
