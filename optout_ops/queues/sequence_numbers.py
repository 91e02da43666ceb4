"""A set of sequence numbers that stays small for a million messages. Pure."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable


class SequenceNumbers:
    """Sequence numbers in rising order, in 8 bytes each.

    Args:
        numbers: In rising order.
    """

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._numbers = array("q", numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, number: int) -> bool:
        position = bisect_left(self._numbers, number)
        return position < len(self._numbers) and self._numbers[position] == number

    @property
    def first(self) -> int:
        """Give the lowest number, or 1 when there is none."""
        return self._numbers[0] if self._numbers else 1

    @property
    def last(self) -> int:
        """Give the highest number, or 0 when there is none."""
        return self._numbers[-1] if self._numbers else 0

    def append(self, number: int) -> None:
        """Add a number that is higher than all others."""
        self._numbers.append(number)

    def newest(self, count: int) -> "SequenceNumbers":
        """Give the last ones, at least one."""
        return SequenceNumbers(self._numbers[-count:])
