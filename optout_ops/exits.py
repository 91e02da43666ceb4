"""How the command line ends: the exit codes, and the expected errors that lead to them.

OpsError           exit 1  one line: what happened, what is safe, what to do next
├── Mistake        exit 2  the call, a file or a setting is wrong; nothing was touched
├── Guarded        exit 3  a guard stopped the command; nothing is lost
└── OutOfReach     exit 4  the namespace or ACS cannot be reached, or refuses us
"""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """The exit codes; docs/operate.md says what each means."""

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    GUARD = 3
    OUT_OF_REACH = 4
    INTERRUPTED = 130


class OpsError(Exception):
    """The root of the expected errors; the user sees the text and nothing else."""

    exit: ClassVar[ExitCode] = ExitCode.SOME_FAILED


class Mistake(OpsError):
    """A wrong argument, file or setting."""

    exit = ExitCode.USAGE


class Guarded(OpsError):
    """A change that the operator did not allow, or that is never safe; it was not made."""

    exit = ExitCode.GUARD


class OutOfReach(OpsError):
    """A service that does not answer, or refuses us."""

    exit = ExitCode.OUT_OF_REACH
