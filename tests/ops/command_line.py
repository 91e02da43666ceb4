"""The command line, called in this process: what it says, and a desk at which it works on queues in memory."""

import contextlib
import io
import json
from dataclasses import dataclass
from datetime import timedelta

from optout_ops.__main__ import main
from optout_ops.cli.outside import Outside
from tests.build import NOW
from tests.ops.memory import MemoryQueues

#: Replay at once, all of it.
QUICK = ("--yes", "--no-ramp", "--rate", "100000")


@dataclass
class Said:
    """What one call of the command line gave."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def run(*arguments, **outside):
    """Run the command line in this thread, and give what it says."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(each) for each in arguments], Outside(**outside))
    return Said(code, out.getvalue(), err.getvalue())


class Desk:
    """The command line in front of two queues in memory, on 23 January 2026 at noon.

    Attributes:
        queues: The queues.
        place: An empty folder, where the audit trail lies.
        now: The time.
    """

    def __init__(self, place):
        self.place = place
        self.queues = MemoryQueues()
        self.now = NOW
        self.environ = {
            "ServiceBusConnection": "Endpoint=sb://memory.example/;SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0",
            "OPTOUT_AUDIT": str(place / "audit.jsonl"),
        }

    def put(self, *dead_letters, **options):
        """Begin with queues that hold these dead letters."""
        self.queues = MemoryQueues(*dead_letters, **options)

    def __call__(self, *arguments):
        return run(*arguments, environ=self.environ, open_queues=lambda _: self.queues, now=lambda: self.now)

    def dlq(self, *arguments):
        return self("dlq", *arguments)

    def pass_time(self, **span):
        self.now += timedelta(**span)

    @property
    def trail(self):
        """The lines of the audit trail."""
        file = self.place / "audit.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
