"""How the sandbox ends while it still starts: the libraries take a second to import. Imports next to nothing itself."""

import os
import signal
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Ctrl-C; a service manager or a container; a terminal that was closed. Windows has no SIGHUP.
ENDING = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let each of the signals end the process in a line while the block imports: nothing is begun that has an end."""
    before = {}
    # Outside the main thread no signal arrives.
    with suppress(ValueError):
        for each in ENDING:
            # Who starts us decides what does not reach us: nohup, or a shell that runs us in the background.
            if signal.getsignal(each) is not signal.SIG_IGN:
                before[each] = signal.signal(each, _end)
    try:
        yield
    finally:
        for each, previous in before.items():
            signal.signal(each, previous)


def _end(number: int, _frame: types.FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, b"Interrupted before anything was started.\n")
    # An exception would pass through modules that are half imported.
    os._exit(128 + number)
