"""The check of opt-out lists: ask ACS with `:check`, and never read an error, or silence, as "not opted out".

https://learn.microsoft.com/rest/api/communication/sms/opt-outs/check; samples in tests/samples/acs/.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from optout_core.api import Answer, read_answer, request_body, request_target
from optout_core.batches import Operation, plan
from optout_core.errors import RequestError, RequestRefused
from optout_core.numbers import Number
from optout_core.outcomes import Outcome
from optout_ops.exits import OpsError, OutOfReach


class Post(Protocol):
    """One POST to ACS."""

    async def __call__(self, target: str, body: bytes) -> Answer:
        """Send a body to a path with its query, and give the answer.

        Raises:
            OutOfReach: There is none.
            RequestRefused: We cannot prove who we are.
        """


class Standing(StrEnum):
    """Whether a number is on the opt-out list of a sender."""

    OPTED_OUT = "opted out"
    NOT_OPTED_OUT = "not opted out"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ListEntry:
    """What ACS says of one number.

    Attributes:
        standing: Whether it is on the opt-out list.
        why: Why that is unknown, or "".
    """

    standing: Standing
    why: str = ""


async def check(post: Post, sender: Number, numbers: Collection[Number]) -> dict[Number, ListEntry]:
    """Ask for each number whether it is on the opt-out list of a sender; changes nothing.

    Raises:
        OutOfReach: ACS does not answer, or refuses us.
        OpsError: ACS refuses the question.
    """
    entries: dict[Number, ListEntry] = {}
    target = request_target(Operation.CHECK)
    for batch in plan(Operation.CHECK, [((sender,), numbers)]):
        try:
            outcomes = read_answer(batch, await post(target, request_body(batch)))
            entries |= {to: _entry(outcome) for to, outcome in outcomes.items()}
        except RequestRefused as error:
            raise OutOfReach(
                f"ACS refuses us ({error}); nothing is known of the numbers; check ACS_ACCESS_KEY or the role, and that"
                " the sender belongs to this resource"
            ) from None
        except RequestError as error:
            raise OpsError(
                f"ACS gave no answer about the numbers ({error}); nothing is known of them; ask again"
            ) from None
    return entries


def _entry(outcome: Outcome) -> ListEntry:
    if outcome.is_opted_out is None:
        return ListEntry(Standing.UNKNOWN, str(outcome))
    return ListEntry(Standing.OPTED_OUT if outcome.is_opted_out else Standing.NOT_OPTED_OUT)
