"""One message of an invocation, decoded as far as it can be. Pure."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from optout_core.arrivals import Arrival, Lineage
from optout_core.errors import EventError
from optout_core.events import Event, EventResult, Ignored, OptIn, OptOut, decode, decode_stops
from optout_core.keywords import Keywords
from optout_core.masking import Untrusted
from optout_core.messages import undecodable
from optout_core.ordinary import read_ordinary
from optout_core.outgoing import Outgoing, read_parked
from optout_core.properties import PARKED
from optout_core.reports import EventReport


class Incoming(Struct):
    """A message, and what it says.

    Attributes:
        arrival: The message as it came.
        lineage: How often it has been round.
        events: What it says; of one that is refused only the STOPs that can be read.
        error: Why it is refused as a whole, or None.
        parked: The dead letter that it is, with its verdict, or None.
        size: What there is to do: its recipients, or one where there are none.
    """

    arrival: Arrival
    lineage: Lineage
    events: tuple[Event, ...] = ()
    error: EventError | None = None
    parked: Outgoing | None = None
    size: int = 1

    @classmethod
    def read(cls, arrival: Arrival, lineage: Lineage, keywords: Keywords) -> Self:
        """Decode a message; one that cannot be decoded is no error here."""
        if PARKED in arrival.properties and (parked := read_parked(arrival)):
            return cls(arrival, lineage, parked=parked)
        if lineage.sent_back:
            # Somebody sent a dead letter back by hand, with its properties: the schedule starts anew.
            lineage = replace(lineage, attempt=0)
        if ordinary := read_ordinary(arrival, lineage.first_enqueued):
            return cls(arrival, lineage, (ordinary,), None, None, len(ordinary.recipients))
        events: tuple[Event, ...]
        error: EventError | None = None
        try:
            events = decode(arrival, keywords)
        except EventError as refusal:
            events, error = decode_stops(arrival, keywords), refusal
        size = sum([1 if isinstance(event, Ignored) else len(event.recipients) for event in events]) or 1
        return cls(arrival, lineage, events, error, size=size)

    def of_dead_letter(self) -> Iterator[OptIn | OptOut]:
        """Give what the dead letter that it is was about; nothing where its body is no event."""
        with suppress(EventError):
            yield from (event for event in decode(self.arrival) if not isinstance(event, Ignored))

    def dead_letter(self) -> Outgoing | None:
        """Give the dead letter that it is as a whole, or None."""
        return undecodable(self.arrival, self.lineage, self.error) if self.error else self.parked

    def reports(self) -> Sequence[Event | EventReport]:
        """Report its events; one that waited as a dead letter was reported before."""
        if self.error is None:
            return self.events
        refused = EventResult.DEAD_LETTERED
        message = EventReport(Untrusted(""), Untrusted(self.arrival.id), "unknown", refused, self.error.reason)
        return (*self.events, message)
