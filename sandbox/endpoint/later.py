"""What happens at its moment, whether or not anybody waits for it: late changes of the list, and texts."""

import asyncio
import math
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class Later:
    """Acts that wait for their moment on the running loop's clock; those of one moment happen in the order given."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, moment: float, act: Callable[[], None]) -> None:
        """Do `act` at a moment of the loop's clock, in seconds: at once when that is over."""
        heappush(self._waiting, (moment, next(self._order), act))
        loop = asyncio.get_running_loop()
        if moment <= loop.time():
            self.catch_up(loop.time())
        else:
            loop.call_at(moment, self.catch_up, moment)

    def catch_up(self, moment: float = math.inf) -> None:
        """Do now all that waits for `moment` or an earlier one, in order."""
        while self._waiting and self._waiting[0][0] <= moment:
            heappop(self._waiting)[2]()

    def forget(self) -> None:
        """Do nothing of what still waits."""
        self._waiting.clear()
