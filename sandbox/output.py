"""What the sandbox writes: results on standard output, and words for people on standard error.

Both go past Python's own buffers: what could not be written once would fail again when the interpreter ends, with a
traceback and an exit code of its own.
"""

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from io import StringIO
from queue import SimpleQueue

from rich.console import Console, RenderableType
from rich.status import Status

_OUT, _ERR = 1, 2

#: Lines that wait for a slow reader; what comes beyond is counted and left out.
_MOST_WAITING = 20_000
#: Seconds that the lines which still wait have when the sandbox ends.
_LAST_LINES = 2.0


class OutputFailed(Exception):
    """Standard output cannot be written, or nobody reads it any more; the cause is the OSError."""


def write_line(text: str) -> None:
    """Write a line to standard output.

    Raises:
        OutputFailed: It cannot be written.
    """
    try:
        _write(_OUT, f"{text}\n")
    except OSError as error:
        raise OutputFailed(str(error)) from error


def tell(*rendered: RenderableType) -> None:
    """Write lines for people to standard error; whoever does not read it does not want to know."""
    console = Console(file=StringIO(), force_terminal=os.isatty(_ERR), width=_width(_ERR), highlight=False)
    with suppress(OSError):
        _write(_ERR, _rendered(console, rendered))


@contextmanager
def page() -> Iterator[Console]:
    """Collect what is printed to a console, and write it to standard output at the end.

    Raises:
        OutputFailed: It cannot be written.
    """
    console = Console(file=StringIO(), force_terminal=os.isatty(_OUT), width=_width(_OUT))
    yield console
    write_line(_text(console).removesuffix("\n"))


def status(text: str) -> Status:
    """Show what is under way on standard error, where that is a terminal."""
    console = Console(stderr=True) if os.isatty(_ERR) else Console(file=StringIO())
    return console.status(text)


class LineWriter:
    """Writes lines to standard output from a thread of its own, so that a slow reader holds up nobody."""

    def __init__(self) -> None:
        """Begin; `failed` gets the error when a line cannot be written."""
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        # At the end nobody asks for it any more, and asyncio would tell of that.
        self.failed.add_done_callback(lambda failed: failed.cancelled() or failed.exception())
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._left_out = 0
        self._thread = threading.Thread(target=self._work, daemon=True, name="lines")
        self._thread.start()

    def write(self, line: str) -> None:
        """Write a line in its turn, or leave it out where too many wait."""
        if self._lines.qsize() >= _MOST_WAITING:
            self._left_out += 1
            return
        self._say_what_was_left_out()
        self._lines.put(line)

    def fail(self, error: OutputFailed) -> None:
        """Note that nothing can be written any more."""
        if not self.failed.done():
            self.failed.set_exception(error)

    async def close(self) -> None:
        """Write what waits, as far as it is read in time."""
        self._say_what_was_left_out()
        self._lines.put(None)
        await asyncio.to_thread(self._thread.join, _LAST_LINES)
        self.failed.cancel()

    def _say_what_was_left_out(self) -> None:
        if self._left_out:
            self._lines.put(f"… {self._left_out:,} lines left out: they came faster than they were read")
            self._left_out = 0

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                write_line(line)
            except OutputFailed as error:
                # The loop may have ended meanwhile.
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self.fail, error)
                return


@asynccontextmanager
async def lines() -> AsyncIterator[LineWriter]:
    """Write lines while the block runs, and notice as well between two lines when nobody reads them any more."""
    writer = LineWriter()
    loop = asyncio.get_running_loop()
    # The writing end of a pipe becomes readable when its reader is gone.
    is_pipe = False
    with suppress(OSError):
        is_pipe = stat.S_ISFIFO(os.fstat(_OUT).st_mode)
    if is_pipe:
        gone = OutputFailed("nobody reads it any more")
        gone.__cause__ = BrokenPipeError()

        def end() -> None:
            loop.remove_reader(_OUT)
            writer.fail(gone)

        loop.add_reader(_OUT, end)
    try:
        yield writer
    finally:
        if is_pipe:
            loop.remove_reader(_OUT)
        await writer.close()


def _write(descriptor: int, text: str) -> None:
    content = memoryview(text.encode(errors="replace"))
    while content:
        content = content[os.write(descriptor, content) :]


def _width(descriptor: int) -> int | None:
    # A console that writes into memory cannot ask the terminal.
    with suppress(OSError):
        return os.get_terminal_size(descriptor).columns
    return None


def _rendered(console: Console, rendered: tuple[RenderableType, ...]) -> str:
    for each in rendered:
        console.print(each, soft_wrap=True)
    return _text(console)


def _text(console: Console) -> str:
    return console.file.getvalue() if isinstance(console.file, StringIO) else ""
