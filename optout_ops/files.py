"""Files that hold phone numbers: whole or not there, for this user only, and gone when a command is killed.

Each is a part-file until it is whole. A part-file is locked while it is written, so one that nobody has locked was left
by a command that was killed, and the next command that writes beside it removes it.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from optout_ops.exits import Mistake
from optout_ops.signals import leaving_interrupts_to_the_editor

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows, where nobody can tell whether a file is still written
    fcntl = None  # type: ignore[assignment]

_PART = ".optout-part"
_FOLDER = "optout-edit-"
#: Seconds. A younger part-file may not be locked yet by whoever makes it.
_YOUNG = 10
#: Seconds that an editor gets to end when we do.
_EDITOR_ENDS = 5


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
        sweep(target.parent)
        if target.exists():
            raise Mistake(f"{name}: File exists; nothing was touched; name another file")
        handle, made = tempfile.mkstemp(prefix=f".{target.name}.", suffix=_PART, dir=target.parent)
        part = Path(made)
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogatepass") as file:
            _lock(handle)
            yield file
            file.flush()
            os.fsync(handle)
        part.rename(target)
    except OSError as error:
        raise Mistake(f"{name}: {error.strerror}; nothing was touched; name another file") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the part-files that killed commands left in a folder."""
    for part in (*folder.glob(f".*{_PART}"), *folder.glob(f"{_FOLDER}*/*{_PART}.json")):
        # Another user's, or gone since we looked.
        with suppress(OSError):
            handle = os.open(part, os.O_RDWR)
            try:
                if time.time() - os.fstat(handle).st_mtime > _YOUNG and _lock(handle):
                    part.unlink()
                    if part.parent != folder:
                        shutil.rmtree(part.parent, ignore_errors=True)
            finally:
                os.close(handle)


def edit(text: bytes, environ: Mapping[str, str]) -> bytes:
    """Open the operator's editor on a file with this text that only this user can read, and give the text it saved.

    When the command is ended the editor is ended too, and the file is removed.

    Raises:
        Mistake: There is no editor, or it failed.
    """
    try:
        editor = shlex.split(environ.get("VISUAL") or environ.get("EDITOR") or "")
    except ValueError as error:
        raise Mistake(f"EDITOR cannot be read ({error}); nothing was changed; set EDITOR") from None
    if not editor and not sys.stdin.isatty():
        # It would wait for keys that nobody can press.
        raise Mistake("there is no terminal for vi, and EDITOR names no other editor; nothing was changed; set EDITOR")
    editor = editor or ["vi"]
    sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=_FOLDER) as folder:
        file = Path(folder) / f"dead-letter{_PART}.json"
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # An editor may write another file in its place: the lock on ours says that we are still here.
            _lock(handle)
            file.write_bytes(text)
            _run([*editor, str(file)])
            return file.read_bytes()
        except (OSError, subprocess.CalledProcessError) as error:
            raise Mistake(f"the editor {editor[0]!r} failed ({error}); nothing was changed; set EDITOR") from None
        finally:
            os.close(handle)


def _run(command: list[str]) -> None:
    with leaving_interrupts_to_the_editor(), subprocess.Popen(command) as editor:  # noqa: S603 - the operator's own
        try:
            code = editor.wait()
        except BaseException:
            editor.terminate()
            with suppress(subprocess.TimeoutExpired):
                editor.wait(_EDITOR_ENDS)
            editor.kill()
            raise
    if code:
        raise subprocess.CalledProcessError(code, command[0])


def _lock(handle: int) -> bool:
    """Lock a file for as long as it is open; False when somebody else has it locked, or nobody can tell."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
