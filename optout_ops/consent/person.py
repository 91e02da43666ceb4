"""The person whose consent is asked about. Pure."""

from optout_core.consent import ConsentKey
from optout_core.numbers import person_key, read_number, read_sender, sender_key
from optout_ops.exits import Mistake


def read_key(number: str, sender: str) -> ConsentKey:
    """Read a number and a sender, however they are written.

    Raises:
        Mistake: One of them is none.
    """
    person, of = read_number(number), read_sender(sender)
    if not person.is_international or not of.is_clear:
        raise Mistake(
            "a person is a number with + and country, a sender a number, a short code or a name; nothing was read or"
            " changed"
        )
    return ConsentKey(sender_key(of), person_key(person))
