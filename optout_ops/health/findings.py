"""The findings of the doctor: settings, queues and clock, held against what they should be. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from pydantic import TypeAdapter

from optout_core.settings import Settings
from optout_ops.wording import duration

#: A larger difference between the clocks may make ACS refuse signatures; its own limit is not documented.
_MAX_SKEW = timedelta(minutes=2)
_SPAN = TypeAdapter(timedelta)
_SPANS = frozenset({"lockDuration", "duplicateDetectionHistoryTimeWindow", "defaultMessageTimeToLive"})


#: What the queue of a dead letter's last days is called, after the queue of the dead letters (infra/queues.json).
_ENDING = "-ending"


class Health(StrEnum):
    """The health of one thing."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: The thing, such as `rights`, `clock`, or the name of a queue.
        health: How it is.
        text: What that means, in words.
    """

    about: str
    health: Health
    text: str


def compare_queue(name: str, wanted: Mapping[str, object], found: Mapping[str, object]) -> list[Finding]:
    """Hold a queue's properties against the shared file.

    Args:
        name: The queue.
        wanted: The properties as in infra/queues.json.
        found: The properties of the queue as the namespace tells them; one that it does not tell is absent.
    """
    findings = []
    for key, value in wanted.items():
        if key not in found:
            findings.append(Finding(name, Health.UNKNOWN, f"{key} cannot be seen"))
        elif _plain(key, found[key]) != _plain(key, value):
            findings.append(Finding(name, Health.BAD, f"{key} is {found[key]}, and should be {value}: deploy again"))
    return findings or [Finding(name, Health.GOOD, "is as infra/queues.json says")]


def duplicate_detection(name: str, properties: Mapping[str, object], *, seen: bool) -> Finding:
    """Say what duplicate detection of a queue means for replays.

    Args:
        name: The queue.
        properties: Its properties.
        seen: Whether the namespace told them; otherwise they are those of infra/queues.json.
    """
    if not seen:
        return Finding(
            "duplicates",
            Health.UNKNOWN,
            f"whether {name} detects duplicates cannot be seen with your rights; infra/queues.json says"
            f" {'yes' if properties.get('requiresDuplicateDetection') else 'no'}",
        )
    if not properties.get("requiresDuplicateDetection"):
        return Finding(
            "duplicates",
            Health.BAD,
            f"{name} does not detect duplicates: a replay that is killed may send up to 100 messages twice, which is"
            " harmless, and so does `optout send` when repeated",
        )
    window = duration(_SPAN.validate_python(properties["duplicateDetectionHistoryTimeWindow"]))
    return Finding("duplicates", Health.GOOD, f"{name} drops messages that are sent twice within {window}")


def ending_queue(settings: Settings) -> str:
    """Name the queue in which dead letters spend their last days."""
    return settings.dead_letter_queue + _ENDING


def last_day(dead_letters: Mapping[str, object], ending: Mapping[str, object], *, seen: bool) -> Finding:
    """Say when the broker ends a dead letter, or that it does not.

    Args:
        dead_letters: The properties of the queue of the dead letters.
        ending: The properties of the queue of their last days.
        seen: Whether the namespace told both; otherwise they are those of infra/queues.json.
    """
    moves = ("deadLetteringOnMessageExpiration", "forwardDeadLetteredMessagesTo")
    if not all(dead_letters.get(each) for each in moves):
        text = "a dead letter that expires does not move on to its last days: nobody is told in time"
        return Finding("last day", Health.BAD, text)
    if ending.get("deadLetteringOnMessageExpiration"):
        return Finding("last day", Health.BAD, "what expires in its last days is kept without end, numbers and all")
    first, last = (_SPAN.validate_python(each["defaultMessageTimeToLive"]) for each in (dead_letters, ending))
    text = f"the broker deletes a dead letter after {duration(first + last)}; an alert comes {duration(last)} before"
    if not seen:
        return Finding("last day", Health.UNKNOWN, f"cannot be seen with your rights; infra/queues.json says: {text}")
    return Finding("last day", Health.GOOD, text)


def skew(ahead: timedelta | None) -> Finding:
    """Judge the difference between this machine's clock and that of ACS."""
    if ahead is None:
        return Finding("clock", Health.UNKNOWN, "ACS did not say what time it is")
    if abs(ahead) > _MAX_SKEW:
        way = "ahead of" if ahead > timedelta(0) else "behind"
        return Finding("clock", Health.BAD, f"this machine is {duration(ahead)} {way} ACS: signatures may be refused")
    return Finding("clock", Health.GOOD, f"within {max(1, round(abs(ahead).total_seconds()))} s of ACS")


def outage_budget(settings: Settings, time_to_live: timedelta | None) -> list[Finding]:
    """Say how long ACS may be down, and how often a recipient is tried, before the first dead letter.

    Args:
        settings: The settings of the function.
        time_to_live: How long a message lives in `opt-ins`, or None when not known.
    """
    age, schedule = settings.opt_in_max_age, settings.retry_schedule
    hours = age / timedelta(hours=1)
    tries = f"{len(schedule) + 1} {'tries' if schedule else 'try'} over {duration(sum(schedule, timedelta(0)))}"
    findings = [
        Finding("outage", Health.GOOD, f"ACS may be down for {hours:g} h before the first dead letter"),
        Finding("retries", Health.GOOD, f"a failing recipient gets {tries}, and more with jitter"),
    ]
    if time_to_live is not None and time_to_live < age:
        findings.append(
            Finding(
                "outage",
                Health.BAD,
                f"messages live for {duration(time_to_live)} only, less than OPT_IN_MAX_AGE: they expire before that",
            )
        )
    return findings


def _plain(key: str, value: object) -> object:
    if key in _SPANS:
        return _SPAN.validate_python(value)
    if key == "forwardDeadLetteredMessagesTo":
        # The namespace gives an address, infra/queues.json a name.
        return str(value or "").rstrip("/").rsplit("/", 1)[-1].lower()
    return value
