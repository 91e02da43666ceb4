"""`optout dlq purge`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from optout_ops import files, machine
from optout_ops.changes.purge import check_confirmation, choose, remove, words
from optout_ops.cli.options import Ending, Note, Reach, Which
from optout_ops.cli.outcome import leftover_lines
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import confirm, out, say, say_stopping, show_json
from optout_ops.exits import ExitCode, Mistake, OpsError
from optout_ops.queues.leftover import Leftover, look_for
from optout_ops.replay.history import Session, last_session
from optout_ops.wording import count


def purge(
    outside: Outside,
    reach: Reach,
    which: Which,
    archive_to: Annotated[
        Path | None,
        typer.Option("--archive", metavar="FILE", help="The new file to which they are exported first."),
    ] = None,
    typed: Annotated[
        str | None, typer.Option("--confirm", metavar="'purge N'", help="The words to type, for scripts.")
    ] = None,
    ending: Ending = False,
    note: Note = None,
) -> int:
    """Remove dead letters for good, after archiving them.

    The archive is a file that only you can read; it can be imported again. Type `purge` and how many to confirm.
    Only the dead letters that were counted are removed; one that arrives later stays, and the others keep their
    place in the queue, as with a replay. What is deferred or scheduled cannot be taken, and is named.
    """
    settings, now = outside.settings(reach.namespace, ending=ending), outside.now()
    wanted = which.filter(now)
    if str(archive_to) == "-":
        raise Mistake("--archive names a file; nothing was touched")
    run_id = machine.new_run_id()
    path = archive_to or machine.state_folder() / "archives" / f"purge-{run_id}.jsonl"

    session: Session | None = None

    async def work(stop: asyncio.Event) -> tuple[int, int, Leftover, bool]:
        nonlocal session
        async with outside.open_queues(settings) as queues:
            # An archive holds phone numbers: it appears only when the operator has agreed.
            with files.new_file(str(path)) as file:
                doomed = await choose(queues, wanted, file=file, stop=stop)
                chosen = doomed.numbers
                for line in leftover_lines(doomed.left, None):
                    say(line)
                if not len(chosen):
                    raise OpsError("the queue gives out none of these dead letters: nothing was removed")
                if typed is not None:
                    check_confirmation(len(chosen), typed)
                word = words(len(chosen))
                confirm(
                    f"{count(len(chosen), 'dead letter')} will be removed for good: {doomed.described()}. Type:",
                    yes=typed is not None,
                    word=word,
                    option=f"--confirm '{word}'",
                )
            facts = {"selection": wanted.as_document(), "archive": str(path)}
            session = last_session(outside.trail().read(), queues.namespace, now)
            with outside.run("purge", run_id, note=note, doing="removing", total=len(chosen), stop=stop) as run:
                removed = await remove(queues, chosen, facts=facts, run=run)
            missing = 0 if stop.is_set() else len(chosen) - removed
            leftover = await look_for(queues, chosen, missing)
            leftover.deferred += doomed.left.deferred
            leftover.scheduled += doomed.left.scheduled
            return len(chosen), removed, leftover, stop.is_set()

    chosen, removed, leftover, interrupted = machine.run(work, stopping=say_stopping)
    if reach.as_json:
        show_json(
            {
                "chosen": chosen,
                "removed": removed,
                "archive": str(path),
                "notTaken": leftover.as_document(),
            }
        )
    else:
        out().print(f"{count(removed, 'dead letter')} removed; kept in {path}.", markup=False, soft_wrap=True)
        for line in leftover_lines(leftover, session):
            out().print(line, markup=False, soft_wrap=True)
    if interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.SOME_FAILED if leftover.still_there else ExitCode.DONE
