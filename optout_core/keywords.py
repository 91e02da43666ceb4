"""Which texts are a STOP and which are an opt-in.

Erring towards STOP costs little and erring towards an opt-in sends somebody texts they do not want. So a STOP is read
generously (docs/events.md, "STOP in words"), and an opt-in has to be exact: one keyword and nothing else.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from unicodedata import combining, normalize

#: What lifts an opt-out (docs/facts/acs-optouts.md, "Keywords and number types"); `OPT_IN_KEYWORDS` changes it.
OPT_IN_KEYWORDS = frozenset({"START", "UNSTOP"})
#: What ACS and the FCC (47 CFR 64.1200(a)(10)) take as STOP. These always count.
STOP_KEYWORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPT OUT", "OPTOUT"})
#: What people write elsewhere: French, Spanish, Portuguese, German and the Nordic languages, Dutch, Italian; ARRET is
#: the French STOP of the Canadian carriers. `OPT_OUT_KEYWORDS` changes it.
OPT_OUT_KEYWORDS = frozenset(
    {"ARRET", "ARRETER", "ALTO", "BAJA", "PARAR", "SAIR", "STOPP", "ABMELDEN", "AFMELDEN", "AFMELD", "ANNULLA", "BASTA"}
)

#: What people add to a STOP without taking anything back, in the languages of the keywords.
_POLITE = frozenset(
    {"please", "pls", "plz", "now", "thanks", "thank", "you", "thx", "all", "me", "us", "this", "these", "it"}
    | {"text", "texts", "texting", "message", "messages", "msgs", "sms", "bitte", "danke", "por", "favor", "gracias"}
    | {"obrigado", "obrigada", "merci", "svp", "s", "il", "vous", "plait", "tak", "takk", "tack", "kiitos"}
    | {"alstublieft", "per", "favore", "grazie"}
)
_WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Keywords:
    """The texts that mean something.

    Attributes:
        opt_ins: Texts that are an opt-in; compared in one Unicode form, in any case.
        opt_outs: Texts that are a STOP, beside those that always are.
    """

    opt_ins: frozenset[str] = OPT_IN_KEYWORDS
    opt_outs: frozenset[str] = OPT_OUT_KEYWORDS
    _stops: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Write the STOPs as texts are compared with them: in one word, in lower case, without accents."""
        stops = frozenset("".join(_words(keyword)) for keyword in (*STOP_KEYWORDS, *self.opt_outs))
        # A keyword without a letter or digit would make every text without one a STOP.
        object.__setattr__(self, "_stops", stops - {""})

    def mean_opt_in(self, text: str) -> bool:
        """Say whether a text is exactly one opt-in keyword, surrounding blanks aside."""
        written = normalize("NFC", text.strip())
        # Both cases must agree: a long s (U+017F) has the upper case S and is no s.
        return any(
            written.upper() == keyword.upper() and written.lower() == keyword.lower()
            for keyword in (normalize("NFC", keyword) for keyword in self.opt_ins)
        )

    def mean_stop(self, text: str) -> bool:
        """Say whether a text is a STOP, however it is written.

        `Stop!`, `“STOP”`, `opt-out`, `STOP STOP`, `STOP please`, a STOP on the first line above a signature, with
        composed or decomposed letters, with or without accents. Words beside the keyword that may change what it says
        make it none: `Liked “Reply STOP to opt out”`, `cancel my order`.
        """
        first_line = next((words for line in text.splitlines() if (words := _words(line))), [])
        return _is_stop(_words(text), self._stops) or _is_stop(first_line, self._stops)


def _words(text: str) -> list[str]:
    """Give the words of a text in lower case, without accents."""
    plain = "".join(character for character in normalize("NFKD", text) if not combining(character))
    return _WORDS.findall(plain.casefold())


def _is_stop(words: list[str], stops: Collection[str]) -> bool:
    if "".join(words) in stops:
        return True
    said, at = 0, 0
    while at < len(words):
        # A keyword may be written in two words: `opt out`, `stop all`.
        length = next((length for length in (2, 1) if "".join(words[at : at + length]) in stops), 0)
        if not length and words[at] not in _POLITE:
            return False
        said += bool(length)
        at += length or 1
    return said > 0
