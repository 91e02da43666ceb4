"""The operator's machine: settings, folders, and the signals that end a command."""

import asyncio
import re
import secrets
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import typer

from optout_core.errors import SettingsError
from optout_core.settings import Settings
from optout_ops.exits import Mistake
from optout_ops.signals import ending_signals, raising_interrupts

#: The endpoint for commands that need none; nothing is ever sent to this reserved name (RFC 2606).
_NO_ENDPOINT = "https://unset.invalid"
_BROKER = ("ServiceBusConnection", "ServiceBusConnection__fullyQualifiedNamespace")

_NAMESPACE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]+)?")

#: Seconds between two tries to cancel a command.
_CANCEL_AGAIN = 0.2

T = TypeVar("T")


def read_settings(
    environ: Mapping[str, str], namespace: str | None, *, needs_acs: bool = False, needs_queues: bool = True
) -> Settings:
    """Read the settings of the function, as far as the command needs them.

    Args:
        environ: The environment.
        namespace: The value of `--namespace`, which wins over the environment. A name without dots gets Azure's public
            domain.
        needs_acs: Whether ACS_ENDPOINT must be set; then the command can do without the namespace.
        needs_queues: Whether the command does anything with the namespace.

    Raises:
        Mistake: A setting is missing or wrong.
    """
    settings = dict(environ)
    if namespace is not None:
        settings.pop(_BROKER[0], None)
        name = namespace.strip().removeprefix("sb://").rstrip("/")
        if not _NAMESPACE.fullmatch(name):
            raise Mistake("--namespace must be a name such as shop-prod, or a host; nothing was touched")
        settings[_BROKER[1]] = name if "." in name else f"{name}.servicebus.windows.net"
    if not any(settings.get(name) for name in _BROKER):
        if needs_queues and not needs_acs:
            raise Mistake("no namespace: give --namespace NAME, or set ServiceBusConnection; nothing was touched")
        settings[_BROKER[1]] = "unset.invalid"
    if not needs_acs:
        settings["ACS_ENDPOINT"] = settings.get("ACS_ENDPOINT") or _NO_ENDPOINT
    try:
        return Settings.from_environ(settings)
    except SettingsError as error:
        raise Mistake(f"{error}; nothing was touched") from None


def state_folder() -> Path:
    """Give the folder in which this user's audit trail and archives are kept."""
    return Path(typer.get_app_dir("optout"))


def audit_path(environ: Mapping[str, str]) -> Path:
    """Give the file of the audit trail."""
    return Path(environ["OPTOUT_AUDIT"]) if environ.get("OPTOUT_AUDIT") else state_folder() / "audit.jsonl"


def new_run_id() -> str:
    """Give an id that sorts by time and that no other run has: `20260123T030405Z-1f2e3d`."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def run(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]], *, stopping: Callable[[], None] | None = None) -> T:
    """Run a command that can be interrupted: by Ctrl-C, by `kill`, or by the end of its terminal.

    Args:
        work: The command; it is given an event that an interruption sets.
        stopping: Given when the command changes something: then the first interruption only sets the event and calls
            this, so that the command can end where nothing is half done, and the second one cancels it. Otherwise the
            first one cancels it.

    Raises:
        KeyboardInterrupt: The command was cancelled.
    """

    async def main() -> T:
        stop, ended = asyncio.Event(), False
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()

        def end() -> None:
            nonlocal ended
            ended = True
            if task is not None and not task.done():
                task.cancel()
                # The SDK waits with asyncio.wait_for, which can swallow a cancellation before Python 3.12.
                loop.call_later(_CANCEL_AGAIN, end)

        def interrupt() -> None:
            if stop.is_set() or stopping is None:
                end()
            else:
                stopping()
            stop.set()

        # Outside the main thread and on Windows there are no signal handlers: Ctrl-C raises KeyboardInterrupt.
        with suppress(RuntimeError, ValueError, NotImplementedError):
            for each in ending_signals():
                loop.add_signal_handler(each, interrupt)
        done = await work(stop)
        if ended:
            raise asyncio.CancelledError
        return done

    try:
        # The loop leaves the defaults behind it, by which the last words of a command could be cut off.
        with raising_interrupts():
            return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
