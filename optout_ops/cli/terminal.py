"""The terminal: results on standard output, progress, questions and errors on standard error."""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from optout_core.masking import show
from optout_core.reasons import Replay
from optout_ops.cli.streams import messages, output
from optout_ops.exits import Guarded
from optout_ops.signals import raising_interrupts

#: Columns when the output is not a terminal, so that tables in a file are always the same.
_WIDTH = 132

_COLOURS = {Replay.SAFE: "green", Replay.AFTER_A_FIX: "yellow", Replay.NEVER: "red"}


def out() -> Console:
    """Give the console for results."""
    return Console(file=output(), width=None if sys.stdout.isatty() else _WIDTH, highlight=False)


def err() -> Console:
    """Give the console for progress and errors."""
    return Console(file=messages(), width=None if sys.stderr.isatty() else _WIDTH, highlight=False)


def show_json(document: object) -> None:
    """Write one JSON document."""
    stream = output()
    json.dump(document, stream, ensure_ascii=False, indent=2)
    stream.write("\n")


def say(text: str) -> None:
    """Write a line for people to standard error."""
    err().print(show(text), markup=False, soft_wrap=True)


def say_stopping() -> None:
    """Say that the first interruption was heard."""
    say("Stopping where nothing is half done; Ctrl-C again stops at once.")


def table(*columns: str, **options: Any) -> Table:
    """Make a table; text from outside has to go through `plain` before it goes into a cell.

    Args:
        columns: The headings; one that begins with `>` is aligned to the right.
        options: Options of Rich's table.
    """
    made = Table(box=None, pad_edge=False, header_style="bold", **options)
    for column in columns:
        right = column.startswith(">")
        made.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    return made


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], spare: Collection[str]) -> None:
    """Print a table; on a narrow terminal without the columns of `spare`, since cut words cannot be looked up."""
    console = out()
    kept = [
        number for number, column in enumerate(columns) if console.width >= _WIDTH or column.strip(">") not in spare
    ]
    made = table(*(columns[number] for number in kept))
    for row in rows:
        made.add_row(*(row[number] for number in kept))
    console.print(made)


def plain(text: str) -> str:
    """Replace control characters of a text, which would steer the terminal, and escape the markup of Rich."""
    return escape("".join(character if character.isprintable() else "?" for character in text))


def coloured(advice: Replay) -> str:
    """Write the advice of a verdict in its colour."""
    return f"[{_COLOURS[advice]}]{advice}[/]"


def confirm(question: str, *, yes: bool, word: str = "y", option: str = "--yes") -> None:
    """Ask on the terminal, and return only when the answer is `word`.

    Args:
        question: The question.
        yes: Whether the operator agreed beforehand; then nothing is asked.
        word: The answer that agrees.
        option: The option that agrees beforehand; an error names it.

    Raises:
        Guarded: The answer is another one, or standard input is not a terminal.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise Guarded(f"{question} Nobody is there to ask: nothing was changed; say {option} to go on")
    err().print(f"{question} [{word}] ", end="", markup=False, soft_wrap=True)
    # The event loop, which handles the signals otherwise, waits.
    with raising_interrupts():
        answer = sys.stdin.readline()
    if answer.strip().lower() != word:
        raise Guarded("nothing was changed")


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar with rate and remaining time while the block runs, on a terminal only.

    Yields:
        The function that moves the bar to a number of `total`.
    """
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err(), transient=True, disable=not sys.stderr.isatty()) as bar:
        bar.add_task(what, total=total, rate="")
        [task] = bar.tasks

        def advance(done: int) -> None:
            bar.update(task.id, completed=done, rate=f"{done / task.elapsed:,.0f}/s" if task.elapsed else "")

        yield advance
