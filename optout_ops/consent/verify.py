"""Compares ACS's list with the ledger, and sends the word of a STOP again that the list does not show.

It finds what no protocol can prevent: events that were lost, others who write to the list, a call that acted later than
CALL_HORIZON.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from optout_core.adapters.ledger.records import Entry, Records
from optout_core.arrivals import Lineage
from optout_core.consent import moment_of
from optout_core.envelopes import Form
from optout_core.events import CONTENT_TYPE, OptOut, encode
from optout_core.masking import Untrusted
from optout_core.messages import Kind, message_id
from optout_core.numbers import Number, read_number, read_sender
from optout_core.outgoing import Outgoing, Queue
from optout_ops.health.check import ListEntry, Standing
from optout_ops.queues.protocols import Sends


class Finding(StrEnum):
    """What came of a person."""

    AGREES = "the list says the newest word"
    LOST_STOP = "a STOP that the list does not show: its word is sent again"
    FOREIGN_STOP = "opted out at ACS, by a STOP that the ledger does not know: nothing is changed"
    OPEN = "not settled yet: nothing is changed"
    UNKNOWN = "ACS does not say: ask again"


@dataclass(slots=True)
class Tally:
    """How many people came to which finding."""

    findings: Counter[Finding] = field(default_factory=Counter)
    is_interrupted: bool = False

    @property
    def is_fine(self) -> bool:
        """Say whether nothing needs to be looked at."""
        return not {*self.findings} - {Finding.AGREES, Finding.OPEN}


#: Asks ACS for people of one sender.
Check = Callable[[Number, Sequence[Number]], Awaitable[dict[Number, ListEntry]]]


def finding(entry: Entry, standing: Standing) -> Finding:
    """Compare what the ledger knows of a person with what the list says."""
    if standing is Standing.UNKNOWN:
        return Finding.UNKNOWN
    is_listed = standing is Standing.OPTED_OUT
    if is_listed == entry.row.stop:
        return Finding.AGREES
    if not entry.row.settled:
        return Finding.OPEN
    return Finding.LOST_STOP if entry.row.stop else Finding.FOREIGN_STOP


def again(entry: Entry, now: datetime) -> Outgoing:
    """Make the message that brings a STOP once more: the same word, under a new MessageId.

    Args:
        entry: The person, whose newest word is a STOP.
        now: The current time; aware. It tells this message from that of another verification.
    """
    sender, recipient = _written(entry)
    word = entry.word
    stop = OptOut(
        form=Form.CLOUD_EVENT,
        source=Untrusted(word.source if word else "urn:optout:consent-verify"),
        id=Untrusted(word.event if word else "erased"),
        time=moment_of(entry.row.said_at),
        sender=sender,
        recipients=(recipient,),
    )
    lineage = Lineage(attempt=0, hop=0, first_enqueued=now)
    return Outgoing(
        queue=Queue.OPT_INS,
        message_id=message_id(stop, Kind.REPLAY, lineage, (recipient.text,)),
        body=encode(stop),
        content_type=CONTENT_TYPE,
        properties={},
    )


def _written(entry: Entry) -> tuple[Number, Number]:
    if entry.word:
        return read_sender(entry.word.from_sender), read_number(entry.word.recipient)
    return read_sender(entry.key.sender), read_number(entry.key.person)


async def compare(  # noqa: PLR0913 - all that it works with, by name
    records: Records,
    check: Check,
    queues: Sends,
    *,
    since: int,
    now: datetime,
    advance: Callable[[int], None],
    stop: asyncio.Event,
) -> Tally:
    """Compare everybody for whom a call was admitted since a moment.

    Args:
        records: The ledger.
        check: Asks ACS for people of one sender.
        queues: Take a word that is sent again.
        since: Microseconds since 1970.
        now: The current time; aware.
        advance: Called with how many people were compared.
        stop: Ends it between two questions.

    Raises:
        OutOfReach: ACS, the ledger or the broker gives no answer; what was found before is done.
    """
    tally = Tally()
    async for page in records.changed(since):
        by_sender: dict[Number, dict[Number, Entry]] = {}
        for entry in page:
            sender, recipient = _written(entry)
            by_sender.setdefault(sender, {})[recipient] = entry
        for sender, entries in by_sender.items():
            if stop.is_set():
                tally.is_interrupted = True
                return tally
            standings = await check(sender, tuple(entries))
            for recipient, entry in entries.items():
                found = finding(entry, standings[recipient].standing)
                tally.findings[found] += 1
                if found is Finding.LOST_STOP:
                    # First the ledger: a word that comes while it counts as settled would call nothing.
                    await records.unsettle(entry)
                    await queues.send([again(entry, now)])
        advance(tally.findings.total())
    return tally
