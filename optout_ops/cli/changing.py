"""`optout dlq export`, `import`, `edit` and `purge`."""

import asyncio
import contextlib
import difflib
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TextIO

import typer

from optout_core.messages import Queue
from optout_core.numbers import mask_body, mask_text
from optout_core.reasons import Replay
from optout_ops import machine
from optout_ops.audit import Audit, Run
from optout_ops.cli.looking import find
from optout_ops.cli.options import Judging, Rate, Reach, Reveal, Which, Yes, command
from optout_ops.cli.terminal import advance, confirm, out, progress, say, show_json
from optout_ops.exits import Exit, Guarded, Mistake, OpsError
from optout_ops.letters import archive
from optout_ops.letters.dead_letters import DeadLetter, read_dead_letter
from optout_ops.letters.filters import Filter
from optout_ops.letters.verdicts import Rule
from optout_ops.queues.client import Queues
from optout_ops.queues.pacing import pace
from optout_ops.queues.taking import Take
from optout_ops.replay.loop import BATCH, earlier_replays
from optout_ops.replay.messages import edited, restored
from optout_ops.replay.orders import matching
from optout_ops.replay.plans import Chosen
from optout_ops.wording import count


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "export")(export)
    command(app, "import")(import_)
    command(app, "edit")(edit)
    command(app, "purge")(purge)


def export(
    reach: Reach,
    which: Which,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE|-", help="A new file, or - for here.")] = "-",
    reveal: Reveal = False,
) -> int:
    """Write dead letters as JSON Lines; nothing is removed.

    Only with --reveal they hold the numbers, and only then they can be put back.
    """
    settings = machine.read_settings(os.environ, reach.namespace)
    wanted, now = which.filter(), datetime.now(UTC)
    if output == "-" and reach.as_json:
        raise Mistake(
            "--json and the lines cannot both go to standard output: name a file with -o; nothing was touched"
        )

    async def work(_: asyncio.Event) -> int:
        written = 0
        async with Queues(settings) as queues:
            with _lines_to(output) as file:
                async for dead in matching(queues, wanted, now):
                    file.write(archive.write(dead.message, reveal=reveal))
                    written += 1
        return written

    if reveal:
        Audit(machine.audit_path()).write("export", "reveal", filter=wanted.as_document(), file=output)
    written = machine.run(work)
    if reach.as_json:
        show_json({"written": written, "file": output, "masked": not reveal})
    else:
        say(f"{count(written, 'dead letter')} written" + ("." if reveal else ", numbers masked."))
    return Exit.DONE


def import_(
    reach: Reach,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `export --reveal` or `purge` wrote.")],
    rate: Rate = 100.0,
    yes: Yes = False,
) -> int:
    """Put archived dead letters back into the dead-letter queue, each under a new id; replay them from there.

    Putting the same archive back twice adds nothing: what lies in the queue already is left out.
    """
    settings = machine.read_settings(os.environ, reach.namespace)
    try:
        with file.open(encoding="utf-8") as lines:
            dead_letters = [
                read_dead_letter(archive.read(line, number)) for number, line in enumerate(lines, 1) if line.strip()
            ]
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"{file} cannot be read ({error}); nothing was put back") from None

    async def work(stop: asyncio.Event) -> _Imported:
        async with Queues(settings) as queues:
            return await _import(queues, dead_letters, rate, stop)

    if dead_letters:
        confirm(f"Put {count(len(dead_letters), 'dead letter')} back into {settings.dead_letter_queue}?", yes=yes)
    done = machine.run(work, changes=True) if dead_letters else _Imported()
    if reach.as_json:
        show_json({"read": len(dead_letters), "arrived": done.arrived, "known": done.known, "dropped": done.dropped})
    else:
        out().print(f"{count(done.arrived, 'dead letter')} put back.")
        if done.known:
            out().print(f"{done.known:,} are in the queue already and were left out.")
        if done.dropped:
            out().print(
                f"{done.dropped:,} were taken for duplicates by the broker and are not in the queue: they were put back"
                " minutes ago, and have left since. Keep the archive, and run the same command again in ten minutes."
            )
    if done.dropped:
        return Exit.SOME_FAILED
    return Exit.DONE if done.arrived + done.known == len(dead_letters) else Exit.INTERRUPTED


def edit(
    reach: Reach,
    judging: Judging,
    name: Annotated[str, typer.Argument(metavar="ID", help="Sequence number, MessageId or event id.")],
    yes: Yes = False,
) -> int:
    """Mend the body of one dead letter in $EDITOR, show the difference, and send it back under a new id."""
    settings = machine.read_settings(os.environ, reach.namespace)
    rule = judging.rule(settings.opt_in_max_age)

    async def work(stop: asyncio.Event) -> str | None:
        async with Queues(settings) as queues:
            dead = await find(queues, name)
            body = machine.edit(dead.message.body)
            # An editor may end the last line.
            if body.rstrip() == dead.message.body.rstrip():
                return None
            mended = _examine(dead, body, rule)
            _show_difference(dead.message.body, body)
            confirm(f"Send this in place of dead letter {dead.number}?", yes=yes)
            if stop.is_set():
                raise KeyboardInterrupt
            return await _send_edited(queues, dead, mended)

    sent = machine.run(work, changes=True)
    if reach.as_json:
        show_json({"sent": sent is not None, "messageId": sent})
    else:
        out().print(f"Sent as {sent}." if sent else "Nothing was changed, and nothing sent.", markup=False)
    return Exit.DONE


def purge(
    reach: Reach,
    which: Which,
    archive_to: Annotated[
        Path | None, typer.Option("--archive", metavar="FILE", help="Where they are exported first.")
    ] = None,
    no_export: Annotated[bool, typer.Option("--no-export", help="Keep nothing: they are gone for good.")] = False,
    typed: Annotated[
        str | None, typer.Option("--confirm", metavar="'purge N'", help="What would be typed, for scripts.")
    ] = None,
) -> int:
    """Remove dead letters for good, after exporting them in full to a file that only you can read.

    One has to type `purge` and how many; if other dead letters than those counted match by then, they stay. What is not
    chosen keeps its place, as with replay.
    """
    settings = machine.read_settings(os.environ, reach.namespace)
    if archive_to is not None and (no_export or str(archive_to) == "-"):
        raise Mistake("--archive names a file, and does not go with --no-export; nothing was touched")
    order = _Purge(which.filter(), None if no_export else archive_to or _archive_file(), typed)

    async def work(stop: asyncio.Event) -> _Purged:
        async with Queues(settings) as queues:
            return await _purge(queues, order, stop)

    done = machine.run(work, changes=True)
    if reach.as_json:
        show_json({"chosen": done.chosen, "removed": done.removed, "archive": str(order.file) if order.file else None})
    else:
        kept = f"; kept in {order.file}" if order.file else ""
        out().print(f"{count(done.removed, 'dead letter')} removed{kept}.", markup=False, soft_wrap=True)
    if done.interrupted:
        return Exit.INTERRUPTED
    return Exit.DONE if done.removed == done.chosen else Exit.SOME_FAILED


@dataclass(frozen=True, slots=True)
class _Purge:
    wanted: Filter
    file: Path | None
    typed: str | None


@dataclass(frozen=True, slots=True)
class _Purged:
    chosen: int
    removed: int = 0
    interrupted: bool = False


async def _purge(queues: Queues, order: _Purge, stop: asyncio.Event) -> _Purged:
    chosen, now = Chosen(), datetime.now(UTC)
    # What is not removed needs no archive, and an archive holds phone numbers: it is kept only when one has agreed.
    with _lines_to(str(order.file or os.devnull)) as file:
        async for dead in matching(queues, order.wanted, now):
            if stop.is_set():
                raise KeyboardInterrupt
            chosen.add(dead.number)
            if order.file is not None:
                file.write(archive.write(dead.message, reveal=True))
        number = len(chosen)
        _agree(number, order.typed)
    run = Run(Audit(machine.audit_path()), "purge", machine.new_run_id())
    run.write(
        "begin",
        **queues.where(Queue.DEAD_LETTERS),
        selection=order.wanted.as_document(),
        chosen=number,
        archive=str(order.file or ""),
    )
    with run.ended() as end, progress("removing", number) as bar:
        async with Take(await queues.receiver(Queue.DEAD_LETTERS), chosen) as take:
            while not stop.is_set() and (messages := await take.lock(BATCH)):
                dead_letters = [read_dead_letter(message) for message in messages]
                numbers = [dead.number for dead in dead_letters]
                run.write("removing", numbers=numbers, earlier=earlier_replays(dead_letters))
                for each in numbers:
                    await take.complete(each)
                end["removed"] = take.completed
                advance(bar, take.completed)
    return _Purged(number, take.completed, stop.is_set())


def _agree(number: int, typed: str | None) -> None:
    if not number:
        raise OpsError("there are no such dead letters: nothing was removed")
    word = f"purge {number}"
    if typed is not None and typed != word:
        raise Guarded(f"--confirm says {typed!r}, and {count(number, 'dead letter')} match: nothing was removed")
    confirm(
        f"{count(number, 'dead letter')} will be removed for good. Type:",
        yes=typed is not None,
        word=word,
        option=f"--confirm '{word}'",
    )


@dataclass(slots=True)
class _Imported:
    arrived: int = 0
    known: int = 0
    dropped: int = 0


async def _import(queues: Queues, dead_letters: Sequence[DeadLetter], rate: float, stop: asyncio.Event) -> _Imported:
    run = Run(Audit(machine.audit_path()), "import", machine.new_run_id())
    burst, wait = pace(rate)
    archived = {outgoing.message_id: outgoing for outgoing in map(restored, dead_letters)}
    # Put back before, or never gone: an export leaves what it writes where it is.
    originals = {(dead.message.message_id, dead.message.body): restored(dead).message_id for dead in dead_letters}
    run.write("begin", **queues.where(Queue.DEAD_LETTERS), messages=len(dead_letters))
    with run.ended() as end:
        async for message in queues.peek(Queue.DEAD_LETTERS):
            archived.pop(message.message_id or "", None)
            archived.pop(originals.get((message.message_id, message.body), ""), None)
        done = _Imported(known=len(dead_letters) - len(archived))
        missing, sent, tail = list(archived.values()), 0, await queues.tail(Queue.DEAD_LETTERS)
        with progress("putting back", len(missing)) as bar:
            while sent < len(missing) and not stop.is_set():
                batch = missing[sent : sent + burst]
                await wait(len(batch))
                await queues.send(batch)
                sent += len(batch)
                end["sent"] = sent
                advance(bar, sent)
        # The broker accepts what it drops as a duplicate: only what is there has arrived.
        there = {message.message_id async for message in queues.peek(Queue.DEAD_LETTERS, tail + 1)}
        done.arrived = len(there & {outgoing.message_id for outgoing in missing})
        done.dropped = sent - done.arrived
        end["arrived"] = done.arrived
    return done


async def _send_edited(queues: Queues, dead: DeadLetter, mended: DeadLetter) -> str:
    run = Run(Audit(machine.audit_path()), "edit", machine.new_run_id())
    outgoing = edited(mended, run.id)
    async with Take(await queues.receiver(Queue.DEAD_LETTERS), Chosen([dead.number])) as take:
        if not await take.lock(1):
            raise OpsError(
                f"dead letter {dead.number} is gone, or held by another session; nothing was sent; look with"
                " `optout dlq list`, or try again in five minutes"
            )
        run.write("begin", **queues.where(Queue.DEAD_LETTERS), number=dead.number)
        with run.ended():
            run.write("sending", number=dead.number, message=mask_text(outgoing.message_id))
            await queues.send([outgoing])
            if not await take.complete(dead.number):
                raise OpsError(
                    f"sent as {mask_text(outgoing.message_id)}, but dead letter {dead.number} is still there: its lock"
                    f" ended; remove it with `optout dlq purge --event {shlex.quote(mask_text(dead.event_id))}`"
                )
            run.write("sent", number=dead.number, earlier=earlier_replays([dead]))
    return mask_text(outgoing.message_id)


def _examine(dead: DeadLetter, body: bytes, rule: Rule) -> DeadLetter:
    mended = read_dead_letter(replace(dead.message, body=body))
    verdict = rule.judge(mended, datetime.now(UTC))
    if verdict.replay is Replay.NEVER:
        raise Guarded(f"what you wrote may not be sent: {mask_text(verdict.why)}; nothing was changed")
    return mended


def _show_difference(before: bytes, after: bytes) -> None:
    old, new = (mask_body(text.decode(errors="replace")).splitlines() for text in (before, after))
    for line in difflib.unified_diff(old, new, "dead letter", "edited", lineterm=""):
        say(line)
    if old == new:
        say("What differs is in the numbers, which are masked here.")


def _archive_file() -> Path:
    return machine.state_folder() / "archives" / f"purge-{machine.new_run_id()}.jsonl"


@contextmanager
def _lines_to(name: str) -> Iterator[TextIO]:
    """Write a new file that only this user can read, whole or not at all."""
    if name in {"-", os.devnull}:
        with contextlib.nullcontext(sys.stdout) if name == "-" else Path(name).open("w", encoding="utf-8") as file:
            yield file
        return
    target = Path(name)
    part: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise Mistake(f"{name}: File exists; nothing was touched; name another file")
        handle, made = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        part = Path(made)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(handle)
        part.rename(target)
    except OSError as error:
        raise Mistake(f"{name}: {error.strerror}; nothing was touched; name another file") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
