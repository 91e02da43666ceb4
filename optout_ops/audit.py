"""The audit trail: one JSON line for everything that changed something, appended and never rewritten.

It stands on the operator's machine; `OPTOUT_AUDIT` names another file, such as one on a share. Numbers are masked.
"""

import errno
import getpass
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from optout_ops.exits import Mistake


class Audit:
    """Write and read the trail of one file."""

    def __init__(self, path: Path) -> None:
        """Take the file; it is made at the first line."""
        self.path = path

    def write(self, command: str, step: str, **facts: object) -> None:
        """Append a line, and return when it is on disk.

        Raises:
            Mistake: The file cannot be written; nothing may be changed without a trace.
        """
        line = {"at": datetime.now(UTC).isoformat(), "who": _who(), "command": command, "step": step, **facts}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            # Unbuffered: it writes all of the line in one call, or says that it could not.
            with os.fdopen(handle, "r+b", buffering=0) as file:
                if file.seek(0, os.SEEK_END) and os.pread(handle, 1, file.tell() - 1) != b"\n":
                    # The line before was cut off; ours must not be lost with it.
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
        """Yield the lines, oldest first; one that was cut off by a crash is passed over."""
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


class Run:
    """Write the lines of one run of a command, all under its id."""

    def __init__(self, audit: Audit, command: str, run_id: str) -> None:
        self._audit = audit
        self._command = command
        self.id = run_id

    def write(self, step: str, **facts: object) -> None:
        """Append a line of this run."""
        self._audit.write(self._command, step, run=self.id, **facts)

    @contextmanager
    def ended(self) -> Iterator[dict[str, object]]:
        """Write the last line of the run when the block ends, however it ends, with what the block put beside it."""
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


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # In a container, a user may have a number and no name.
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
