"""Which fault meets which request: the faults in force, in order, with how often each has matched.

The first fault that matches and is not used up counts: one for the request, and one for each recipient. Texts are
independent of both: each that matches is sent.
"""

import math
import random
from collections.abc import Collection, Iterable, Iterator

from sandbox.endpoint.faults import Fault, Slowness


class FaultPlan:
    """The faults in force, in order, with how often each has matched."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults = tuple(faults)
        self._counted = [_Counted(fault) for fault in self.faults]

    def for_request(self, operation: str | None, sender: str | None, recipients: Collection[str]) -> Fault | None:
        """Return the fault on the whole request, with its delay drawn, and count it."""
        for counted in self._matching(operation, sender, recipients):
            if counted.fault.effect not in {"items", "text"} and counted.take():
                return counted.drawn()
        return None

    def for_recipients(
        self, operation: str | None, sender: str | None, recipients: Collection[str]
    ) -> dict[str, Fault]:
        """Return the fault that takes the place of each recipient's answer, and count once for the request."""
        met: dict[str, Fault] = {}
        for counted in self._matching(operation, sender, recipients):
            concerned = {to for to in recipients if to not in met and counted.fault.to in {None, to}}
            if counted.fault.effect == "items" and concerned and counted.take():
                met |= dict.fromkeys(concerned, counted.fault)
        return met

    def texts(
        self, operation: str | None, sender: str | None, recipients: Collection[str]
    ) -> Iterator[tuple[Fault, str]]:
        """Give every text that this request makes somebody send, with the recipient who sends it."""
        for counted in self._matching(operation, sender, recipients):
            if counted.fault.effect == "text" and counted.take():
                for to in dict.fromkeys(recipients):
                    if counted.fault.to in {None, to}:
                        yield counted.fault, to

    def _matching(self, operation: str | None, sender: str | None, recipients: Collection[str]) -> Iterator["_Counted"]:
        for counted in self._counted:
            fault = counted.fault
            if (
                fault.to in {None, *recipients}
                and fault.sender in {None, sender}
                and fault.operation in {None, operation}
            ):
                yield counted


class _Counted:
    """A fault, the requests that matched it, and those that it met."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._matched = 0
        self._met = 0
        self._random = random.Random(fault.delay.seed) if isinstance(fault.delay, Slowness) else None  # noqa: S311 - no secret

    def take(self) -> bool:
        """Count a match, and say whether the fault meets it."""
        before = self._matched - self.fault.after
        self._matched += 1
        if before < 0 or self._met == self.fault.times:
            return False
        share = self.fault.share or 1
        meets = math.ceil((before + 1) * share) > math.ceil(before * share)
        self._met += meets
        return meets

    def drawn(self) -> Fault:
        """Return the fault with a number of seconds for its delay."""
        delay = self.fault.delay
        if not isinstance(delay, Slowness) or self._random is None:
            return self.fault
        seconds = delay.at_least + self._random.expovariate(1 / (delay.mean - delay.at_least))
        return self.fault.model_copy(update={"delay": seconds})
