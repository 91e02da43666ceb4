"""`optout dlq export`, `import`, `edit` and `purge`."""

import asyncio
import difflib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TextIO

import typer

from optout_core.messages import Queue
from optout_core.phone_numbers import mask_text
from optout_core.reasons import Replay
from optout_ops import archive, machine
from optout_ops.audit import Audit, Run
from optout_ops.cli.looking import find
from optout_ops.cli.options import Judging, Rate, Reach, Reveal, Which, Yes, command
from optout_ops.cli.terminal import advance, confirm, out, progress, say, show_json
from optout_ops.dead_letters import DeadLetter, read_dead_letter
from optout_ops.exits import Exit, Guarded, Mistake, OpsError
from optout_ops.filters import Filter
from optout_ops.orders import matching
from optout_ops.pacing import pace
from optout_ops.plans import Chosen
from optout_ops.queues import Queues
from optout_ops.replaying import BATCH, earlier_replays
from optout_ops.replays import edited, restored
from optout_ops.taking import Take
from optout_ops.verdicts import Rule
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
    reveal: Reveal = False,  # noqa: FBT002 - a flag
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

    async def work(stop: asyncio.Event) -> int:
        written = 0
        async with Queues(settings) as queues:
            with _lines_to(output) as file:
                async for dead in matching(queues, wanted, now):
                    file.write(archive.write(dead.message, reveal=reveal))
                    written += 1
                    if stop.is_set():
                        raise Guarded(f"interrupted: {output} holds the first {written:,} only")
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
    yes: Yes = False,  # noqa: FBT002 - a flag
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

    async def work(stop: asyncio.Event) -> tuple[int, int]:
        async with Queues(settings) as queues:
            return await _import(queues, dead_letters, rate, stop)

    if dead_letters:
        confirm(f"Put {count(len(dead_letters), 'dead letter')} back into {settings.dead_letter_queue}?", yes=yes)
    arrived, known = machine.run(work) if dead_letters else (0, 0)
    if reach.as_json:
        show_json({"read": len(dead_letters), "arrived": arrived, "known": known})
    else:
        before = f"; {known:,} had been put back before and were not again" if known else ""
        out().print(f"{count(arrived, 'dead letter')} put back{before}.")
    return Exit.DONE if arrived + known == len(dead_letters) else Exit.INTERRUPTED


def edit(
    reach: Reach,
    judging: Judging,
    name: Annotated[str, typer.Argument(metavar="ID", help="Sequence number, MessageId or event id.")],
    yes: Yes = False,  # noqa: FBT002 - a flag
) -> int:
    """Mend the body of one dead letter in $EDITOR, show the difference, and send it back under a new id."""
    settings = machine.read_settings(os.environ, reach.namespace)
    rule = judging.rule(settings.opt_in_max_age)

    async def work(_: asyncio.Event) -> str | None:
        async with Queues(settings) as queues:
            dead = await find(queues, name)
            body = machine.edit(dead.message.body)
            if body == dead.message.body:
                return None
            mended = _examine(dead, body, rule)
            _show_difference(dead.message.body, body)
            confirm(f"Send this in place of dead letter {dead.number}?", yes=yes)
            return await _send_edited(queues, dead, mended)

    sent = machine.run(work)
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
    no_export: Annotated[bool, typer.Option("--no-export", help="Keep nothing: they are gone for good.")] = False,  # noqa: FBT002 - a flag
    typed: Annotated[
        str | None, typer.Option("--confirm", metavar="'purge N'", help="What would be typed, for scripts.")
    ] = None,
) -> int:
    """Remove dead letters for good, after exporting them in full to a file that only you can read.

    One has to type `purge` and how many; if other dead letters than those counted match by then, they stay. What is not
    chosen keeps its place, as with replay.
    """
    settings = machine.read_settings(os.environ, reach.namespace)
    order = _Purge(which.filter(), None if no_export else archive_to or _archive_file(), typed)

    async def work(stop: asyncio.Event) -> _Purged:
        async with Queues(settings) as queues:
            return await _purge(queues, order, stop)

    done = machine.run(work)
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
    with _lines_to(str(order.file) if order.file else os.devnull, private=order.file is not None) as file:
        async for dead in matching(queues, order.wanted, now):
            chosen.add(dead.number)
            file.write(archive.write(dead.message, reveal=True))
        file.flush()
        if order.file is not None:
            os.fsync(file.fileno())
    number = len(chosen)
    try:
        _agree(number, order.typed)
    except OpsError:
        # What is not removed needs no archive, and an archive holds phone numbers.
        if order.file is not None:
            order.file.unlink()
        raise
    run = Run(Audit(machine.audit_path()), "purge", machine.new_run_id())
    run.write("begin", selection=order.wanted.as_document(), chosen=number, archive=str(order.file or ""))
    with progress("removing", number) as bar:
        async with Take(await queues.receiver(Queue.DEAD_LETTERS), chosen) as take:
            while not stop.is_set() and (messages := await take.lock(BATCH)):
                dead_letters = [read_dead_letter(message) for message in messages]
                numbers = [dead.number for dead in dead_letters]
                run.write("removing", numbers=numbers, earlier=earlier_replays(dead_letters))
                for each in numbers:
                    await take.complete(each)
                advance(bar, take.completed)
    run.write("end", removed=take.completed)
    return _Purged(number, take.completed, stop.is_set())


def _agree(number: int, typed: str | None) -> None:
    if not number:
        raise OpsError("there are no such dead letters: nothing was removed")
    word = f"purge {number}"
    if typed is not None and typed != word:
        raise Guarded(f"--confirm says {typed!r}, and {count(number, 'dead letter')} match: nothing was removed")
    confirm(f"{count(number, 'dead letter')} will be removed for good. Type:", yes=typed is not None, word=word)


async def _import(
    queues: Queues, dead_letters: Sequence[DeadLetter], rate: float, stop: asyncio.Event
) -> tuple[int, int]:
    run = Run(Audit(machine.audit_path()), "import", machine.new_run_id())
    burst, wait = pace(rate)
    archived = {outgoing.message_id: outgoing for outgoing in map(restored, dead_letters)}
    run.write("begin", messages=len(dead_letters))
    there = {message.message_id async for message in queues.peek(Queue.DEAD_LETTERS) if message.message_id in archived}
    missing = [outgoing for message_id, outgoing in archived.items() if message_id not in there]
    sent = arrived = 0
    with progress("putting back", len(missing)) as bar:
        while sent < len(missing) and not stop.is_set():
            batch = missing[sent : sent + burst]
            await wait(len(batch))
            tail = await queues.tail(Queue.DEAD_LETTERS)
            await queues.send(batch)
            # The broker accepts what it drops as a duplicate: only what is there has arrived.
            ids = {outgoing.message_id for outgoing in batch}
            arrived += len({message.message_id async for message in queues.peek(Queue.DEAD_LETTERS, tail + 1)} & ids)
            sent += len(batch)
            advance(bar, sent)
    run.write("end", sent=sent, arrived=arrived)
    return arrived, len(dead_letters) - len(missing) + sent - arrived


async def _send_edited(queues: Queues, dead: DeadLetter, mended: DeadLetter) -> str:
    run = Run(Audit(machine.audit_path()), "edit", machine.new_run_id())
    outgoing = edited(mended, run.id)
    async with Take(await queues.receiver(Queue.DEAD_LETTERS), Chosen([dead.number])) as take:
        if not await take.lock(1):
            raise OpsError(
                f"dead letter {dead.number} is held by another session; nothing was sent; try again in five minutes"
            )
        run.write("sending", number=dead.number, message=mask_text(outgoing.message_id))
        await queues.send([outgoing])
        await take.complete(dead.number)
        run.write("sent", number=dead.number, earlier=earlier_replays([dead]))
    return mask_text(outgoing.message_id)


def _examine(dead: DeadLetter, body: bytes, rule: Rule) -> DeadLetter:
    mended = read_dead_letter(replace(dead.message, body=body))
    verdict = rule.judge(mended, datetime.now(UTC))
    if verdict.replay is Replay.NEVER:
        raise Guarded(f"what you wrote may not be sent: {mask_text(verdict.why)}; nothing was changed")
    return mended


def _show_difference(before: bytes, after: bytes) -> None:
    old, new = (mask_text(text.decode(errors="replace")).splitlines() for text in (before, after))
    for line in difflib.unified_diff(old, new, "dead letter", "edited", lineterm=""):
        say(line)


def _archive_file() -> Path:
    return machine.state_folder() / "archives" / f"purge-{machine.new_run_id()}.jsonl"


@contextmanager
def _lines_to(name: str, *, private: bool = True) -> Iterator[TextIO]:
    if name == "-":
        yield sys.stdout
        return
    flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if private else 0)
    try:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(name, flags, 0o600)
    except OSError as error:
        raise Mistake(f"{name}: {error.strerror}; nothing was touched; name another file") from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        yield file
