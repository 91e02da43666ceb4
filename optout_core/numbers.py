"""One answer to "what number is this": made once, when an event is decoded, and used by everything else.

Nobody else cleans, compares or masks a number. A `Number` shows itself masked; `.text` is the number itself.
"""

import re
from collections.abc import Sequence
from unicodedata import category, normalize

from msgspec import Struct

from optout_core.masking import ascii_digits, mask, show

#: E.164 allows at most 15 digits, and no country code begins with 0 (ITU-T E.164, 6). Three digits are the fewest that
#: the API's own reference sends (`+123`).
_CLEAR = re.compile(r"\+?[1-9][0-9]{2,14}")
#: What is sent as it is written, of many a line each.
_INTERNATIONALLY = re.compile(r"(?:\+[1-9][0-9]{2,14}\n)+")
#: So many digits without "+" can only be an international number.
_INTERNATIONAL = range(11, 16)
#: In an event of ACS itself the number is always international, and always without "+" (docs/facts/acs-optouts.md,
#: "Event schemas"); with seven digits or more it can be no short code.
_INTERNATIONAL_OF_ACS = range(7, 16)
#: How phones, web pages and contact lists write that what follows is a number (RFC 3966, RFC 5724).
_SCHEME = re.compile(r"(?:tel|sms):(?://)?", re.IGNORECASE)
_EXTENSION = re.compile(r";ext=.*", re.IGNORECASE | re.DOTALL)
#: `+44 (0)7700 900123`: the zero is dialled inside the country only and is no part of the number. No country code has
#: more than three digits.
_TRUNK_ZERO = re.compile(r"(\+?[1-9][0-9]{0,2})\(0\)(?=[0-9])")
_SEPARATORS = str.maketrans("", "", ".()/")
#: Signs that people take for a dash though Unicode does not count them among the dashes: the minus sign, and the mark
#: that lengthens a Japanese vowel.
_DASHES = frozenset("\u2212\u30fc")
_INVISIBLE = frozenset({"Cf", "Zs", "Zl", "Zp", "Pd"})

#: Countries that write one line in two ways: the digits to recognise, and what the other way lacks.
#: Mexico dropped the 1 after 52 in 2019; Argentina puts a 9 before a mobile number dialled from abroad; Brazil put a 9
#: before mobile numbers from 2012 to 2016.
_TWO_WAYS = (
    (re.compile(r"\+521([0-9]{10})"), r"+52\1"),
    (re.compile(r"\+549([0-9]{10})"), r"+54\1"),
    (re.compile(r"\+55([0-9]{2})9([0-9]{8})"), r"+55\1\2"),
)
_OF_TWO_WAYS = frozenset({"+52", "+54", "+55"})


class Number(Struct, frozen=True, gc=False, cache_hash=True):
    """A phone number, short code or sender name; printing it shows it masked.

    A struct of msgspec, since there is one for each recipient, who is looked up several times: a dataclass costs five
    times as much to make and ten times as much to hash.

    Attributes:
        text: What is sent: the cleaned number, or what was written where that is none. Never print it.
        is_clear: Whether it can be a number, and is worth a question to ACS.
        is_name: Whether it is an alphanumeric sender ID, in which blanks and dashes have a meaning.
    """

    text: str
    is_clear: bool
    is_name: bool = False

    def __str__(self) -> str:
        """Show the number masked, such as `+1555•••5551`; a sender name as it is."""
        return mask(self.text) if self.is_clear and not self.is_name else show(self.text)

    def __repr__(self) -> str:
        """Show the number masked."""
        return f"<{self}>"

    @property
    def is_international(self) -> bool:
        """Say whether the number names one person in the world."""
        return self.is_clear and self.text.startswith("+")

    @property
    def digits(self) -> str:
        """Give the number without its "+", as ACS may write it."""
        return self.text.removeprefix("+")


def read_number(written: str) -> Number:
    """Read the number of a person, however it is written.

    Args:
        written: Any text. Blanks, dashes, invisible marks and `. ( ) /` go, digits of any script become ASCII, `tel:`,
            `sms:` and `;ext=` go, a leading `00` is `+`, a `(0)` behind a country code goes, and 11 to 15 digits
            without `+` get one.
    """
    if _CLEAR.fullmatch(written) and (written[0] == "+" or len(written) not in _INTERNATIONAL):
        return Number(written, True)  # noqa: FBT003 - by name takes longer
    return _read(written, _INTERNATIONAL)


def read_numbers(written: Sequence[str]) -> tuple[Number, ...]:
    """Read the numbers of several people as `read_number` does: in order, each once."""
    texts = dict.fromkeys(written)
    # Almost always.
    lines = "\n".join(texts) + "\n"
    if _INTERNATIONALLY.fullmatch(lines) and lines.count("\n") == len(texts):
        return tuple([Number(text, True) for text in texts])  # noqa: FBT003 - by name takes longer
    return tuple(dict.fromkeys(map(read_number, texts)))


def read_number_of_acs(written: str) -> Number:
    """Read a number of an event of ACS, which leaves out the `+`: 7 to 15 digits get it back."""
    return _read(written, _INTERNATIONAL_OF_ACS)


def read_sender(written: str, *, of_acs: bool = False) -> Number:
    """Read a sender: a number, a short code, or a name with letters in it.

    A name is compared without case and surrounding blanks and sent as it is written
    (https://learn.microsoft.com/azure/communication-services/concepts/sms/sms-faq).
    """
    number = read_number_of_acs(written) if of_acs else read_number(written)
    name = written.strip()
    if number.is_clear or not any(character.isalpha() for character in name) or not name.isprintable():
        return number
    return Number(name, is_clear=True, is_name=True)


def person_key(number: Number) -> str:
    """Give what tells whether two numbers are the same person's: one key for both ways of writing one line.

    Erring joins two spellings of a STOP, never an opt-in: what is sent stays as cleaned.
    """
    if number.text[:3] in _OF_TWO_WAYS:
        for two_ways, one_way in _TWO_WAYS:
            if two_ways.fullmatch(number.text):
                return two_ways.sub(one_way, number.text)
    return number.text


def sender_key(sender: Number) -> str:
    """Give what tells whether two senders are the same one: the number, or the name without case."""
    return sender.text.casefold() if sender.is_name else sender.text


def _read(written: str, international: range) -> Number:
    text = _compact(_EXTENSION.sub("", _SCHEME.sub("", written.strip(), count=1)))
    text = _TRUNK_ZERO.sub(r"\1", f"+{text[2:]}" if text.startswith("00") else text, count=1).translate(_SEPARATORS)
    if text.isdecimal() and len(text) in international and text[0] != "0":
        text = f"+{text}"
    if _CLEAR.fullmatch(text):
        return Number(text, is_clear=True)
    # Half a surrogate pair could be written nowhere.
    return Number(written.encode(errors="replace").decode(), is_clear=False)


def _compact(text: str) -> str:
    """Leave out blanks, dashes and invisible marks, and write digits of every script in ASCII."""
    return "".join(
        each
        for each in ascii_digits(normalize("NFKC", text))
        if not (each.isspace() or category(each) in _INVISIBLE or each in _DASHES)
    )
