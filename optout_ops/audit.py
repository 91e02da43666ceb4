"""The audit trail: one JSON line for every step of a command that changes something, appended and never rewritten.

The file lies on the operator's machine; `OPTOUT_AUDIT` names another one, such as one on a share. Numbers are
masked.
"""

import errno
import getpass
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from optout_core.masking import show
from optout_ops import json_lines
from optout_ops.exits import Mistake


class AuditTrail:
    """The audit trail in one file, which is made when the first line is written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, command: str, step: str, **facts: object) -> None:
        """Append a line, and return when it is on disk.

        Raises:
            Mistake: The file cannot be written. Nothing may be changed without a line in the trail.
        """
        line = {"at": datetime.now(UTC).isoformat(), "who": _who(), "command": command, "step": step, **facts}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = json_lines.write(line) + "\n"
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            # Unbuffered: one call writes the whole line, or tells how much of it was written.
            with os.fdopen(handle, "r+b", buffering=0) as file:
                if file.seek(0, os.SEEK_END) and os.pread(handle, 1, file.tell() - 1) != b"\n":
                    # The previous line was cut off: start a new one, so that this one can be read.
                    text = "\n" + text
                raw = text.encode(errors="replace")
                written = file.write(raw)
                os.fsync(handle)
            whole = written == len(raw)
        except OSError as error:
            raise self._refused(error.strerror) from None
        if not whole:
            raise self._refused(os.strerror(errno.ENOSPC))

    def _refused(self, why: str | None) -> Mistake:
        return Mistake(
            f"the audit trail {self.path} cannot be written ({why}); we stopped here, nothing is lost; name another"
            " file in OPTOUT_AUDIT"
        )

    def read(self) -> Iterator[Mapping[str, object]]:
        """Yield the lines, oldest first, without those that a crash cut off."""
        if self.path.exists() and not self.path.is_file():
            raise Mistake(f"the audit trail {self.path} is no file; nothing was touched; name one in OPTOUT_AUDIT")
        try:
            with self.path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    if (entry := _entry(line)) is not None:
                        yield entry
        except FileNotFoundError:
            return
        except OSError as error:
            raise Mistake(
                f"the audit trail {self.path} cannot be read ({error.strerror}); nothing was touched"
            ) from None


class Recorder(Protocol):
    """What records the steps of one run of a command."""

    @property
    def id(self) -> str:
        """Give the id of the run."""

    def write(self, step: str, **facts: object) -> None:
        """Record a step, and return when it is on disk."""

    def ended(self) -> AbstractContextManager[dict[str, object]]:
        """Record the end of the run when the block ends, with the facts that the block puts into the dictionary."""


class RunRecorder:
    """The recorder of one run, which writes all lines under its id.

    Args:
        trail: Where the lines go.
        command: The command, such as `replay`.
        run_id: The id.
        note: Why the operator does it, in the operator's words; it stands in the first line.
    """

    def __init__(self, trail: AuditTrail, command: str, run_id: str, note: str | None = None) -> None:
        self._first: dict[str, object] = {"process": os.getpid()} | ({"note": show(note)} if note else {})
        self._trail = trail
        self._command = command
        self.id = run_id

    def write(self, step: str, **facts: object) -> None:
        """Append a line of this run.

        Raises:
            Mistake: As `AuditTrail.write` does.
        """
        self._trail.write(self._command, step, run=self.id, **self._first, **facts)
        self._first = {}

    @contextmanager
    def ended(self) -> Iterator[dict[str, object]]:
        """Write the last line of the run when the block ends, `failed` when it raises, with what the block adds."""
        facts: dict[str, object] = {}
        outcome = "failed"
        try:
            yield facts
            outcome = "done"
        finally:
            self.write("end", **{"outcome": outcome} | facts)


def _entry(line: str) -> Mapping[str, object] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def still_runs(who: str, process: object) -> bool:
    """Say whether a run that has not ended is that of a living process of this machine, other than ours."""
    if who.rpartition("@")[2] != socket.gethostname() or not isinstance(process, int) or process == os.getpid():
        return False
    if os.name == "nt":  # There os.kill ends a process, whatever the signal.
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # It lives, and is another user's.
        return True
    return True


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # In a container a user may have a number and no name.
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
