"""The options that several commands have, in groups, so that they are the same everywhere.

A command has a parameter whose type is a group, and `command` gives the command line one option for each field of it.
"""

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from typing import Annotated, Any, get_type_hints

import typer

from optout_core.settings import Settings
from optout_ops.cli.outside import Outside
from optout_ops.cli.streams import output_is_lost
from optout_ops.cli.terminal import asked
from optout_ops.exits import ExitCode, Mistake
from optout_ops.letters.filters import Filter
from optout_ops.letters.verdicts import ReplayRule
from optout_ops.wording import read_duration, read_past

_DEFAULT_MAX_REPLAYS = 3
#: The commands that change something.
_CHANGING = frozenset({"send", "replay", "import", "edit", "purge", "erase", "prune", "migrate"})
_STATUS = re.compile(r"[1-5]([0-9]{2}|xx)", re.IGNORECASE)


Ending = Annotated[
    bool,
    typer.Option("--ending", help="Those in their last days, in the queue from which the broker deletes them."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output and nothing else.")]


@dataclass(frozen=True, kw_only=True)
class Reach:
    """The options of every command about queues: where they are, and in which form the output is."""

    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            metavar="NAME",
            help="Service Bus namespace, reached with Entra ID. Without it, ServiceBusConnection of the environment.",
        ),
    ] = None
    as_json: AsJson = False


@dataclass(frozen=True, kw_only=True)
class Which:
    """The filters that choose dead letters."""

    number: Annotated[
        list[int] | None, typer.Option("--number", metavar="N", min=1, help="Sequence number; may be repeated.")
    ] = None
    reason: Annotated[
        list[str] | None,
        typer.Option(
            "--reason", metavar="CODE", help="Reason code, (none), or (foreign) for any not ours; may be repeated."
        ),
    ] = None
    sender: Annotated[str | None, typer.Option("--sender", metavar="NUMBER", help="Sender of the event.")] = None
    event: Annotated[str | None, typer.Option("--event", metavar="ID", help="Id of the event.")] = None
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="NUMBER", help="A recipient; - reads it from standard input. Never shown."),
    ] = None
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Dead-lettered at or after this time (UTC), or in the last 24h."),
    ] = None
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="Dead-lettered before this time, or before the last 24h."),
    ] = None
    attempts: Annotated[
        int | None, typer.Option("--attempts", metavar="N", min=0, help="At least this many attempts were used up.")
    ] = None
    status: Annotated[
        str | None, typer.Option("--status", metavar="HTTP", help="Last HTTP status of ACS: 429, or 5xx for a class.")
    ] = None
    code: Annotated[str | None, typer.Option("--code", metavar="CODE", help="Last error code of ACS.")] = None
    source: Annotated[
        str | None, typer.Option("--source", metavar="SOURCE", help="Publisher: the `source` of the event.")
    ] = None
    from_replay: Annotated[
        str | None,
        typer.Option("--replay", metavar="ID", help="The replay that sent it last and that it came back from."),
    ] = None
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the newest N of them.")] = None

    def filter(self, now: datetime) -> Filter:
        """Give the filter; `now` is the current time, aware.

        Raises:
            Mistake: A value cannot be read.
        """
        if self.status is not None and not _STATUS.fullmatch(self.status):
            raise Mistake(f"--status {self.status} must be such as 429 or 5xx; nothing was touched")
        return Filter(
            numbers=frozenset(self.number or ()),
            reasons=frozenset(code.lower() for code in self.reason or ()),
            sender=self.sender,
            event=self.event,
            to=asked(self.to, "Number") if self.to == "-" else self.to,
            since=_read("--since", self.since, lambda text: read_past(text, now)),
            until=_read("--until", self.until, lambda text: read_past(text, now)),
            code=self.code,
            source=self.source,
            replay=self.from_replay,
            attempts=self.attempts,
            status=self.status,
            written={name: text for name, text in (("since", self.since), ("until", self.until)) if text is not None},
            limit=self.limit,
        )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits that a dead letter has to keep to be replayed."""

    max_age: Annotated[
        str | None,
        typer.Option(
            "--max-age",
            metavar="DURATION",
            help="Never replay an opt-in older than this. OPT_IN_MAX_AGE when left out; the function checks again.",
        ),
    ] = None
    max_replays: Annotated[
        int,
        typer.Option(
            "--max-replays", metavar="N", min=1, help="Never replay a dead letter that was replayed this often."
        ),
    ] = _DEFAULT_MAX_REPLAYS

    def rule(self, settings: Settings) -> ReplayRule:
        """Give the rule that these settings make; OPT_IN_MAX_AGE holds unless `--max-age` is given.

        Raises:
            Mistake: The age cannot be read.
        """
        max_age = _read("--max-age", self.max_age, read_duration) or settings.opt_in_max_age
        return ReplayRule(
            max_age=max_age, max_replays=self.max_replays, allowed_senders=frozenset(settings.allowed_senders)
        )


@dataclass(frozen=True, kw_only=True)
class Judging(Limits):
    """The limits, and what the operator says of the cause, for the commands that replay."""

    fixed: Annotated[
        bool,
        typer.Option("--fixed", help="The cause is fixed: replay the verdict 'after a fix' too."),
    ] = False

    def rule(self, settings: Settings) -> ReplayRule:
        """Give the rule, as `Limits` does."""
        return replace(Limits.rule(self, settings), fixed=self.fixed)


Number = Annotated[
    str | None,
    typer.Argument(
        metavar="[NUMBER]",
        help="The person. Left out it is asked for, or read from standard input, and stays out of the shell's history.",
        show_default=False,
    ),
]
OfSender = Annotated[str, typer.Option("--from", metavar="SENDER", help="Whose messages the words are about.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show numbers in full. Written to the audit trail.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why you do this, for the audit trail.")]
Rate = Annotated[float, typer.Option("--rate", metavar="N", min=0.01, help="At most this many messages a second.")]


def command(app: typer.Typer, name: str, function: Callable[..., int]) -> None:
    """Add a command, with one option for each field of its groups, and with the `Outside` that `main` was given."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind) and kind is not Outside}
    parameters = [inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in groups:
            parameters += _parameters(groups[parameter.name])
        elif hints[parameter.name] is not Outside:
            parameters.append(parameter.replace(annotation=hints[parameter.name], kind=parameter.KEYWORD_ONLY))

    @functools.wraps(function)
    def call(context: typer.Context, **given: Any) -> int:
        folded = {
            each: kind(**{field.name: given.pop(field.name) for field in fields(kind)}) for each, kind in groups.items()
        }
        try:
            code = function(context.obj, **given, **folded)
        except KeyboardInterrupt:
            # Typer would make an exit code of it, in silence.
            raise typer.Abort from None
        if name in _CHANGING and output_is_lost() and code == ExitCode.DONE:
            # What was done is done, and whoever asked was not told.
            return ExitCode.SOME_FAILED
        return code

    del call.__wrapped__
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {}
    app.command(name)(call)


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
