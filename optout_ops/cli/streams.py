"""Standard output and standard error that a command outlives: its work goes on when nobody reads them any more."""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO


class Lasting:
    """A stream that takes what is written to it and drops it once its reader is gone.

    A replay must not end half way because `head` had read enough, or a terminal hung up. Whether output was lost stands
    in `output_is_lost`, for the exit code.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        try:
            return self._stream.write(text)
        except OSError:
            _give_up(self._stream)
            return len(text)
        except UnicodeEncodeError:
            # A terminal that does not know the dot of a masked number.
            encoding = self._stream.encoding or "ascii"
            return self.write(text.encode(encoding, "replace").decode(encoding))

    def flush(self) -> None:
        """Hand on what was written, or drop it."""
        try:
            self._stream.flush()
        except OSError:
            _give_up(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


#: The names of the streams whose reader went away.
_lost: set[str] = set()


def output() -> TextIO:
    """Give standard output."""
    return Lasting(sys.stdout)  # type: ignore[return-value]


def messages() -> TextIO:
    """Give standard error."""
    return Lasting(sys.stderr)  # type: ignore[return-value]


def output_is_lost() -> bool:
    """Say whether a part of the results reached nobody, and flush the rest."""
    output().flush()
    return "stdout" in _lost


def give_up_output() -> None:
    """Drop everything that is still to be written to standard output."""
    _give_up(sys.stdout)


def forget() -> None:
    """Begin anew: a process may run the command line more than once."""
    _lost.clear()


def _give_up(stream: TextIO) -> None:
    _lost.add("stdout" if stream is sys.stdout else "stderr")
    # Else Python would fail again when it flushes the stream at its end.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
