"""The operator's machine: settings, folders, files, an editor, the interrupt key."""

import asyncio
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, TypeVar

import typer

from optout_core.errors import SettingsError
from optout_core.settings import Settings
from optout_ops.exits import Mistake

#: The endpoint for commands that need none; nothing is ever sent to this reserved name (RFC 2606).
_NO_ENDPOINT = "https://unset.invalid"
_BROKER = ("ServiceBusConnection", "ServiceBusConnection__fullyQualifiedNamespace")

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
        settings[_BROKER[1]] = namespace if "." in namespace else f"{namespace}.servicebus.windows.net"
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


@contextmanager
def new_file(name: str) -> Iterator[TextIO]:
    """Write a new file that only this user can read; it appears when the block ends, and not when the block raises.

    Raises:
        Mistake: A file of this name exists, or it cannot be written.
    """
    target = Path(name)
    part: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise Mistake(f"{name}: File exists; nothing was touched; name another file")
        handle, made = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        part = Path(made)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(handle)
        part.rename(target)
    except OSError as error:
        raise Mistake(f"{name}: {error.strerror}; nothing was touched; name another file") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def edit(text: bytes, environ: Mapping[str, str]) -> bytes:
    """Open the operator's editor on a file with this text that only this user can read, and give the text it saved.

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

    Args:
        work: The command; it is given an event that Ctrl-C sets.
        changes: Whether it changes something. Then the first Ctrl-C only sets the event, so that the command can end
            where nothing is half done, and the second one cancels it. Otherwise the first one cancels it.

    Raises:
        KeyboardInterrupt: Ctrl-C cancelled the command.
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
            if stop.is_set() or not changes:
                end()
            else:
                sys.stderr.write("Stopping where nothing is half done; Ctrl-C again stops at once.\n")
            stop.set()

        # Outside the main thread and on Windows there are no signal handlers: Ctrl-C raises KeyboardInterrupt.
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
