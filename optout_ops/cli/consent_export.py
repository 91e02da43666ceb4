"""`optout consent export`."""

import asyncio
import csv
import json
from pathlib import Path
from typing import Annotated

import typer

from optout_core.consent import microseconds
from optout_ops import files, machine
from optout_ops.cli.live import live
from optout_ops.cli.options import Note, Reach
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import out, show_json
from optout_ops.consent.history import COLUMNS, as_document, as_rows
from optout_ops.consent.ledger import open_records
from optout_ops.exits import ExitCode, Mistake
from optout_ops.wording import count, read_past


def export(
    outside: Outside,
    reach: Reach,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="A new file: .jsonl, or .csv for a spreadsheet.")
    ],
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Words that arrived at or after this time (UTC).")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Words that arrived before.")] = None,
    masked: Annotated[bool, typer.Option("--masked", help="Mask the numbers.")] = False,
    note: Note = None,
) -> int:
    """Write every word with its evidence and the answers of ACS to a file, for an auditor.

    The file holds numbers in full, unless masked, and only you can read it. A CSV has a row for each answer.
    """
    settings, now = outside.settings(reach.namespace, needs_queues=False), outside.now()
    try:
        first = microseconds(read_past(since, now)) if since else 0
        last = microseconds(read_past(until, now)) if until else _EVER
    except ValueError as error:
        raise Mistake(f"--since or --until {error}; nothing was written") from None
    if output.suffix not in {".jsonl", ".csv"}:
        raise Mistake(f"{output} must end in .jsonl or .csv; nothing was written")
    outside.recorder("consent export", machine.new_run_id(), note).write("reveal", file=str(output), masked=masked)

    async def work(stop: asyncio.Event) -> int:
        done = 0
        async with open_records(settings) as records:
            with files.new_file(str(output)) as file, live("exporting", None) as shown:
                table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                if output.suffix == ".csv":
                    table.writeheader()
                async for word in records.words(first, last):
                    if output.suffix == ".csv":
                        table.writerows(map(_harmless, as_rows(word, reveal=not masked)))
                    else:
                        file.write(json.dumps(as_document(word, reveal=not masked), ensure_ascii=False) + "\n")
                    done += 1
                    shown.advance(done)
                    if stop.is_set():
                        raise KeyboardInterrupt
        return done

    done = machine.run(work)
    if reach.as_json:
        show_json({"words": done, "file": str(output)})
    else:
        out().print(f"{count(done, 'word')} in {output}.", markup=False, soft_wrap=True)
    return ExitCode.DONE


def _harmless(row: dict[str, object]) -> dict[str, object]:
    """Keep a spreadsheet from taking a text from outside for a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return {
        name: f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) and name not in _NUMBERS else value
        for name, value in row.items()
    }


#: Microseconds since 1970, beyond every date.
_EVER = 2**62
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: A number begins with its plus and holds nothing but digits.
_NUMBERS = frozenset({"recipient"})
