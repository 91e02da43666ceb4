"""An edit: body or properties of one dead letter are corrected by hand, and it is sent in place of the dead letter."""

import difflib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from math import isfinite
from typing import Protocol

from msgspec import structs
from pydantic import TypeAdapter, ValidationError

from optout_core.masking import mask_body, show
from optout_core.outgoing import Queue
from optout_core.properties import OURS
from optout_core.reasons import Replay
from optout_ops.audit import Recorder
from optout_ops.exits import Guarded, Mistake, OpsError
from optout_ops.letters.letter import Letter, read_letter, recipients_by_replay
from optout_ops.letters.replacement import edited_replacement
from optout_ops.letters.verdicts import ReplayRule
from optout_ops.queues.protocols import QueuePair
from optout_ops.queues.sequence_numbers import SequenceNumbers

#: Characters of a line in which a difference can be seen; JSON with longer ones is broken at each field.
_READABLE = 500
_FACTS: TypeAdapter[dict[str, str | bool | int | float | None]] = TypeAdapter(
    dict[str, str | bool | int | float | None]
)


class Part(Protocol):
    """The part of a dead letter that is edited."""

    def read(self, letter: Letter) -> bytes:
        """Give it as the operator edits it."""

    def replaced(self, letter: Letter, text: bytes) -> Letter:
        """Give the dead letter with what the operator wrote.

        Raises:
            Mistake: It cannot be read.
        """


class Body:
    """The body, as it is."""

    def read(self, letter: Letter) -> bytes:
        """Give the bytes of the body."""
        return letter.message.body

    def replaced(self, letter: Letter, text: bytes) -> Letter:
        """Give the dead letter with another body."""
        return read_letter(structs.replace(letter.message, body=text, unreadable=None))


class Properties:
    """The application properties as a JSON object, without those of ours.

    What the client cannot read is not in it, and is left out of what is sent.
    """

    def read(self, letter: Letter) -> bytes:
        """Give the properties, one a line."""
        facts = {name: _written(value) for name, value in letter.message.properties.items() if not _is_ours(name)}
        return (json.dumps(facts, ensure_ascii=False, indent=2) + "\n").encode(errors="surrogatepass")

    def replaced(self, letter: Letter, text: bytes) -> Letter:
        """Give the dead letter with other properties.

        Raises:
            Mistake: It is no JSON object of texts, numbers, true, false and null.
        """
        try:
            written = _FACTS.validate_json(text)
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False)[0]
            raise Mistake(f"the properties cannot be read: {problem['msg']}; nothing was changed") from None
        before = letter.message.properties
        ours = {name: value for name, value in before.items() if _is_ours(name)}
        # What was not touched keeps its type.
        facts = {
            name: before[name] if name in before and _written(before[name]) == value else value
            for name, value in written.items()
        }
        return read_letter(structs.replace(letter.message, properties=ours | facts, unread={}, encoded=b""))


def edited(letter: Letter, text: bytes, part: Part, *, rule: ReplayRule, now: datetime) -> Letter | None:
    """Give the edited dead letter; None when only blanks at the end differ, which editors add.

    Raises:
        Mistake: What was written cannot be read.
        Guarded: The edited dead letter may not be replayed, or only after a fix.
    """
    if text.rstrip() == part.read(letter).rstrip():
        return None
    made = part.replaced(letter, text)
    if made.decode_error is not None:
        raise Guarded(f"it cannot be read: {show(made.decode_error)}; nothing was changed")
    if letter.decode_error is not None and not made.has_event_without_time:
        # It could not be read, and now it can: that was the fix.
        rule = replace(rule, fixed=True)
    verdict = rule.judge(made, now)
    if not rule.chooses(verdict):
        hint = "; if it is mended now, say --fixed" if verdict.advice is Replay.AFTER_A_FIX else ""
        raise Guarded(f"it may not be sent ({verdict.advice}): {show(verdict.why)}; nothing was changed{hint}")
    return made


def _lines(text: str) -> list[str]:
    if max(map(len, text.splitlines()), default=0) > _READABLE:
        with suppress(ValueError):
            text = json.dumps(json.loads(text), ensure_ascii=False, indent=1)
    return text.splitlines()


def _is_ours(name: str) -> bool:
    return name in OURS or name.startswith("optout-")


def _written(value: object) -> object:
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value if isinstance(value, str | bool | int | float | None) else str(value)


def difference(before: bytes, after: bytes) -> Iterator[str]:
    """Yield the lines of a unified diff of two bodies, numbers masked."""
    old, new = (_lines(mask_body(body)) for body in (before, after))
    yield from difflib.unified_diff(old, new, "dead letter", "edited", lineterm="")
    if old == new:
        yield "The difference is in the numbers, which are masked here."


async def send_in_place(queues: QueuePair, letter: Letter, made: Letter, *, recorder: Recorder) -> str:
    """Send an edited dead letter, and remove the original when the broker has it.

    Returns:
        The MessageId of what was sent, numbers masked.

    Raises:
        OpsError: The original cannot be locked, and nothing was sent; or it could not be removed after sending.
        OutOfReach: A queue cannot be reached.
    """
    outgoing = edited_replacement(made, recorder.id)
    sent = show(outgoing.message_id)
    async with queues.locking(SequenceNumbers([letter.number])) as locking:
        if not await locking.lock(1):
            raise OpsError(
                f"dead letter {letter.number} is gone, or held by another session; nothing was sent; look with"
                " `optout dlq list`, or try again in five minutes"
            )
        recorder.write(
            "begin", namespace=queues.namespace, queue=queues.names[Queue.DEAD_LETTERS], number=letter.number
        )
        with recorder.ended():
            recorder.write("sending", numbers=[letter.number], recipients=[made.recipient_count], message=sent)
            await queues.send([outgoing])
            if not await locking.complete(letter.number):
                raise OpsError(
                    f"sent as {sent}, but dead letter {letter.number} is still there: its lock was lost; remove it with"
                    f" `optout dlq purge --number {letter.number}`"
                )
            recorder.write("sent", numbers=[letter.number], earlier=recipients_by_replay([letter]))
    return sent
