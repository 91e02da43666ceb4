"""Finds the recipients that spoil a request, so that those beside them are removed all the same.

Rules:
1. Recipients are to blame when a request fails while others are answered. A batch without an answer is therefore probed
   with one recipient alone, then with another one; no answer to either is an outage, and nobody's fault.
2. Once one is answered, the rest is split: halves are asked side by side until each culprit stands alone.
3. When ten are refused alone and nobody is accepted, our request or ACS is wrong and not the numbers: the whole batch
   is refused, without a verdict on a number.
4. Who belongs to a split batch and is not settled yet is marked: the next try asks for it apart from other events.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from time import monotonic
from typing import Protocol, TypeGuard

from optout_core.adapters.gate import REFUSED_TO_THE_LAST, Gate
from optout_core.batches import Batch, Pair
from optout_core.errors import BatchRejected, EndpointUnavailable, NotSent, RequestError, RequestRefused
from optout_core.numbers import Number
from optout_core.outcomes import Outcome, Verdict

#: Requests for a single recipient, one after the other, once its batch got no answer.
PROBES = 2
#: Recipients remembered until their next try.
_MAX_UNANSWERED = 1000

#: Chooses so many of the recipients, each at most once.
Choose = Callable[[Sequence[Number], int], Sequence[Number]]


class Ask(Protocol):
    """Asks for a batch when it is its turn."""

    async def __call__(self, batch: Batch, *, is_suspect: bool) -> dict[Number, Outcome]:
        """Give an outcome for each recipient or raise RequestError; that a suspect fails says nothing of ACS."""


class Evidence:
    """What tells a recipient's fault from an outage, beyond one batch."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._unanswered: dict[Pair, float] = {}

    def others_are_answered(self) -> bool:
        """Say whether the last request that was not a suspect's was answered."""
        return self._gate.is_closed

    def others_were_answered(self, pair: Pair, since: float) -> bool:
        """Say whether others were answered since a recipient, asked alone, got no answer for the first time."""
        first = self._unanswered.pop(pair, since)
        if self._gate.answered_since(first) and not self._gate.is_open:
            return True
        if len(self._unanswered) >= _MAX_UNANSWERED:
            self._unanswered.clear()
        self._unanswered[pair] = first
        return False


class Splitting:
    """A batch that failed, and what is known of its recipients by now.

    Attributes:
        outcomes: Of each recipient; complete at any time.
    """

    def __init__(
        self, batch: Batch, error: RequestError, ask: Ask, evidence: Evidence, choose: Choose = random.sample
    ) -> None:
        self._batch = batch
        self._error = error
        self._failed_at = monotonic()
        self._ask = ask
        self._evidence = evidence
        self._choose = choose
        outcome = Outcome.of_error(error)
        if not self.is_over:
            outcome = replace(outcome, verdict=Verdict.UNAVAILABLE)
        self.outcomes = dict.fromkeys(batch.recipients, replace(outcome, alone=batch.alone))

    @property
    def is_over(self) -> bool:
        """Say whether more requests would find out nothing."""
        if isinstance(self._error, BatchRejected):
            return len(self._batch) == 1
        return not _is_unanswered(self._error)

    async def run(self) -> None:
        """Find what becomes of as many recipients as possible."""
        if isinstance(self._error, BatchRejected):
            await self._split_unless_all_are_refused(self._batch)
        elif len(self._batch) == 1:
            await self._ask_again(self._batch)
        elif self._batch.alone:
            await self._split(self._batch)
        else:
            await self._split_once_one_is_answered(self._batch)

    async def _ask_again(self, single: Batch) -> None:
        if single.alone:
            self._settle(single, self._error)
            return
        for _ in range(PROBES):
            error = await self._try(single, is_suspect=False)
            if error is None:
                return
            self.outcomes |= dict.fromkeys(single.recipients, Outcome.of_error(error))
            if not _is_unanswered(error):
                return
        (one,) = single.recipients
        if self._evidence.others_were_answered(Pair(single.sender, one), self._failed_at):
            self._blame(single.recipients, self._error)

    async def _split_once_one_is_answered(self, batch: Batch) -> None:
        for one in self._choose(batch.recipients, min(PROBES, len(batch))):
            put_off = self.outcomes[one]
            probe = batch.only((one,))
            error = await self._try(probe, is_suspect=False)
            if isinstance(error, NotSent):
                return
            if error is None and self.outcomes[one].verdict is Verdict.FAILED:
                # One item that fails is no answer where a request fails: all items may.
                self.outcomes[one] = put_off
            elif error is None or not _is_unanswered(error):
                self._settle(probe, error)
                rest = batch.without((one,))
                self._put_off(rest.recipients, self._error)
                await self._split(rest)
                return

    async def _split_unless_all_are_refused(self, batch: Batch) -> None:
        if len(batch) < REFUSED_TO_THE_LAST:
            self._put_off(batch.recipients, self._error)
            await self._split(batch)
            return
        chosen = self._choose(batch.recipients, REFUSED_TO_THE_LAST)
        errors = {chosen[0]: await self._try(batch.only(chosen[:1]), is_suspect=True)}
        if errors[chosen[0]] is not None:
            tries = (self._try(batch.only((one,)), is_suspect=True) for one in chosen[1:])
            errors |= zip(chosen[1:], await asyncio.gather(*tries), strict=True)
        refused = [one for one, error in errors.items() if isinstance(error, BatchRejected | RequestRefused)]
        accepted = [one for one, error in errors.items() if error is None]
        if len(refused) == REFUSED_TO_THE_LAST:
            outcome = replace(Outcome.of_error(self._error), verdict=Verdict.REFUSED, alone=True)
            self.outcomes |= dict.fromkeys(batch.recipients, outcome)
        elif accepted:
            for one in refused:
                self._settle(batch.only((one,)), errors[one])
            rest = batch.without((*refused, *accepted))
            self._put_off(rest.recipients, self._error)
            await self._split(rest)

    async def _split(self, batch: Batch) -> None:
        pieces = [piece for piece in batch.halves() if len(piece)]
        errors = await asyncio.gather(*(self._try(piece, is_suspect=True) for piece in pieces))
        failed = [(piece, error) for piece, error in zip(pieces, errors, strict=True) if error is not None]
        if len(batch) > len(failed) > 1 and all(_is_unanswered(error) for _, error in failed):
            # Nobody was answered: an outage may have begun meanwhile.
            await self._split_once_one_is_answered(batch)
        else:
            await asyncio.gather(*(self._go_on(piece, error) for piece, error in failed))

    async def _go_on(self, piece: Batch, error: RequestError) -> None:
        if len(piece) > 1 and (isinstance(error, BatchRejected) or _is_unanswered(error)):
            await self._split(piece)
        else:
            self._settle(piece, error)

    async def _try(self, batch: Batch, *, is_suspect: bool) -> RequestError | None:
        try:
            self.outcomes |= await self._ask(batch, is_suspect=is_suspect)
        except RequestError as error:
            return error
        return None

    def _settle(self, piece: Batch, error: RequestError | None) -> None:
        if isinstance(error, NotSent) or (_is_unanswered(error) and not self._evidence.others_are_answered()):
            self._put_off(piece.recipients, error)
        elif _is_unanswered(error):
            self._blame(piece.recipients, error)
        elif error is not None:
            self.outcomes |= dict.fromkeys(piece.recipients, Outcome.of_error(error))

    def _blame(self, recipients: Iterable[Number], error: RequestError) -> None:
        self.outcomes |= dict.fromkeys(recipients, replace(Outcome.of_error(error), verdict=Verdict.FAILED, alone=True))

    def _put_off(self, recipients: Iterable[Number], error: RequestError) -> None:
        self.outcomes |= dict.fromkeys(
            recipients, replace(Outcome.of_error(error), verdict=Verdict.UNAVAILABLE, alone=True)
        )


def _is_unanswered(error: RequestError | None) -> TypeGuard[EndpointUnavailable]:
    return isinstance(error, EndpointUnavailable) and not isinstance(error, NotSent)
