"""Text from outside, as it may be shown: no phone number in full, no control character, no endless line.

Whatever a publisher, a broker or ACS wrote is `Untrusted` from the moment it is read. Formatting one shows it masked;
only `.raw` gives what came. Masking goes by digits: a run of seven or more, of any script, with blanks, dashes and
other separators between them, may be a phone number, wherever it stands. Dates, UUIDs, hashes and addresses stay.
"""

import json
import re
from base64 import b64decode
from binascii import Error as NotBase64
from dataclasses import dataclass
from typing import Any
from unicodedata import digit

#: Fewer digits than this identify nobody: short codes have 5 or 6, test values such as +123 have 3.
_PERSONAL_DIGITS = 7
#: From here on four digits at either end still hide at least three.
_LONG_NUMBER = 11
#: Characters of one text that are shown; a longer one is cut. An id of ours has at most 128.
_SHOWN = 1024

#: What may stand between two digits of one number: blanks, tabs, line breaks, dashes, `. ( ) / _ +`, invisible marks,
#: and the same in percent-encoding.
_BETWEEN = (
    r"(?:%[0-9A-Fa-f]{2}|[\s.()/_+\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
    r"\-\u058a\u05be\u1400\u1806\u2010-\u2015\u2212\u2e3a\u2e3b\u301c\u3030\u30a0\u30fc\ufe31\ufe32\ufe58\ufe63\uff0d])"
)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
#: What holds many digits and is no number. A UUID or a hash that is masked could not be looked for.
_NO_NUMBER = re.compile(
    r"(?<![0-9A-Za-z])(?:"
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"  # a UUID
    r"|(?=[0-9]*[a-fA-F])(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32}|[0-9A-F]{64}|[0-9A-F]{32})"  # a hash, as hexadecimal
    r"|[rdp][0-9]{1,7}:[0-9a-f]{16}"  # the end of a MessageId of ours: kind, hop, hash
    # The ids of texts in events of ACS begin with the time (docs/facts/acs-optouts.md, "Event schemas").
    r"|(?:Incoming|Outgoing)_20[0-9]{2}(?:0[1-9]|1[0-2])[0-3][0-9][0-2][0-9][0-5][0-9][0-5][0-9][0-9a-f]{0,8}"
    r"(?:-[0-9a-f]{4}){0,3}(?:-[0-9a-f]{12})?"
    r"|(?:19|20|21)[0-9]{6}T[0-9]{6}Z(?:-[0-9a-f]{6})?"  # a replay id of `optout`
    r"|(?:19|20|21)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"  # a date
    r"(?:[T ][0-2][0-9]:[0-5][0-9](?::[0-6][0-9](?:[.,][0-9]{1,9})?)?(?: ?Z|[+-][0-9]{2}:?[0-9]{2})?)?"  # and a time
    rf"|{_OCTET}(?:\.{_OCTET}){{3}}(?::[0-9]{{1,5}})?"  # an address
    r")(?![0-9A-Za-z])"
)
_DIGITS = re.compile(rf"\+?\(?\d(?:{_BETWEEN}{{0,4}}\d){{{_PERSONAL_DIGITS - 1},}}")
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_BASE64 = re.compile(r"[0-9A-Za-z+/_-]{12,}={0,2}")


@dataclass(frozen=True, slots=True, repr=False)
class Untrusted:
    """Text that came from outside; shown masked, without control characters and not endlessly.

    Attributes:
        raw: The text as it came. Never print it.
    """

    raw: str

    def __str__(self) -> str:
        """Show the text."""
        return show(self.raw)

    def __repr__(self) -> str:
        """Show the text in quotes."""
        return repr(show(self.raw))


def mask(number: str) -> str:
    """Show a number so that its owner recognises it and nobody else does: `+1555•••5551`.

    Args:
        number: Any spelling; fewer than seven digits identify nobody and are shown as they are.
    """
    digits = "".join(str(digit(character)) for character in number if character.isdecimal())
    if len(digits) < _PERSONAL_DIGITS:
        return number
    shown = 2 if len(digits) < _LONG_NUMBER else 4
    return f"{'+' if number.startswith('+') else ''}{digits[:shown]}•••{digits[-shown:]}"


def mask_text(text: str) -> str:
    """Mask every run of digits in a text that may be a phone number."""
    parts, end = [], 0
    for kept in _NO_NUMBER.finditer(text):
        parts += [_mask_digits(text[end : kept.start()]), kept.group()]
        end = kept.end()
    return "".join((*parts, _mask_digits(text[end:])))


def _mask_digits(text: str) -> str:
    return _DIGITS.sub(lambda found: mask(_PERCENT.sub("", found.group())), text)


def holds_number(text: str) -> bool:
    """Say whether a text has a run of digits that may be a phone number."""
    return mask_text(text) != text


def show(text: str) -> str:
    """Show a text from outside: masked, on one line, without control characters, cut at 1,024 characters."""
    # Masked before it is cut, or the cut could leave the first digits of a number too few to be masked.
    masked = printable(mask_text(text))
    return masked if len(masked) <= _SHOWN else f"{masked[: _SHOWN - 1]}…"


def printable(text: str) -> str:
    """Give a text on one line, with a blank or `�` for each character that could change what a terminal shows."""
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else "\ufffd"


def mask_body(body: bytes) -> str:
    """Show the body of a message: JSON with every text in it masked, other text masked, anything else by its size.

    Text that holds text is opened first: UTF-16, JSON escapes, base64 of text.
    """
    text = _text(body)
    if text is None:
        return f"<{len(body)} bytes that are no text>"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return _shown_lines(_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text))
    return json.dumps(_masked(document), ensure_ascii=False, separators=(", ", ": "))


def _shown_lines(text: str) -> str:
    # Masked as a whole: a line break may stand between two digits of a number.
    return "".join(character if character == "\n" else _printable(character) for character in mask_text(text))


def _text(body: bytes) -> str | None:
    encoding = "utf-16" if body[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if b"\0" in body[:2] and encoding == "utf-8-sig":
        encoding = "utf-16-be" if body[:1] == b"\0" else "utf-16-le"
    try:
        return body.decode(encoding)
    except UnicodeDecodeError:
        return None


def _masked(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {_masked_text(name): _masked(content) for name, content in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if isinstance(value, str):
        return _masked_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and holds_number(str(value)):
        return mask_text(str(value))
    return value


def _masked_text(text: str) -> str:
    if _BASE64.fullmatch(text) and (inner := _from_base64(text)) is not None:
        return f"<base64 of {len(inner)} characters> {_shown_lines(inner)}"
    return _shown_lines(_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text))


def _from_base64(text: str) -> str | None:
    try:
        decoded = _text(b64decode(text.replace("-", "+").replace("_", "/"), validate=True))
    except NotBase64:
        return None
    readable = decoded is not None and all(character.isprintable() or character.isspace() for character in decoded)
    return decoded if readable else None
