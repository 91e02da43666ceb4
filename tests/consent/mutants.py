"""Wrong versions of the protocol, each by one substitution in the production functions.

The names are those of the model. A mutant that changes a statement of a ledger changes SQLite's; a part of it that is
not found is an error, so that no mutant becomes harmless unseen.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from optout_core import asked
from optout_core.adapters.ledger import sqlite
from optout_core.adapters.ledger.sqlite import SqliteLedger
from optout_core.consent import Judgement, judge
from optout_core.outcomes import Outcome, Verdict
from tests.consent import world
from tests.consent.world import Instance

Mutant = Callable[[ExitStack], None]


def _changes(stack, name, *replacements):
    statement = getattr(sqlite, name)
    for part, by in replacements:
        assert part in statement, f"{name} has no {part!r} any more"
        statement = statement.replace(part, by)
    stack.enter_context(patch.object(sqlite, name, statement))


def _judges(stack, judgement):
    stack.enter_context(patch.object(asked, "judge", judgement))


def no_come_back(stack):
    """An answered call settles the word, whatever else may still act."""
    stack.enter_context(patch.object(asked, "free_from", lambda *_: 0))


def settles_anything(stack):
    """`record` does not ask whether the word is still the newest."""
    _changes(stack, "_SETTLE", ("said_at = ? AND stop = ?", "? IS NOT NULL AND ? IS NOT NULL"))


def tie_to_opt_in(stack):
    """A tie goes to the opt-in."""
    _judges(stack, lambda said_at, stop, row: judge(said_at, not stop, row._replace(stop=not row.stop)))
    _changes(
        stack,
        "_ADMIT",
        ("(excluded.said_at, excluded.stop", "(excluded.said_at, NOT excluded.stop"),
        ("(c.said_at, c.stop", "(c.said_at, NOT c.stop"),
    )


def never_settled(stack):
    """A redelivered or replayed word that is still the newest is called again."""
    _judges(stack, lambda said_at, stop, row: judge(said_at, stop, row._replace(settled=False)))


def stop_always_adds(stack):
    """Every STOP calls `:add`, also one that is older than the newest word."""
    _judges(stack, lambda said_at, stop, row: Judgement.CALL if stop else judge(said_at, stop, row))


def completes_first(stack):
    """The messages are completed before those that come back are accepted."""
    stack.enter_context(patch.object(Instance, "completes_first", True))


def same_kind_keeps_settled(stack):
    """A newer word of the same kind does not call again."""
    newer = "settled = c.settled AND (excluded.said_at, excluded.stop) <= (c.said_at, c.stop)"
    _changes(
        stack, "_ADMIT", (newer, "settled = c.settled AND (excluded.stop = c.stop OR excluded.said_at < c.said_at)")
    )


def noted_nowhere(stack):
    """The time of a call that the ledger admitted is not written down."""
    _changes(
        stack,
        "_ADMIT",
        ("iif(stop, :now, 0), iif(stop, 0, :now)", "0, 0"),
        ("max(c.add_at, :now)", "c.add_at"),
        ("max(c.remove_at, :now)", "c.remove_at"),
    )


def answer_clears_all(stack):
    """An answer wipes the time of the last call, although an earlier one of the same kind may still act."""
    cleared = "settled = 1, add_at = iif(stop, 0, add_at), remove_at = iif(stop, remove_at, 0)"
    _changes(stack, "_SETTLE", ("settled = 1", cleared))


def time_out_is_done(stack):
    """A call that timed out counts as done."""
    stack.enter_context(patch.object(world, "NO_ANSWER", Outcome(Verdict.CONFIRMED, "", 200)))


def proof_nowhere(stack):
    """The evidence of a word is not on the ledger when ACS is asked."""
    give = SqliteLedger._give

    def give_and_forget(ledger, run, rows):
        give(ledger, run, rows)
        run.execute("DELETE FROM consent_word")

    stack.enter_context(patch.object(SqliteLedger, "_give", give_and_forget))


def own_time(stack):
    """Each copy of an event brings its own time."""
    _changes(stack, "_WORD", ("INSERT OR IGNORE", "INSERT OR REPLACE"))


MUTANTS: tuple[Mutant, ...] = (
    no_come_back,
    settles_anything,
    tie_to_opt_in,
    never_settled,
    stop_always_adds,
    completes_first,
    same_kind_keeps_settled,
    noted_nowhere,
    answer_clears_all,
    time_out_is_done,
    proof_nowhere,
    own_time,
)


@contextmanager
def living(mutant: Mutant) -> Iterator[None]:
    """Put a mutant in the place of the protocol."""
    with ExitStack() as stack:
        mutant(stack)
        yield
