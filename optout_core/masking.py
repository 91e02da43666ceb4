"""Text from outside, as it may be shown: no phone number in full, no control character, no endless line.

Whatever a publisher, a broker or ACS wrote is `Untrusted` from the moment it is read. Formatting one shows it masked;
only `.raw` gives what came. Masking goes by digits: a run of seven or more, of any script, with blanks, dashes and
other separators between them, may be a phone number, wherever it stands. Dates, UUIDs, hashes and addresses stay.
"""

import json
import re
from base64 import b64decode
from binascii import Error as NotBase64
from typing import Any
from unicodedata import decimal, normalize

from msgspec import Struct

#: Fewer digits than this identify nobody: short codes have 5 or 6, test values such as +123 have 3.
_PERSONAL_DIGITS = 7
#: From here on four digits at either end still hide at least three.
_LONG_NUMBER = 11
#: Characters of one text that are shown; a longer one is cut. An id of ours has at most 128.
_SHOWN = 1024

#: What may stand between two digits of one number: a few blanks, line breaks, `. ( ) / _ + -`, the mark that lengthens
#: a Japanese vowel, and percent-encoded signs; and any number of signs that are no letter and not ASCII, such as dashes
#: and invisible marks. `•` and `…` are what we put there ourselves.
_ODD = r"[^\w\s!-~•…]*"
_BETWEEN = rf"{_ODD}(?:(?:%[0-9A-Fa-f]{{2}}|[\s.()/_+\u30fc-]){_ODD}){{0,4}}"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
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
    rf"|(?<![0-9]\.){_OCTET}(?:\.{_OCTET}){{3}}(?!\.[0-9])(?::[0-9]{{1,5}})?"  # an address
    r")(?![0-9A-Za-z])"
)
_DIGITS = re.compile(rf"\+?\(?\d(?:{_BETWEEN}\d){{{_PERSONAL_DIGITS - 1},}}")
#: Nothing is masked in a text with fewer digits, whatever stands between them.
_ENOUGH_DIGITS = re.compile(rf"(?:\d\D*){{{_PERSONAL_DIGITS}}}")
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_BASE64 = re.compile(r"[0-9A-Za-z+/_-]{12,}={0,2}")
#: UTF-16 of a text in a Latin script has a NUL in every second place, and UTF-8 has none.
_SHARE_OF_NUL = 4


class Untrusted(Struct, frozen=True, gc=False):
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
    digits = "".join(filter(str.isdecimal, ascii_digits(number)))
    if len(digits) < _PERSONAL_DIGITS:
        return number
    shown = 2 if len(digits) < _LONG_NUMBER else 4
    return f"{'+' if number.startswith('+') else ''}{digits[:shown]}•••{digits[-shown:]}"


def ascii_digits(text: str) -> str:
    """Write the decimal digits of every script as 0 to 9; everything else stays."""
    return text if text.isascii() else "".join(str(decimal(each)) if each.isdecimal() else each for each in text)


def mask_text(text: str) -> str:
    """Mask every run of digits in a text that may be a phone number; a text without one stays as it is."""
    if text.isascii():
        return _masked_numbers(text)
    # Superscript, circled and mathematical digits are digits to whoever reads a number.
    compatible = normalize("NFKC", text)
    masked = _masked_numbers(compatible)
    return text if masked == compatible else masked


def _masked_numbers(text: str) -> str:
    if not _ENOUGH_DIGITS.search(text):
        return text
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


def show_value(value: object) -> object:
    """Show the value of a property from outside: flags and counts as they are, anything that may be a number masked."""
    if value is None or (isinstance(value, bool | int | float) and not holds_number(str(value))):
        return value
    return show(str(value))


def printable(text: str) -> str:
    """Give a text on one line, with a blank or `�` for each character that could change what a terminal shows."""
    return text if text.isprintable() else "".join(map(_printable, text))


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
        return json.dumps(_masked(json.loads(text)), ensure_ascii=False, separators=(", ", ": "))
    except (ValueError, RecursionError):
        return _masked_text(text)


def find_number(body: bytes, digits: str) -> bool:
    """Say whether a number stands in a body that cannot be decoded, however it is written there.

    Args:
        body: The bytes of a message.
        digits: The number without "+". Only what people write inside a number may stand between its digits: two fields
            side by side are no number.
    """
    text = _text(body)
    if not digits or text is None:
        return False
    return re.search(_BETWEEN.join(digits), ascii_digits(normalize("NFKC", _unescaped(text)))) is not None


def _shown_lines(text: str) -> str:
    # Masked as a whole: a line break may stand between two digits of a number.
    return "".join(character if character == "\n" else _printable(character) for character in mask_text(text))


def _text(body: bytes) -> str | None:
    encoding = "utf-16" if body[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if encoding == "utf-8-sig" and body.count(0) * _SHARE_OF_NUL > len(body):
        encoding = "utf-16-be" if body[::2].count(0) > body[1::2].count(0) else "utf-16-le"
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
    return show_value(value)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def _masked_text(text: str) -> str:
    text = _unescaped(text)
    inner = _from_base64("".join(text.split()))
    if inner is not None:
        return f"<base64 of {len(inner)} characters> {_masked_text(inner)}"
    return _shown_lines(_BASE64.sub(_opened, text))


def _opened(found: re.Match[str]) -> str:
    inner = _from_base64(found.group())
    return found.group() if inner is None or not holds_number(inner) else f"<base64> {_masked_text(inner)}"


def _from_base64(text: str) -> str | None:
    """Give the text that a text is base64 of, or None."""
    if not _BASE64.fullmatch(text):
        return None
    text = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        decoded = _text(b64decode(text + "=" * (-len(text) % 4), validate=True))
    except NotBase64:
        return None
    if decoded is None or holds_number(decoded):
        return decoded
    return decoded if all(character.isprintable() or character.isspace() for character in decoded) else None
