"""The signals that end a command: Ctrl-C, `kill`, and the end of the terminal when an ssh session drops."""

import os
import signal
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from optout_ops.exits import ExitCode

#: Windows has no SIGHUP.
_ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def ending_signals() -> tuple[signal.Signals, ...]:
    """Give the signals that end a command, without those that whoever started us ignores, as `nohup` does."""
    return tuple(each for each in _ENDING if signal.getsignal(each) is not signal.SIG_IGN)


@contextmanager
def raising_interrupts() -> Iterator[None]:
    """Let each of the signals raise KeyboardInterrupt while the block runs."""
    with _handled(ending_signals(), _raise):
        yield


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let each of the signals end the process in a line while the block imports: nothing is begun that has an end."""
    with _handled(ending_signals(), _end):
        yield


@contextmanager
def leaving_interrupts_to_the_editor() -> Iterator[None]:
    """Let Ctrl-C pass while the block runs, for an editor knows it as a key; the other signals raise KeyboardInterrupt.

    A handler, unlike `SIG_IGN`, is not inherited by the program that is started in the block.
    """
    with raising_interrupts(), _handled((signal.SIGINT,), lambda _number, _frame: None):
        yield


def _raise(_number: int, _frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt


def _end(_number: int, _frame: types.FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, b"Interrupted before anything was done.\n")
    # An exception would pass through modules that are half imported.
    os._exit(ExitCode.INTERRUPTED)


@contextmanager
def _handled(
    signals: Iterable[signal.Signals], handler: Callable[[int, types.FrameType | None], None]
) -> Iterator[None]:
    before = {}
    try:
        for each in signals:
            try:
                before[each] = signal.signal(each, handler)
            except ValueError:
                # Not the main thread: no signal arrives here anyway.
                break
        yield
    finally:
        for each, previous in before.items():
            signal.signal(each, previous)
