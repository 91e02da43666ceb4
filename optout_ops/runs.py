"""What the audit trail tells of replays: what was sent, what was cut off, what left again with a later run. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

REPLAY = "replay"


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


def read_runs(trail: Iterable[Mapping[str, object]]) -> dict[str, Run]:
    """Read the replays of an audit trail, in the order in which they began."""
    runs: dict[str, Run] = {}
    for line in trail:
        run_id = line.get("run")
        if line.get("command") != REPLAY or not isinstance(run_id, str):
            continue
        if line.get("step") == "begin":
            runs[run_id] = Run(run_id, str(line.get("at")), str(line.get("who")), line.get("selection"))
        elif line.get("step") == "end" and run_id in runs:
            runs[run_id].ended = str(line.get("outcome"))
    return runs


def cut_off(runs: Mapping[str, Run], selection: object) -> str | None:
    """Give the id of the newest replay of this selection that was cut off, so that it is continued under its id."""
    same = [run.id for run in runs.values() if run.ended is None and run.selection == selection]
    return same[-1] if same else None


def count_sent(trail: Iterable[Mapping[str, object]], run_id: str) -> tuple[int, int]:
    """Count the recipients that a replay sent, and those of them that came back and left with a later run.

    What was about to be sent when the replay was cut off counts: the same command sends it under the same id.
    """
    weights: dict[int, int] = {}
    left_again = 0
    for line in trail:
        earlier = line.get("earlier")
        if isinstance(earlier, dict) and isinstance(weight := earlier.get(run_id), int):
            left_again += weight
        if line.get("run") == run_id and line.get("step") == "sending":
            weights |= zip(_integers(line.get("numbers")), _integers(line.get("recipients")), strict=False)
    return sum(weights.values()), left_again


def _integers(value: object) -> list[int]:
    return [number for number in value if isinstance(number, int)] if isinstance(value, list) else []
