"""How far a command is: one live line on a terminal, a line now and then elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from optout_core.masking import show
from optout_ops.cli.terminal import busy_console, err, say
from optout_ops.queues.waiting import SILENCE


class Live:
    """One line on the terminal that says how far something is; elsewhere a line now and then.

    Attributes:
        bar: What draws the line.
    """

    def __init__(self, what: str, total: int | None) -> None:
        """Take what is done, and to how many things; None where that is not known."""
        self._what = what
        self._total = total
        self._done = 0
        self._said_at = monotonic()
        self.bar = Progress(
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=err(),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self.bar.add_task(what, total=total, rate="", note="")

    def advance(self, done: int) -> None:
        """Say that so many of the messages are done."""
        self._done = done
        elapsed = self.bar.tasks[0].elapsed
        self.bar.update(self._task, completed=done, rate=f"{done / elapsed:,.0f}/s" if elapsed else "")
        if self.bar.disable and monotonic() - self._said_at >= SILENCE:
            self._say(f"{self._what}: {done:,}" + ("" if self._total is None else f" of {self._total:,}"))

    def note(self, text: str) -> None:
        """Say something about it."""
        if self.bar.disable:
            self._say(text)
        else:
            self.bar.update(self._task, note=escape(show(text)))

    def _say(self, text: str) -> None:
        self._said_at = monotonic()
        say(text)


@contextmanager
def live(what: str, total: int | None) -> Iterator[Live]:
    """Show a live line while the block runs.

    Args:
        what: What is done, such as `replaying`.
        total: To how many things; None where that is not known.
    """
    shown = Live(what, total)
    with shown.bar:
        token = busy_console.set(shown.bar.console)
        try:
            yield shown
        finally:
            busy_console.reset(token)
