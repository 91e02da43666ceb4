"""The replays in the audit trail: how each ended, how many recipients it sent, how many left again later. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

REPLAY = "replay"
#: An edit sends one dead letter under an id of its own.
_SENDING = frozenset({REPLAY, "edit"})
#: A replay is continued under its id as long as `opt-ins` detects duplicates (infra/queues.json).
_CONTINUED = timedelta(hours=24)
#: The longest lock that Service Bus knows.
_LONGEST_LOCK = timedelta(minutes=5)


@dataclass(slots=True, kw_only=True)
class PastReplay:
    """One replay as the audit trail tells it.

    Attributes:
        id: The replay id.
        at: When it began last, as written in the trail.
        who: Who began it.
        selection: What it was asked to replay.
        process: The number of its process, or None.
        note: Why, in the operator's words, or None.
        outcome: How it ended, or None when it was killed, or still runs.
    """

    id: str
    at: str
    who: str
    selection: object
    process: object = None
    note: str | None = None
    outcome: str | None = None

    @property
    def may_be_unfinished(self) -> bool:
        """Say whether it may have sent dead letters that it did not complete, or stopped before its end."""
        return self.outcome in {None, "failed", "interrupted"}


def read_replays(trail: Iterable[Mapping[str, object]], namespace: str) -> dict[str, PastReplay]:
    """Read the replays in one namespace from an audit trail, in the order in which they began last."""
    replays: dict[str, PastReplay] = {}
    for line in trail:
        run_id = line.get("run")
        if line.get("command") not in _SENDING or not isinstance(run_id, str):
            continue
        if line.get("step") == "begin" and line.get("namespace") == namespace:
            replays.pop(run_id, None)
            replays[run_id] = PastReplay(
                id=run_id,
                at=str(line.get("at")),
                who=str(line.get("who")),
                selection=line.get("selection"),
                process=line.get("process"),
                note=str(line["note"]) if "note" in line else None,
            )
        elif line.get("step") == "end" and run_id in replays:
            replays[run_id].outcome = str(line.get("outcome"))
    return replays


def list_replays(trail: Iterable[Mapping[str, object]], namespace: str) -> list[dict[str, object]]:
    """List the replays in one namespace for people and programs, the newest first."""
    lines = list(trail)
    return [
        {
            "replay": each.id,
            "at": each.at,
            "who": each.who,
            "sent": count_sent(lines, each.id).confirmed,
            "ended": each.outcome,
            "note": each.note,
        }
        for each in reversed(read_replays(lines, namespace).values())
    ]


def unfinished(
    replays: Mapping[str, PastReplay], selection: object, now: datetime, *, still_runs: Callable[[str, object], bool]
) -> str | None:
    """Give the id of the newest replay of this selection when it may be unfinished, so that it is continued.

    One that still runs is left alone: two processes under one id would be one replay to whoever asks for its status.

    Messages that were sent before the interruption carry its id, and those that are sent again are dropped as
    duplicates: a new id would split one replay in two.
    """
    same = [replay for replay in replays.values() if replay.selection == selection]
    if same and same[-1].outcome is None and still_runs(same[-1].who, same[-1].process):
        return None
    if not same or not same[-1].may_be_unfinished or now - datetime.fromisoformat(same[-1].at) > _CONTINUED:
        return None
    return same[-1].id


@dataclass(frozen=True, slots=True)
class Session:
    """A run of a command that may still have dead letters locked.

    Attributes:
        command: Such as `replay`.
        who: Who began it.
        since: When it began, as written in the trail.
    """

    command: str
    who: str
    since: str


def last_session(trail: Iterable[Mapping[str, object]], namespace: str, now: datetime) -> Session | None:
    """Give the last run in a namespace that did not end by itself and whose locks may not have expired.

    Read it before the own run begins, which would be found otherwise.
    """
    runs: dict[object, tuple[Session, object]] = {}
    for line in trail:
        run = line.get("run")
        if line.get("step") == "begin" and line.get("namespace") == namespace:
            runs[run] = Session(str(line.get("command")), str(line.get("who")), str(line.get("at"))), line.get("at")
        elif line.get("step") == "end" and line.get("outcome") not in {"failed", None}:
            # Whoever ended gave back what it held, after Ctrl-C too.
            runs.pop(run, None)
        elif run in runs:
            runs[run] = runs[run][0], line.get("at")
    recent = [session for session, at in runs.values() if _is_recent(at, now)]
    return recent[-1] if recent else None


def _is_recent(at: object, now: datetime) -> bool:
    try:
        return now - datetime.fromisoformat(str(at)) <= _LONGEST_LOCK
    except (ValueError, TypeError):
        return False


@dataclass(frozen=True, slots=True)
class SentRecipients:
    """The recipients that one replay sent.

    Attributes:
        confirmed: The broker has them.
        unconfirmed: They were about to be sent, and the trail does not say that they were.
        left_again: They returned, and left with a later replay or a purge.
    """

    confirmed: int
    unconfirmed: int
    left_again: int


def count_sent(trail: Iterable[Mapping[str, object]], run_id: str) -> SentRecipients:
    """Count the recipients that a replay sent."""
    recipients: dict[int, int] = {}
    confirmed: set[int] = set()
    left_again = 0
    for line in trail:
        earlier = line.get("earlier")
        if isinstance(earlier, dict) and isinstance(count := earlier.get(run_id), int):
            left_again += count
        if line.get("run") == run_id and line.get("step") == "sending":
            recipients |= zip(_integers(line.get("numbers")), _integers(line.get("recipients")), strict=False)
        if line.get("run") == run_id and line.get("step") == "sent":
            confirmed.update(_integers(line.get("numbers")))
    sent = sum(count for number, count in recipients.items() if number in confirmed)
    return SentRecipients(sent, sum(recipients.values()) - sent, left_again)


def _integers(value: object) -> list[int]:
    return [number for number in value if isinstance(number, int)] if isinstance(value, list) else []
