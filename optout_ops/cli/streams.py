"""Standard output and standard error that a command outlives: its work goes on when nobody reads them any more."""

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO


class Lasting:
    """A stream that takes what is written to it and drops it once its reader is gone.

    A replay must not end half way because `head` had read enough, a terminal hung up, or a disk is full. Whether output
    was lost stands in `output_is_lost` and `output_failure`, for the exit code.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        try:
            return self._stream.write(text)
        except OSError as error:
            _give_up(self._stream, error)
            return len(text)
        except UnicodeEncodeError:
            # A terminal that does not know the dot of a masked number.
            encoding = self._stream.encoding or "ascii"
            return self.write(text.encode(encoding, "replace").decode(encoding))

    def flush(self) -> None:
        """Hand on what was written, or drop it."""
        try:
            self._stream.flush()
        except OSError as error:
            _give_up(self._stream, error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class EndingOutput(Lasting):
    """Standard output for what changes nothing: its work need not go on when its results cannot be written."""

    def write(self, text: str) -> int:
        """Write a text.

        Raises:
            BrokenPipeError: It cannot be written, or nobody reads it.
        """
        written = super().write(text)
        if "stdout" in _lost:
            raise BrokenPipeError
        return written


#: The streams to which something could not be written, by name: why, or "" where whoever read them went away.
_lost: dict[str, str] = {}


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


def output_failure() -> str | None:
    """Say why a part of the results could not be written, such as a full disk, and flush the rest.

    None when all was written, and when whoever read them went away: that is nobody's mistake.
    """
    return (_lost["stdout"] or None) if output_is_lost() else None


def give_up_output() -> None:
    """Drop everything that is still to be written to standard output."""
    _give_up(sys.stdout)


def begin() -> None:
    """Begin anew, since a process may run the command line more than once; what was closed before we began is dropped.

    Python has no stream for a descriptor that is closed (`>&-`), and the next file that is opened would get its number.
    """
    _lost.clear()
    # In the order of their numbers: each gets the lowest that is free.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the process ends
            _lost[name] = ""


def _give_up(stream: TextIO, error: OSError | None = None) -> None:
    # A terminal that hung up gives EIO.
    why = "" if error is None or error.errno in {errno.EPIPE, errno.EIO} else str(error.strerror)
    _lost.setdefault("stdout" if stream is sys.stdout else "stderr", why)
    # Else Python would fail again when it flushes the stream at its end.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
