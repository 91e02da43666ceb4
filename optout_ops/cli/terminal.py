"""The terminal: results on standard output, progress, questions and errors on standard error."""

import getpass
import os
import sys
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from optout_core.masking import show
from optout_core.reasons import Replay
from optout_ops import json_lines
from optout_ops.cli.streams import messages, output
from optout_ops.exits import Guarded
from optout_ops.health.findings import Health
from optout_ops.signals import raising_interrupts

#: Columns when the output is not a terminal: nothing is folded or cut there.
_ENDLESS = 100_000
#: Characters of a cell on a terminal: an id of another tool may have thousands.
_CELL = 44
#: Columns that a terminal needs for all columns of a table.
_WIDE = 132

#: The console of the live line that is shown now.
busy_console: ContextVar[Console | None] = ContextVar("console", default=None)

#: The colour of each health.
HEALTH = {Health.GOOD: "green", Health.BAD: "red", Health.UNKNOWN: "yellow"}
_COLOURS = {Replay.SAFE: "green", Replay.DONE: "green", Replay.AFTER_A_FIX: "yellow", Replay.NEVER: "red"}


def out() -> Console:
    """Give the console for results."""
    return Console(file=output(), width=None if sys.stdout.isatty() else _ENDLESS, highlight=False)


def err() -> Console:
    """Give the console for progress and errors."""
    if (busy := busy_console.get()) is not None:
        # Lines are printed above the live one.
        return busy
    return Console(file=messages(), width=None if sys.stderr.isatty() else _ENDLESS, highlight=False)


def show_json(document: object) -> None:
    """Write one JSON document."""
    output().write(json_lines.write(document, indent=2) + "\n")


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


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Collection[str] = ()) -> None:
    """Print a table: on a terminal in columns, through a pager when it is long; elsewhere whole, separated by tabs.

    Args:
        columns: The headings, as for `table`.
        rows: The cells, with the markup of Rich.
        spare: Headings that are left out, and named, on a narrow terminal: cut words cannot be looked up.
    """
    console, stream = out(), output()
    if not sys.stdout.isatty():
        for row in ([column.removeprefix(">") for column in columns], *rows):
            # Rich would make blanks of tabs.
            stream.write("\t".join(Text.from_markup(cell).plain for cell in row) + "\n")
        return
    is_wide = console.width >= _WIDE
    kept = [number for number, column in enumerate(columns) if is_wide or column.strip(">") not in spare]
    made = table(*(columns[number] for number in kept))
    for row in rows:
        made.add_row(*(_cell(row[number]) for number in kept))
    with _pager(console) if len(rows) >= console.height else nullcontext():
        console.print(made)
    if len(kept) < len(columns):
        left_out = ", ".join(column.strip(">") for column in columns if column.strip(">") in spare)
        say(f"Left out on {console.width} columns: {left_out}. A terminal of {_WIDE} columns shows all.")


def _cell(markup: str) -> Text:
    text = Text.from_markup(markup)
    text.truncate(_CELL, overflow="ellipsis")
    return text


def _pager(console: Console) -> AbstractContextManager[object]:
    # less shows colours only when it is told to, and ends at once when everything fits.
    os.environ.setdefault("LESS", "-FRSX")
    return console.pager(styles=True)


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
    if not agrees(question, word):
        raise Guarded("nothing was changed")


def asked(given: str | None, what: str) -> str:
    """Give what was typed: as an argument, at a prompt that does not show it, or as a line of standard input.

    Args:
        given: The argument; None or "-" where it was left out.
        what: What the prompt asks for.
    """
    if given == "-" or (given is None and not sys.stdin.isatty()):
        return sys.stdin.readline().strip()
    if given is None:
        with raising_interrupts():
            return getpass.getpass(f"{what} (not shown): ")
    return given


def agrees(question: str, word: str = "y") -> bool:
    """Ask on the terminal, and say whether the answer is `word`."""
    choices = "y/N" if word == "y" else word
    err().print(f"{question} [{choices}] ", end="", markup=False, soft_wrap=True)
    # The event loop, which handles the signals otherwise, waits.
    with raising_interrupts():
        answer = sys.stdin.readline()
    return answer.strip().lower() in ({"y", "yes"} if word == "y" else {word})
