"""An import: dead letters of an archive are put back into the dead-letter queue, each once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from optout_core.outgoing import Outgoing, Queue
from optout_ops.exits import Mistake
from optout_ops.letters import archive
from optout_ops.letters.letter import Letter, read_letter
from optout_ops.letters.replacement import restored
from optout_ops.queues.messages import EncodedMessage
from optout_ops.queues.pacing import Pace, send_at_pace
from optout_ops.queues.protocols import Peeks, QueuePair
from optout_ops.run import Run


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What became of the dead letters that were put back.

    Attributes:
        arrived: Dead letters that are in the queue now.
        dropped: Dead letters that the broker accepted and dropped as duplicates: it has seen their ids in the last ten
            minutes, in an earlier import.
    """

    arrived: int = 0
    dropped: int = 0


def read_archive(file: Path) -> list[Letter]:
    """Read the dead letters of an archive.

    Raises:
        Mistake: The file or one of its lines cannot be read, or its numbers are masked.
    """
    try:
        with file.open(encoding="utf-8") as lines:
            return [read_letter(archive.read(line, number)) for number, line in enumerate(lines, 1) if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"{file} cannot be read ({error}); nothing was put back") from None


async def find_missing(queues: Peeks, letters: Sequence[Letter]) -> list[Outgoing | EncodedMessage]:
    """Give the messages that put back those of the dead letters that are not in the queue.

    A dead letter is in the queue when an earlier import put it back, or when it was exported without being removed.

    Raises:
        OutOfReach: The dead letters cannot be read.
    """
    missing = {outgoing.message_id: outgoing for outgoing in map(restored, letters)}
    # Publishers exist whose messages all have one id, or none: only the place in the queue tells them apart.
    originals = {(letter.number, letter.fingerprint): restored(letter).message_id for letter in letters}
    async for message in queues.peek(Queue.DEAD_LETTERS):
        missing.pop(message.message_id or "", None)
        missing.pop(originals.get((message.sequence_number, read_letter(message).fingerprint), ""), None)
    return list(missing.values())


async def put_back(
    queues: QueuePair,
    missing: Sequence[Outgoing | EncodedMessage],
    *,
    pace: Pace,
    run: Run,
) -> RestoreResult:
    """Put dead letters back, until all are sent or the run is stopped, and count those that are in the queue then.

    Args:
        queues: Where they go.
        missing: What `find_missing` gave.
        pace: How fast they are sent.
        run: The run.

    Raises:
        OutOfReach: The broker did not take all of them; the same import again sends the rest.
    """
    run.recorder.write(
        "begin", namespace=queues.namespace, queue=queues.names[Queue.DEAD_LETTERS], messages=len(missing)
    )
    sent = 0

    async def send(burst: Sequence[Outgoing | EncodedMessage]) -> None:
        if encoded := [each for each in burst if isinstance(each, EncodedMessage)]:
            await queues.send_encoded(Queue.DEAD_LETTERS, encoded)
        if outgoing := [each for each in burst if isinstance(each, Outgoing)]:
            await queues.send(outgoing)

    with run.recorder.ended() as end:
        tail = await queues.tail(Queue.DEAD_LETTERS)
        async for sent in send_at_pace(send, missing, pace=pace, stop=run.stop):
            end["sent"] = sent
            run.advance(sent)
        run.note_interruption(end)
        # The broker accepts a message that it drops as a duplicate: only a message that can be peeked has arrived.
        ids = {outgoing.message_id for outgoing in missing}
        arrived = {message.message_id async for message in queues.peek(Queue.DEAD_LETTERS, tail + 1)} & ids
        end["arrived"] = len(arrived)
    return RestoreResult(arrived=len(arrived), dropped=sent - len(arrived))
