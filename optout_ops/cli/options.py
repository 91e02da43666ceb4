"""The options that commands share, each group written down once.

A command takes a parameter whose type is one of the groups; `command` unfolds it into the group's options, so that they
are the same everywhere.
"""

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, get_type_hints

import typer

from optout_core.reasons import Reason
from optout_ops.exits import Mistake
from optout_ops.letters.filters import Filter
from optout_ops.letters.verdicts import Rule
from optout_ops.wording import read_duration, read_past

_DEFAULT_MAX_REPLAYS = 3
_STATUS = re.compile(r"[1-5]([0-9]{2}|xx)", re.IGNORECASE)


@dataclass(frozen=True)
class Reach:
    """Where the queues are, and for whom the output is."""

    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            metavar="NAME",
            help="Service Bus namespace, reached with Entra ID; without it, ServiceBusConnection of the environment.",
        ),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output and nothing else.")] = (
        False
    )


@dataclass(frozen=True)
class Which:
    """Which dead letters are meant."""

    reason: Annotated[
        list[str] | None, typer.Option("--reason", metavar="CODE", help="Reason code; may be repeated.")
    ] = None
    sender: Annotated[str | None, typer.Option("--sender", metavar="NUMBER", help="Sender of the event.")] = None
    event: Annotated[str | None, typer.Option("--event", metavar="ID", help="Id of the event.")] = None
    to: Annotated[
        str | None, typer.Option("--to", metavar="NUMBER", help="A recipient; matched, never shown in full.")
    ] = None
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Dead-lettered at or after this time, UTC, or so long ago: 24h."),
    ] = None
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Dead-lettered before this time, likewise.")
    ] = None
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="DURATION", help="Dead-lettered so long ago: 45m, 2h, 3d."),
    ] = None
    attempts: Annotated[
        int | None, typer.Option("--attempts", min=0, help="At least so many attempts were used up.")
    ] = None
    status: Annotated[
        str | None, typer.Option("--status", metavar="HTTP", help="Last answer of ACS: 429, or 5xx for all of them.")
    ] = None
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many, the first in the queue.")] = None

    def filter(self) -> Filter:
        """Give the filter.

        Raises:
            Mistake: A value does not do.
        """
        now = datetime.now(UTC)
        if self.status is not None and not _STATUS.fullmatch(self.status):
            raise Mistake(f"--status {self.status} must be such as 429 or 5xx; nothing was touched")
        known = {reason.lower() for reason in Reason}
        for code in self.reason or ():
            if code.lower() not in known:
                raise Mistake(f"--reason {code}: there is no such reason; there are {', '.join(Reason)}")
        return Filter(
            reasons=frozenset(code.lower() for code in self.reason or ()),
            sender=self.sender,
            event=self.event,
            to=self.to,
            since=_read("--since", self.since, lambda text: read_past(text, now)),
            until=_read("--until", self.until, lambda text: read_past(text, now)),
            older_than=_read("--older-than", self.older_than, read_duration),
            attempts=self.attempts,
            status=self.status,
            limit=self.limit,
        )


@dataclass(frozen=True)
class Judging:
    """When a replay is wise."""

    max_age: Annotated[
        str | None,
        typer.Option(
            "--max-age",
            metavar="DURATION",
            help="Never replay an opt-in older than this; OPT_IN_MAX_AGE when left out. The function checks again.",
        ),
    ] = None
    max_replays: Annotated[
        int, typer.Option("--max-replays", min=1, help="Never replay what was replayed so often.")
    ] = _DEFAULT_MAX_REPLAYS
    fixed: Annotated[
        bool, typer.Option("--fixed", help="The cause is mended: also replay what may be replayed after a fix.")
    ] = False

    def rule(self, opt_in_max_age: timedelta) -> Rule:
        """Give the rule.

        Raises:
            Mistake: The age does not do.
        """
        return Rule(_read("--max-age", self.max_age, read_duration) or opt_in_max_age, self.max_replays, self.fixed)


Reveal = Annotated[bool, typer.Option("--reveal", help="Show numbers in full; written to the audit trail.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Rate = Annotated[float, typer.Option("--rate", min=0.01, help="At most so many messages a second.")]


def command(app: typer.Typer, name: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a command whose groups of options are unfolded."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        hints = get_type_hints(function, include_extras=True)
        groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
        parameters = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name in groups:
                parameters += _parameters(groups[parameter.name])
            else:
                parameters.append(parameter.replace(annotation=hints[parameter.name], kind=parameter.KEYWORD_ONLY))

        @functools.wraps(function)
        def call(**given: Any) -> Any:
            folded = {
                name: kind(**{field.name: given.pop(field.name) for field in fields(kind)})
                for name, kind in groups.items()
            }
            return function(**given, **folded)

        del call.__wrapped__
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {}
        app.command(name)(call)
        return function

    return register


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(group)
    ]


def _read(option: str, text: str | None, read: Callable[[str], Any]) -> Any:
    try:
        return None if text is None else read(text)
    except ValueError as error:
        raise Mistake(f"{option} {error}; nothing was touched") from None
