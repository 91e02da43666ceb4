"""The audit trail: one JSON line for everything that changed something, appended and never rewritten.

It stands on the operator's machine; `OPTOUT_AUDIT` names another file, such as one on a share. Numbers are masked.
"""

import getpass
import json
import os
import socket
from collections.abc import Iterator, Mapping
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
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(handle, (json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n").encode())
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise Mistake(
                f"the audit trail {self.path} cannot be written ({error.strerror}); we stopped here, nothing is lost;"
                " name another file in OPTOUT_AUDIT"
            ) from None

    def read(self) -> Iterator[Mapping[str, object]]:
        """Yield the lines, oldest first; one that was cut off by a crash is passed over."""
        try:
            with self.path.open(encoding="utf-8") as lines:
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


def _entry(line: str) -> Mapping[str, object] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _who() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"
