"""What people and programs see: results on standard output, progress and errors on standard error."""

import json
import signal
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from optout_core.numbers import mask_text
from optout_core.reasons import Replay
from optout_ops.exits import Guarded

#: Columns where the output is no terminal: tables must not depend on where they are read.
_WIDTH = 132

_COLOURS = {Replay.SAFE: "green", Replay.AFTER_A_FIX: "yellow", Replay.NEVER: "red"}


def out() -> Console:
    """Give the console for results."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)


def err() -> Console:
    """Give the console for progress and errors."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else _WIDTH, highlight=False)


def show_json(document: object) -> None:
    """Write one JSON document."""
    json.dump(document, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def say(text: str) -> None:
    """Write a line for people to standard error."""
    err().print(mask_text(text), markup=False, soft_wrap=True)


def table(*columns: str, **options: Any) -> Table:
    """Make a table in the style of all tables; what others wrote goes through `plain` before it goes into a cell."""
    made = Table(box=None, pad_edge=False, header_style="bold", **options)
    for column in columns:
        right = column.startswith(">")
        made.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    return made


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], spare: Collection[str]) -> None:
    """Print a table; where the terminal is narrow without the columns to spare, since cut words cannot be looked up."""
    console = out()
    kept = [
        number for number, column in enumerate(columns) if console.width >= _WIDTH or column.strip(">") not in spare
    ]
    made = table(*(columns[number] for number in kept))
    for row in rows:
        made.add_row(*(row[number] for number in kept))
    console.print(made)


def plain(text: str) -> str:
    """Take out of a text whatever would steer the terminal or Rich."""
    return escape("".join(character if character.isprintable() else "?" for character in text))


def coloured(replay: Replay) -> str:
    """Write a verdict in its colour."""
    return f"[{_COLOURS[replay]}]{replay}[/]"


def at(time: datetime) -> str:
    """Write a time: UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def as_text(properties: Mapping[str, object]) -> dict[str, object]:
    """Give application properties as JSON takes them, numbers masked."""
    return {
        name: value if isinstance(value, bool | int | float) else mask_text(str(value))
        for name, value in properties.items()
    }


def confirm(question: str, *, yes: bool, word: str = "y", option: str = "--yes") -> None:
    """Ask on the terminal, and go on only when the answer is `word`; `option` says the same without asking.

    Raises:
        Guarded: It is not, or there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise Guarded(f"{question} Nobody is there to ask: nothing was changed; say {option} to go on")
    err().print(f"{question} [{word}] ", end="", markup=False, soft_wrap=True)
    with _plain_interrupt():
        answer = sys.stdin.readline()
    if answer.strip().lower() != word:
        raise Guarded("nothing was changed")


@contextmanager
def _plain_interrupt() -> Iterator[None]:
    """Let Ctrl-C end the command while it waits for an answer: the event loop, told of it otherwise, waits too."""
    try:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
    except ValueError:
        # Not the main thread: no signal arrives here anyway.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Progress]:
    """Show a bar with rate and time left while the block runs, on a terminal only."""
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err(), transient=True, disable=not sys.stderr.isatty()) as bar:
        bar.add_task(what, total=total, rate="")
        yield bar


def advance(bar: Progress, done: int) -> None:
    """Move a bar to where the work is."""
    task = bar.tasks[0]
    bar.update(task.id, completed=done, rate=f"{done / task.elapsed:,.0f}/s" if task.elapsed else "")
