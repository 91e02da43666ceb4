"""What the audit trail tells of replays: what was sent, what was cut off, what left again with a later run. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

REPLAY = "replay"
#: A run is continued for as long as `opt-ins` detects duplicates (infra/queues.json); later it is another one.
_CONTINUED = timedelta(hours=24)
#: How a run ends that may have left something half done.
_UNFINISHED = (None, "failed")


@dataclass(slots=True)
class Run:
    """Hold one replay as the trail tells it.

    Attributes:
        id: The replay id.
        at: When it began last, as written.
        who: Who began it.
        selection: What it was asked to replay.
        ended: How it ended, or None when it was cut off, or runs.
    """

    id: str
    at: str
    who: str
    selection: object
    ended: str | None = None


def read_runs(trail: Iterable[Mapping[str, object]], namespace: str) -> dict[str, Run]:
    """Read the replays in one namespace from an audit trail, in the order in which they began last."""
    runs: dict[str, Run] = {}
    for line in trail:
        run_id = line.get("run")
        if line.get("command") != REPLAY or not isinstance(run_id, str):
            continue
        if line.get("step") == "begin" and line.get("namespace") == namespace:
            runs.pop(run_id, None)
            runs[run_id] = Run(run_id, str(line.get("at")), str(line.get("who")), line.get("selection"))
        elif line.get("step") == "end" and run_id in runs:
            runs[run_id].ended = str(line.get("outcome"))
    return runs


def cut_off(runs: Mapping[str, Run], selection: object, now: datetime) -> str | None:
    """Give the id of the newest replay of this selection when it was cut off or failed, so that it is continued.

    Under another id, what the broker drops as a duplicate would keep the old one, and nobody would find it again.
    """
    same = [run for run in runs.values() if run.selection == selection]
    if not same or same[-1].ended not in _UNFINISHED or now - _time(same[-1].at) > _CONTINUED:
        return None
    return same[-1].id


@dataclass(frozen=True, slots=True)
class Sent:
    """Count the recipients of one replay.

    Attributes:
        confirmed: The broker has them.
        unconfirmed: They were about to be sent, and nobody wrote down that they were.
        left_again: Came back, and left with a later run or a purge.
    """

    confirmed: int
    unconfirmed: int
    left_again: int


def count_sent(trail: Iterable[Mapping[str, object]], run_id: str) -> Sent:
    """Count the recipients that a replay sent."""
    weights: dict[int, int] = {}
    confirmed: set[int] = set()
    left_again = 0
    for line in trail:
        earlier = line.get("earlier")
        if isinstance(earlier, dict) and isinstance(weight := earlier.get(run_id), int):
            left_again += weight
        if line.get("run") == run_id and line.get("step") == "sending":
            weights |= zip(_integers(line.get("numbers")), _integers(line.get("recipients")), strict=False)
        if line.get("run") == run_id and line.get("step") == "sent":
            confirmed.update(_integers(line.get("numbers")))
    sent = sum(weight for number, weight in weights.items() if number in confirmed)
    return Sent(sent, sum(weights.values()) - sent, left_again)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _integers(value: object) -> list[int]:
    return [number for number in value if isinstance(number, int)] if isinstance(value, list) else []
