"""How the command line ends: the exit codes, and the expected errors that lead to them.

OpsError                  one line: what happened, what is safe, what to do next
├── Mistake        exit 2  the call, a file or a setting is wrong; nothing was touched
├── Guarded        exit 3  a guard stopped it; nothing is lost
└── OutOfReach     exit 4  the namespace or ACS cannot be reached, or does not allow it
"""

from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """Name what an exit code means."""

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    GUARD = 3
    OUT_OF_REACH = 4
    INTERRUPTED = 130


class OpsError(Exception):
    """Be the root of the expected errors; the text is all that is shown."""

    exit: ClassVar[Exit] = Exit.SOME_FAILED


class Mistake(OpsError):
    """Refuse a wrong argument, file or setting."""

    exit = Exit.USAGE


class Guarded(OpsError):
    """Stop before something that the operator did not allow."""

    exit = Exit.GUARD


class OutOfReach(OpsError):
    """Report a service that does not answer, or does not let us."""

    exit = Exit.OUT_OF_REACH
