"""Phone numbers: how they are cleaned before they are sent, and how they are shown to people.

A number is personal data. Everything that a person or a log may see goes through `mask` or `mask_text`.
"""

import re

#: What people put between digits. Nothing else is changed: the API is the authority on what a number is.
_SEPARATORS = str.maketrans("", "", " -.()")

#: Inbound ACS samples carry numbers without "+"; this many digits can only be an international number
#: (facts/acs-optouts.md, "Event schemas"; E.164 allows at most 15).
_INTERNATIONAL = re.compile(r"[0-9]{11,15}")

#: Fewer digits than this identify nobody: short codes have 5 or 6, test values such as +123 have 3.
_PERSONAL_DIGITS = 7
#: From here on the usual mask, four digits at either end, still hides at least three.
_LONG_NUMBER = 11

#: With a "+", or digits that stand alone: the digits inside an id such as Incoming_20200918002745d29e are no number.
#: A UUID may have a group of digits only; masked, nobody could look for it.
_IN_TEXT = re.compile(
    r"(?P<uuid>\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b)"
    r"|\+[0-9 .()-]{5,}[0-9]|(?<!\w)[0-9]{7,}(?!\w)"
)

#: As people write them, and behind letters: in what a publisher wrote a number may have any form. No date, no time.
_WRITTEN = re.compile(
    r"(?<![\w:.-])(?![0-9]{4}-[0-9]{2}-[0-9]{2})\(?[0-9][0-9 ().-]{5,}[0-9](?![\w:-])|(?<=[^\W0-9])[0-9]{10,15}(?!\w)"
)
#: How .NET writes "+" in JSON.
_ESCAPED_PLUS = re.compile(r"\\u002b", re.IGNORECASE)


def clean(number: str) -> str:
    """Remove blanks, "-", ".", "(" and ")" from a number.

    A sender with letters in it is an alphanumeric sender ID, in which blanks and dashes have a meaning: it stays as
    it is (https://learn.microsoft.com/azure/communication-services/concepts/sms/sms-faq).
    """
    return number if any(character.isalpha() for character in number) else number.translate(_SEPARATORS)


def with_plus(number: str) -> str:
    """Clean a number from an ACS event and give it the "+" that those events leave out."""
    cleaned = clean(number)
    return f"+{cleaned}" if _INTERNATIONAL.fullmatch(cleaned) else cleaned


def mask(number: str) -> str:
    """Show a number so that its owner recognises it and nobody else does: `+1555•••5551`."""
    digits = sum(character.isdigit() for character in number)
    if digits < _PERSONAL_DIGITS:
        return number
    shown = 2 if digits < _LONG_NUMBER else 4
    return f"{number[: shown + number.startswith('+')]}•••{number[-shown:]}"


def mask_text(text: str) -> str:
    """Mask every run in a text that may be a phone number."""
    return _IN_TEXT.sub(lambda found: found.group() if found["uuid"] else mask(found.group()), text)


def mask_body(text: str) -> str:
    """Mask every number in what a publisher wrote, however it is written; what is no number may be masked with it."""
    plain = mask_text(_ESCAPED_PLUS.sub("+", text))
    return _WRITTEN.sub(lambda found: mask(found.group()), plain)
