"""How a command of the sandbox ends: signals, errors, exit codes.

The first Ctrl-C, SIGTERM or SIGHUP lets what is under way come to its end; the second one ends everything at once.
"""

import asyncio
import errno
import os
import re
import signal
from collections.abc import Coroutine
from contextlib import suppress
from enum import IntEnum
from functools import partial
from http import HTTPStatus
from typing import Any, NoReturn

import typer
from azure.servicebus.exceptions import MessagingEntityNotFoundError, ServiceBusError
from rich.markup import escape

from optout_core.errors import SettingsError
from optout_core.masking import show
from sandbox.host import HostEnded
from sandbox.host_json import HostError
from sandbox.output import OutputFailed, tell
from sandbox.starting import ENDING
from servicebus_sandbox import EntityNotFound

#: Seconds after which whoever waits for the end is told for what.
_PATIENCE = 1.0


class Exit(IntEnum):
    """What an exit code means; a command that a signal interrupted ends with 128 and the signal's number."""

    SETTLED = 0
    WAITING = 1
    USAGE = 2
    UNREACHABLE = 4
    INTERRUPTED = 130


class _Interrupted(Exception):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def run(work: Coroutine[Any, Any, Any], *, stays: bool = False) -> Any:  # noqa: ANN401 - what the work gives
    """Run a command to its end.

    Args:
        work: The command.
        stays: Whether it stays up until a signal ends it, which is then no interruption.

    Raises:
        typer.Exit: It did not come to its end by itself.
    """
    gone = "the sandbox and all that was in it are gone"
    try:
        return asyncio.run(_until_told(work))
    except (_Interrupted, KeyboardInterrupt) as interrupted:
        # KeyboardInterrupt comes where the event loop takes no signal handlers.
        number = interrupted.number if isinstance(interrupted, _Interrupted) else signal.SIGINT
        tell(f"{'Ended' if stays else 'Interrupted'}; {gone}.")
        raise typer.Exit(Exit.SETTLED if stays else 128 + number) from None
    except OutputFailed as failed:
        if not isinstance(failed.__cause__, BrokenPipeError):
            fail(Exit.USAGE, f"standard output cannot be written ({failed}); {gone}; send it elsewhere")
        # Whoever read had seen enough.
        if stays:
            tell(f"Ended, since nobody reads standard output any more; {gone}.")
        raise typer.Exit(Exit.SETTLED) from None
    except _EXPECTED as error:
        fail(*_explain(error))


def fail(code: Exit, text: str) -> NoReturn:
    """End with an error of one line.

    Raises:
        typer.Exit: Always.
    """
    tell(f"[red]Error:[/] {escape(show(text))}")
    raise typer.Exit(code)


#: As asyncio names the address that it cannot listen on.
_PORT = re.compile(r"\('127\.0\.0\.1', ([0-9]+)\)")
_EXPECTED = (SettingsError, HostError, HostEnded, ServiceBusError, EntityNotFound, OSError, ValueError)


def _explain(error: Exception) -> tuple[Exit, str]:
    if isinstance(error, HostEnded):
        return Exit.WAITING, str(error)
    if isinstance(error, ServiceBusError | EntityNotFound):
        # The service says so when a token for the queue is shown, and the SDK reports every refused token alike.
        status = getattr(getattr(error, "inner_exception", None), "status_code", None)
        if isinstance(error, MessagingEntityNotFoundError | EntityNotFound) or status == HTTPStatus.NOT_FOUND:
            return Exit.UNREACHABLE, "the namespace has no such queue; check OPT_IN_QUEUE and DEAD_LETTER_QUEUE"
        lost = f"the broker cannot be reached ({type(error).__name__}); nothing was lost; check --broker"
        return Exit.UNREACHABLE, lost
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE and (port := _PORT.search(str(error))):
        return Exit.USAGE, f"port {port[1]} is in use: end what listens there, or leave the option out for a free one"
    if isinstance(error, OSError) and error.filename is not None:
        return Exit.USAGE, f"{error.filename} cannot be read: {error.strerror}"
    return Exit.USAGE, str(error)


async def _until_told(work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - what the work gives
    loop = asyncio.get_running_loop()
    working = asyncio.ensure_future(work)
    told: int | None = None

    def end(number: int) -> None:
        nonlocal told
        if told is not None:
            tell("Ended at once, in the middle of what was under way.")
            # Nothing outlives the process, and what does not come to its end may block whatever is tidier.
            os._exit(128 + number)
        told = number
        working.cancel()
        loop.call_later(_PATIENCE, tell, "Waiting for what is under way; the same again ends it at once.")

    for number in ENDING:
        # Who starts us decides what does not reach us: nohup, or a shell that runs us in the background.
        if signal.getsignal(number) is not signal.SIG_IGN:
            with suppress(NotImplementedError):
                loop.add_signal_handler(number, partial(end, number))
    await asyncio.wait((working,))
    # What fails while it is being ended is part of the end.
    if told is not None and (working.cancelled() or working.exception() is not None):
        raise _Interrupted(told)
    return working.result()
