"""The check of opt-out lists: ask ACS with `:check`, and never read an error, or silence, as "not opted out".

https://learn.microsoft.com/rest/api/communication/sms/opt-outs/check; samples in tests/samples/acs/.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pydantic_core import from_json

from optout_core.api import API_VERSION, Answer, Outcome, Verdict, read_answer, request_body
from optout_core.batches import Batch, Pair, plan
from optout_core.errors import RequestError, RequestRefused
from optout_core.numbers import Number, read_number
from optout_ops.exits import OpsError, OutOfReach

CHECK_TARGET = f"/sms/optouts:check?api-version={API_VERSION}"

#: A 2xx item of `:check` has the form of one of `:remove`, so `read_answer` gives it one of these verdicts.
_ANSWERED = frozenset({Verdict.REMOVED, Verdict.STILL_OPTED_OUT})


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


async def check(post: Post, sender: Number, numbers: Iterable[Number]) -> dict[Number, ListEntry]:
    """Ask for each number whether it is on the opt-out list of a sender; changes nothing.

    Raises:
        OutOfReach: ACS does not answer, or refuses us.
        OpsError: ACS refuses the question.
    """
    entries: dict[Number, ListEntry] = {}
    for batch in plan(Pair(sender, number) for number in numbers):
        try:
            entries |= read_entries(batch, await post(CHECK_TARGET, request_body(batch)))
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


def read_entries(batch: Batch, answer: Answer) -> dict[Number, ListEntry]:
    """Read the answer to a `:check` for each number of the question.

    Raises:
        RequestError: As `optout_core.api.read_answer` does: there is no answer for any number.
    """
    outcomes = read_answer(batch, answer)
    values: dict[str, set[object]] = {}
    for item in from_json(answer.body)["value"]:
        if isinstance(item, dict) and isinstance(to := item.get("to"), str):
            values.setdefault(read_number(to).digits, set()).add(repr(item.get("isOptedOut")))
    return {to: _entry(outcomes[to], values.get(to.digits, set())) for to in batch.recipients}


def _entry(outcome: Outcome, values: set[object]) -> ListEntry:
    if outcome.verdict not in _ANSWERED:
        return ListEntry(Standing.UNKNOWN, str(outcome))
    if values == {"True"}:
        return ListEntry(Standing.OPTED_OUT)
    if values == {"False"}:
        return ListEntry(Standing.NOT_OPTED_OUT)
    return ListEntry(Standing.UNKNOWN, "the answer does not say, or contradicts itself")
