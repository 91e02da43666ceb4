"""What `:check` says of a number. Pure. An error, or silence, is never read as "not opted out".

https://learn.microsoft.com/rest/api/communication/sms/opt-outs/check; samples in tests/samples/acs/.
"""

from dataclasses import dataclass
from enum import StrEnum

from pydantic_core import from_json

from optout_core.api import API_VERSION, Answer, Outcome, Verdict, read_answer
from optout_core.batches import Batch
from optout_core.numbers import clean

CHECK_TARGET = f"/sms/optouts:check?api-version={API_VERSION}"

_ANSWERED = frozenset({Verdict.REMOVED, Verdict.STILL_OPTED_OUT})


class Listed(StrEnum):
    """Say whether a number is on the opt-out list of a sender."""

    OPTED_OUT = "opted out"
    NOT_OPTED_OUT = "not opted out"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Standing:
    """Hold what ACS says of one number, and why when it does not say."""

    listed: Listed
    why: str = ""


def read_standings(batch: Batch, answer: Answer) -> dict[str, Standing]:
    """Read the answer to a `:check` for everybody it was asked about.

    Raises:
        RequestError: As `optout_core.api.read_answer` does: there is no answer for anybody.
    """
    outcomes = read_answer(batch, answer)
    said: dict[str, set[object]] = {}
    for item in from_json(answer.body)["value"]:
        if isinstance(item, dict) and isinstance(to := item.get("to"), str):
            said.setdefault(clean(to), set()).add(repr(item.get("isOptedOut")))
    return {to: _standing(outcomes[to], said.get(clean(to), set())) for to in batch.recipients}


def _standing(outcome: Outcome, said: set[object]) -> Standing:
    if said == {"True"} and outcome.verdict in _ANSWERED:
        return Standing(Listed.OPTED_OUT)
    if said == {"False"} and outcome.verdict in _ANSWERED:
        return Standing(Listed.NOT_OPTED_OUT)
    if outcome.verdict in _ANSWERED:
        return Standing(Listed.UNKNOWN, "the answer does not say, or contradicts itself")
    return Standing(Listed.UNKNOWN, str(outcome))
