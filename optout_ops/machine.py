"""What the command line takes from the machine it runs on: settings, folders, an editor, the interrupt key."""

import asyncio
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import typer

from optout_core.errors import SettingsError
from optout_core.settings import Settings
from optout_ops.exits import Mistake

#: Stands in where a command needs no endpoint; nothing is ever sent there (RFC 2606).
_NO_ENDPOINT = "https://unset.invalid"
_BROKER = ("ServiceBusConnection", "ServiceBusConnection__fullyQualifiedNamespace")

#: Seconds.
_CANCEL_AGAIN = 0.2

T = TypeVar("T")


def read_settings(environ: Mapping[str, str], namespace: str | None, *, needs_acs: bool = False) -> Settings:
    """Read the settings of the function, as far as the command needs them.

    Args:
        environ: The environment.
        namespace: Of `--namespace`; it wins over the environment. A name without dots gets Azure's public domain.
        needs_acs: Whether ACS_ENDPOINT must be set.

    Raises:
        Mistake: One is missing or wrong.
    """
    settings = dict(environ)
    if namespace is not None:
        settings.pop(_BROKER[0], None)
        settings[_BROKER[1]] = namespace if "." in namespace else f"{namespace}.servicebus.windows.net"
    if not any(settings.get(name) for name in _BROKER):
        if not needs_acs:
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


def audit_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Give the file of the audit trail."""
    return Path(environ["OPTOUT_AUDIT"]) if environ.get("OPTOUT_AUDIT") else state_folder() / "audit.jsonl"


def new_run_id() -> str:
    """Give an id that sorts by time and that nobody else gives: `20260123T030405Z-1f2e3d`."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def edit(text: bytes, environ: Mapping[str, str] = os.environ) -> bytes:
    """Open the operator's editor on some bytes, in a file that only this user can read, and give back what is left.

    Raises:
        Mistake: There is no editor, or it failed.
    """
    try:
        editor = shlex.split(environ.get("VISUAL") or environ.get("EDITOR") or "") or ["vi"]
    except ValueError as error:
        raise Mistake(f"EDITOR cannot be read ({error}); nothing was changed; set EDITOR") from None
    with tempfile.TemporaryDirectory(prefix="optout-") as folder:
        file = Path(folder) / "dead-letter.json"
        file.touch(mode=0o600)
        file.write_bytes(text)
        try:
            subprocess.run([*editor, str(file)], check=True)  # noqa: S603 - the operator's own editor
        except (OSError, subprocess.CalledProcessError) as error:
            raise Mistake(f"the editor {editor[0]!r} failed ({error}); nothing was changed; set EDITOR") from None
        return file.read_bytes()


def run(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]], *, changes: bool = False) -> T:
    """Run a command that can be interrupted.

    With `changes`, the first Ctrl-C sets the event that the command is given, so that it ends where nothing is half
    done, and the second ends it at once; without, the first one does.

    Raises:
        KeyboardInterrupt: At the one that ends it.
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
                # Below Python 3.12 asyncio.wait_for, with which the SDK waits, can swallow one.
                loop.call_later(_CANCEL_AGAIN, end)

        def interrupt() -> None:
            if stop.is_set() or not changes:
                end()
            else:
                sys.stderr.write("Stopping where nothing is half done; Ctrl-C again stops at once.\n")
            stop.set()

        # Not the main thread, or Windows: the interrupt is then an ordinary KeyboardInterrupt.
        with suppress(RuntimeError, ValueError, NotImplementedError):
            loop.add_signal_handler(signal.SIGINT, interrupt)
        done = await work(stop)
        if ended:
            raise asyncio.CancelledError
        return done

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
