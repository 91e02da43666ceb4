"""Which texts are a STOP, and which are an opt-in: one generously, the other exactly."""

from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout_core.events import Ignored, OptIn, OptOut
from optout_core.keywords import OPT_IN_KEYWORDS, OPT_OUT_KEYWORDS, STOP_KEYWORDS, Keywords
from tests.build import decoded, text_message

ORDINARY = Keywords()


@pytest.mark.parametrize(
    "text",
    [
        *sorted(STOP_KEYWORDS | OPT_OUT_KEYWORDS),
        *sorted(map(str.lower, STOP_KEYWORDS | OPT_OUT_KEYWORDS)),
        # punctuation
        "Stop.",
        "STOP!",
        "STOP !!!",
        " . Stop .",
        "Stop\u2026",
        '"stop"',
        "\u201cSTOP\u201d",
        "\u00abstop\u00bb",
        "(stop)",
        "opt-out",
        "Opt_out",
        "opt  out",
        "opt\u00a0out",
        "OPT\u2011OUT",
        "STOP ALL",
        "stop\u200b",
        "\u200fSTOP",
        "\ufeffSTOP",
        "STOP \U0001f6d1",
        "s.t.o.p",
        # letters, composed or not
        "arr\u00eat",
        "ARRE\u0302T",
        "arr\u00eater",
        "st\u00f6p",
        "\uff33\uff34\uff2f\uff30",
        "\U0001d412\U0001d413\U0001d40e\U0001d40f",
        "\u017ftop",
        # repeated, and with manners
        "STOP STOP",
        "stop stop stop",
        "stop, unsubscribe, cancel",
        "STOP please",
        "Please stop",
        "pls STOP now",
        "STOP thank you",
        "stop, thanks!",
        "stop texting me",
        "stop all messages",
        "Please stop sms",
        "unsubscribe me please",
        "cancel this",
        "please opt out, thanks",
        "please stop all",
        "ARRET s'il vous pla\u00eet",
        "arr\u00eat merci",
        "baja por favor",
        "alto, gracias",
        "parar obrigada",
        "Stopp bitte",
        "stopp takk",
        "afmelden alstublieft",
        # above a signature
        "STOP\nAnn Smith\nContoso Ltd",
        "\n\nStop please\n--\nSent from my phone",
        "STOP\r\nSent from my phone",
        "Stop\u2028Ann",
    ],
)
def test_a_stop_in_words_is_a_stop(text):
    assert ORDINARY.mean_stop(text)
    assert isinstance(decoded(text_message(text)), OptOut)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "!",
        "\U0001f44d",
        "please",
        "thank you",
        "all messages please",
        "START",
        "UNSTOP",
        "don't stop",
        "Don\u2019t stop",
        "never stop",
        "do not stop texting me",
        "no stop",
        "stopping by at five",
        "Stopped",
        "the end",
        "weekend",
        "cancel my order",
        "please cancel my appointment",
        "end of the month works",
        "bus stop",
        'Liked "Reply STOP to opt out"',
        "Liked \u201cReply STOP to unsubscribe\u201d",
        "Reply STOP to opt out",
        "Ann\nSTOP",
        "s t\no p e",
        "\u0405\u0422\u041e\u0420",  # Cyrillic letters that look like it
        "STOP?? why would I stop",
    ],
)
def test_a_text_that_may_mean_something_else_is_no_stop(text):
    assert not ORDINARY.mean_stop(text)


@pytest.mark.parametrize("text", ["START", "start", " Start\n", "\tUNSTOP ", "unStop", "\u00a0START\u3000"])
def test_an_opt_in_is_one_keyword_in_any_case_and_between_blanks(text):
    assert isinstance(decoded(text_message(text)), OptIn)


@pytest.mark.parametrize(
    "text",
    [
        "START please",
        "START.",
        "START!",
        '"START"',
        "RE START",
        "START START",
        "UN STOP",
        "start\nAnn",
        "restart",
        "YES",
        "st\u00e1rt",
        "sta\u0301rt",
        "\u017ftart",  # a long s
        "\ufb06art",  # a ligature
        "\uff33\uff34\uff21\uff32\uff34",  # full width
        "\U0001d412\U0001d413\U0001d400\U0001d411\U0001d413",  # mathematical
        "\u0405TART",  # a Cyrillic letter
        "ST\u0391RT",  # a Greek letter
        "S\u200bTART",
        "\u200fSTART",
        "\ufeffSTART",
        "S\u0332TART",
    ],
)
def test_an_opt_in_has_no_look_alike(text):
    assert not ORDINARY.mean_opt_in(text)
    assert isinstance(decoded(text_message(text)), Ignored)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    ("keyword", "text", "means"),
    [
        ("S\u00cd", "s\u00ed", True),
        ("S\u00cd", "S\u00cd", True),
        ("S\u00cd", "SI", False),
        ("SI", "s\u00ed", False),
        ("\u00c5TER", "\u00e5ter", True),
        ("\u00c5TER", "\u212bTER", True),  # the sign of the \u00e5ngstr\u00f6m is the letter in every composed form
        ("\u0394\u0391", "\u03b4\u03b1", True),
        ("STRASSE", "stra\u00dfe", False),
    ],
)
def test_a_keyword_with_accents_is_itself_composed_or_decomposed(form, keyword, text, means):
    for written in ("NFC", "NFD"):
        keywords = Keywords(opt_ins=frozenset({normalize(written, keyword)}))

        assert keywords.mean_opt_in(normalize(form, text)) is means


def test_the_stops_of_acs_count_whatever_is_set_and_others_only_where_they_are_set():
    own = Keywords(opt_outs=frozenset({"Fora", "n\u00e3o mais"}))

    assert all(map(own.mean_stop, STOP_KEYWORDS))
    assert own.mean_stop("FORA, obrigado")
    assert own.mean_stop("Na\u0303o mais!")
    assert not own.mean_stop("arr\u00eat")


def test_a_keyword_without_a_letter_makes_no_text_a_stop():
    assert not Keywords(opt_outs=frozenset({"!!", ""})).mean_stop("\U0001f44d")


def test_a_text_that_means_both_is_a_stop():
    assert isinstance(decoded(text_message("opt-out"), keywords=Keywords(opt_ins=frozenset({"OPT-OUT"}))), OptOut)


def test_no_ordinary_keyword_means_both():
    assert not any(map(ORDINARY.mean_stop, OPT_IN_KEYWORDS))
    assert not any(map(ORDINARY.mean_opt_in, STOP_KEYWORDS | OPT_OUT_KEYWORDS))


@given(
    stop=st.sampled_from(sorted(STOP_KEYWORDS | OPT_OUT_KEYWORDS)),
    around=st.tuples(*[st.text(st.characters(categories=["P", "S", "Z", "C"]), max_size=5)] * 2),
    form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]),
)
def test_a_stop_is_one_between_any_signs_and_in_any_form(stop, around, form):
    assert ORDINARY.mean_stop(around[0] + normalize(form, stop) + around[1])


@given(text=st.text(st.characters(codec=None), max_size=40))
def test_no_text_means_both_and_every_text_means_something_or_nothing(text):
    assert not (ORDINARY.mean_stop(text) and ORDINARY.mean_opt_in(text))
