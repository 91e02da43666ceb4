"""How a selection and the outcome of a replay are shown, for the commands that replay, plan, and tell of a replay."""

from collections.abc import Iterator

from optout_core.masking import show
from optout_core.reasons import Replay
from optout_ops.cli.terminal import out, plain, table
from optout_ops.letters.verdicts import ReplayRule
from optout_ops.queues.leftover import Leftover
from optout_ops.replay.history import Session
from optout_ops.replay.selection import Selection
from optout_ops.replay.tally import Tally
from optout_ops.wording import brief, count, utc

#: What can be said of a recipient that is in neither queue: another tool may have taken the message away.
_GONE = "in neither queue any more: applied, or taken away by somebody"
_UNKNOWN = "in neither queue any more, and the ledger does not say that they were applied"
#: Sequence numbers that are named in a line.
_NAMED = 5


def selection_lines(selection: Selection, rule: ReplayRule) -> Iterator[str]:
    """Tell a selection in lines: the dead letters to replay, those that are left and why, and drift since the plan."""
    chosen = count(len(selection.chosen), "dead letter")
    yield f"{chosen} with {count(selection.recipient_count, 'recipient')} to replay."
    for advice in (Replay.DONE, Replay.AFTER_A_FIX, Replay.NEVER):
        codes = ", ".join(
            f"{number:,} {brief(show(code)) or '(none)'}"
            for (each, code), number in selection.verdicts.most_common()
            if each is advice and not (rule.fixed and advice is Replay.AFTER_A_FIX)
        )
        if codes:
            hint = "; --fixed replays them" if advice is Replay.AFTER_A_FIX else "; `optout dlq show` says why"
            yield f"Left where they are, {advice}: {codes}{hint}."
    yield from selection.bursts.lines()
    if selection.gone or selection.changed:
        yield (
            f"Drift since the plan: {selection.gone:,} are no longer in the queue, {selection.changed:,} are another"
            " message now; neither is touched."
        )


def leftover_lines(leftover: Leftover, session: Session | None) -> Iterator[str]:
    """Tell which dead letters a pass did not get, and why.

    Args:
        leftover: Those dead letters.
        session: A run of ours that may hold them, or None.
    """
    if leftover.gone:
        yield f"{leftover.gone:,} are no longer in the queue: somebody else took them before we came to them."
    if leftover.held:
        until = f"until {utc(leftover.held_until)} UTC" if leftover.held_until else "for five minutes at most"
        who = "another session"
        if session is not None:
            who += f", perhaps the {session.command} that {show(session.who)} began at {session.since[:19]}"
        yield f"{leftover.held:,} are locked {until}, by {who}. Run the same command again then."
    for what, numbers in (("deferred", leftover.deferred), ("scheduled", leftover.scheduled)):
        if numbers:
            more = f" and {len(numbers) - _NAMED:,} more" if len(numbers) > _NAMED else ""
            named = ", ".join(map(str, numbers[:_NAMED])) + more
            are, them, their = ("it is", "it", "its") if len(numbers) == 1 else ("they are", "them", "their")
            why = (
                f"the queue gives {them} only to who asks for the sequence number: the tool that deferred {them} does"
                if what == "deferred"
                else f"the queue gives {them} out when {their} time has come"
            )
            yield f"{len(numbers):,} cannot be taken, since {are} {what} (number {named}): {why}."


def show_tally(tally: Tally, *, knows_sent: bool) -> None:
    """Show a tally as a table; without `knows_sent` this machine's audit trail does not say how many were sent."""
    made = table("", ">recipients", "", show_header=False)
    made.add_row(
        "sent",
        f"{tally.sent:,}" if knows_sent else "?",
        "" if knows_sent else "this machine's audit trail does not know",
    )
    if tally.applied is not None:
        made.add_row("applied", f"{tally.applied:,}", "the ledger says so")
    made.add_row("gone", f"{tally.gone:,}" if knows_sent else "?", _GONE if tally.applied is None else _UNKNOWN)
    made.add_row("not yet tried", f"{tally.untried:,}", "")
    made.add_row("retrying", f"{tally.retrying:,}", "failed again, wait for another try")
    if tally.replayed_again:
        made.add_row("left again", f"{tally.replayed_again:,}", "were back, and were replayed again or purged")
    for code, number in tally.returned.most_common():
        made.add_row("[red]back[/]", f"{number:,}", plain(show(code)) or "(none)")
    out().print(made)
