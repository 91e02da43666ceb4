"""The settings that are deployed, as far as the function says them in the ledger; else those of this shell. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pydantic import TypeAdapter, ValidationError

from optout_core.masking import show
from optout_core.published import NAMESPACE, Published, settings_to_publish
from optout_core.settings import Settings
from optout_ops.health.findings import Finding, Health
from optout_ops.wording import brief, utc

_SPAN = TypeAdapter(timedelta)
#: Where these differ, the tool looks at something else than the function.
_WHERE = (NAMESPACE, "OPT_IN_QUEUE", "DEAD_LETTER_QUEUE", "ACS_ENDPOINT")
#: Differences that are named.
_NAMED = 6
#: Characters of a value that are shown.
_VALUE = 40

NOT_SAID = "settings of this shell: the function publishes none without a ledger"
NOT_READ = "settings of this shell: the ledger was not read, in which the function publishes its own"
_NOT_YET = "settings of this shell: the function has published none yet; it does when it takes its first message"


@dataclass(frozen=True, slots=True)
class Deployed:
    """By which settings the function is judged.

    Attributes:
        settings: Those of this shell, with the limits that the function says.
        finding: Whose they are, and where both differ.
    """

    settings: Settings
    finding: Finding


def go_by(own: Settings, published: Sequence[Published], *, names_acs: bool) -> Deployed:
    """Go by what the function says, if it says anything.

    Args:
        own: The settings of this shell.
        published: What functions said in the ledger, the one that started last first.
        names_acs: Whether this shell names the ACS resource.
    """
    if not published:
        return Deployed(own, Finding("settings", Health.UNKNOWN, _NOT_YET))
    ours = settings_to_publish(own)
    of_ours = [each for each in published if each.settings.get(NAMESPACE) == ours[NAMESPACE]]
    said = (of_ours or published)[0]
    differing = [
        name
        for name, value in ours.items()
        if name in said.settings
        and said.settings[name].casefold() != value.casefold()
        and (names_acs or name != "ACS_ENDPOINT")
    ]
    text = "; ".join(_told(said, ours, sorted(differing, key=lambda name: name not in _WHERE)))
    health = Health.BAD if set(differing) & set(_WHERE) else Health.GOOD
    return Deployed(_with_limits(own, said.settings), Finding("settings", health, text))


def _told(said: Published, ours: Mapping[str, str], differing: Sequence[str]) -> Iterator[str]:
    at = utc(said.started_at)
    yield f"deployed settings, published by the function {show(said.function)} {show(said.version)} at {at} UTC"
    for name in differing[:_NAMED]:
        there, here = (brief(show(each), _VALUE) or "empty" for each in (said.settings[name], ours[name]))
        yield f"{name} is {there} there and {here} here"
    if len(differing) > _NAMED:
        yield f"{len(differing) - _NAMED} more differ"
    if set(differing) & set(_WHERE):
        yield "this shell looks at something else than the function: set here what is set there"
    elif "OPT_IN_MAX_AGE" in differing:
        yield "`optout dlq` goes by the one here"


def _with_limits(own: Settings, said: Mapping[str, str]) -> Settings:
    try:
        return own.model_copy(
            update={
                "opt_in_max_age": _SPAN.validate_python(said["OPT_IN_MAX_AGE"]),
                "call_horizon": _SPAN.validate_python(said["CALL_HORIZON"]),
                "retry_schedule": tuple(map(_SPAN.validate_python, filter(None, said["RETRY_SCHEDULE"].split(",")))),
            }
        )
    except (KeyError, ValidationError):
        # Of another version, or written by hand.
        return own
