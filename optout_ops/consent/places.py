"""What the ledger knows of a person, as one of the places where the person's word may be."""

from collections.abc import Iterable

from optout_core.adapters.ledger.records import Records
from optout_core.consent import ConsentKey, moment_of
from optout_core.masking import Untrusted
from optout_core.numbers import Number, person_key, sender_key
from optout_ops.health.whereabouts import Place
from optout_ops.wording import utc


async def places_of(records: Records, person: Number, senders: Iterable[Number]) -> list[Place]:
    """Give the newest word of a person to each of some senders; nothing of whom nothing is known."""
    places = []
    for sender in senders:
        row, words = await records.history(ConsentKey(sender_key(sender), person_key(person)))
        if row is None:
            continue
        newest = next((word for word in words if (word.said_at, word.stop) == (row.said_at, row.stop)), None)
        event = str(Untrusted(newest.event)) if newest else "erased"
        word = f"the newest word to {sender} is a{' STOP' if row.stop else 'n opt-in'}, event {event}"
        said = f"{word}, said {utc(moment_of(row.said_at))} UTC"
        if not row.settled:
            places.append(_place("unsettled", f"{said}; ACS's list is not known to say so yet", event, sender))
        elif newest and newest.answers:
            at = utc(moment_of(newest.answers[-1].answered_at))
            places.append(_place("applied", f"{said}; applied, ACS confirmed {at} UTC", event, sender))
        else:
            places.append(_place("applied", f"{said}; ACS's list is known to say so", event, sender))
    return places


def _place(what: str, sentence: str, event: str, sender: Number) -> Place:
    return Place(what=what, sentence=f"The ledger: {sentence}.", event=event, senders=frozenset({sender}))
