"""One run of a command that changes something."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from optout_ops.audit import Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What such a run is given besides its work.

    Attributes:
        recorder: Records its steps in the audit trail.
        advance: Called with the number of messages done so far.
        note: Called with a word on how it goes.
        now: Gives the current time; aware.
        stop: Set by an interruption: the run ends where nothing is half done.
    """

    recorder: Recorder
    advance: Callable[[int], None]
    note: Callable[[str], None]
    now: Callable[[], datetime]
    stop: asyncio.Event

    def note_interruption(self, end: dict[str, object]) -> None:
        """Let the last line of the audit trail say that the run was interrupted, when it was."""
        if self.stop.is_set():
            end["outcome"] = "interrupted"
