"""Text from outside, as it may be shown: no phone number, no control character, no endless line."""

import json
from base64 import b64encode, encodebytes, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout_core.masking import Untrusted, find_number, holds_number, mask, mask_body, mask_text, show
from tests.build import PERSON, canonical, wire
from tests.core.strategies import people
from tests.core.test_numbers import MARKS, SCRIPTS, SPELLINGS

#: What a person would find who looks for base64 in what is shown: the number at each of its three offsets.
IN_BASE64 = [b64encode(b"." * offset + PERSON.encode()).decode()[4:12] for offset in range(3)]


def digits(text):
    """Give the digits of a text, of any script, as ASCII."""
    return "".join(str(int(character)) for character in text if character.isdecimal())


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+15555555551", "+1555•••5551"),
        ("15555555551", "1555•••5551"),
        ("+358401234567890", "+3584•••7890"),
        ("+1 (555) 555-5551", "+1555•••5551"),
        ("+4912345", "+49•••45"),
        ("5551234", "55•••34"),
        ("123456", "123456"),
        ("+123", "+123"),
        ("Contoso", "Contoso"),
        ("", ""),
    ],
)
def test_a_mask_shows_the_ends_and_a_number_that_names_nobody_stays(number, shown):
    assert mask(number) == shown


@given(number=st.from_regex(r"\+?[0-9]{7,15}", fullmatch=True))
def test_a_mask_hides_at_least_three_digits(number):
    shown = mask(number)

    assert len(digits(number)) - len(digits(shown)) >= 3
    assert mask_text(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to +15555555551 failed", "to +1555•••5551 failed"),
        ("'+15555555551','15555555552'", "'+1555•••5551','1555•••5552'"),
        ("call +1 (555) 555-5551.", "call +1555•••5551."),
        ("cust_15555555551", "cust_1555•••5551"),
        ("optin15555555551b", "optin1555•••5551b"),
        ("1-555-555-0006", "1555•••0006"),
        ("%2B15555555551", "%2B1555•••5551"),
        ("to=%2B1%20555%20555%205551&x", "to=%2B1555•••5551&x"),
        ("phone=15555555551", "phone=1555•••5551"),
        ("code 55555, +123, HTTP 429", "code 55555, +123, HTTP 429"),
        ("06.12.34.56.78", "06•••78"),
        ("079.123.45.67", "07•••67"),
        ("Infinity15555555551", "Infinity1555•••5551"),
        ("", ""),
    ],
)
def test_numbers_in_a_text_are_masked_and_nothing_else_is(text, shown):
    assert mask_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        '{"time":"2026-01-23T10:00:00.123456+00:00","day":"2026-01-23"}',
        "2026-01-23 10:00:00Z",
        "20260123T100000Z-0a1b2c",
        "00-9a29da02af5978aed1a381e03dab39f9-4667f38b0fbfea6c-00",
        "12345678-1234-4abc-9def-123456789012",
        "127.0.0.1:8080",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "https://shop.example/preferences/preference-1:r4:0123456789abcdef",
        "HTTP 503, 100 recipients, 72 h",
    ],
)
def test_times_traces_hashes_addresses_and_ids_stay_readable(text):
    assert mask_text(text) == show(text) == text
    assert not holds_number(text)


@pytest.mark.parametrize("written", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("around", ["{}", "cust_{}", "id={};", "a{}z", '"{}"'])
def test_a_number_in_a_text_is_masked_however_it_is_written(written, around):
    text = around.format(written)

    for shown in (mask_text(text), show(text), str(Untrusted(text)), repr(Untrusted(text))):
        assert "5555555" not in digits(shown)
    assert holds_number(text)


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: f"U+{ord(mark):04X}")
def test_a_number_with_any_mark_between_its_digits_is_masked(mark):
    assert "5555555" not in digits(show(mark.join(PERSON)))
    assert "5555555" not in digits(show(f"{mark}{mark}".join(PERSON)))


@pytest.mark.parametrize(
    "odd", ["\x01", "\x7f", "\x9b", "\ufe0f\u20e3", "\u0301", "\ud83d", "\U000e0031", "\u200b" * 99], ids=ascii
)
def test_a_number_is_masked_with_anything_between_its_digits_that_is_no_letter(odd):
    assert "5555555" not in digits(show(odd.join(PERSON)))


@pytest.mark.parametrize(
    "written",
    [
        "\u00b9\u2075\u2075\u2075\u2075\u2075\u2075\u2075\u2075\u2075\u00b9",
        "\u2460\u2464\u2464\u2464\u2464\u2464\u2464\u2464\u2464\u2464\u2460",
    ],
)
def test_a_number_in_digits_that_are_drawn_otherwise_is_masked(written):
    assert show(f"caf\u00e9 {written}") == "caf\u00e9 1555•••5551"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: f"U+{ord(script[0]):04X}")
def test_a_number_in_the_digits_of_every_script_is_masked(script):
    assert digits(show("".join(script[int(digit)] for digit in "15555555551"))) == "15555551"


@given(before=st.text("abc .,:'\"(){}[]_", max_size=10), number=people, after=st.text("abc .,:'\"(){}[]_", max_size=10))
def test_no_person_is_left_in_a_masked_text(before, number, after):
    assert number[1:] not in digits(mask_text(before + number + after))


@given(text=st.text(st.characters(codec=None), max_size=80) | st.text("0123456789+-. ()a\u0661%2B", max_size=60))
def test_any_text_can_be_shown_and_what_is_shown_is_one_line_that_a_terminal_survives(text):
    shown = show(text)

    assert all(character.isprintable() for character in shown)
    assert len(shown) <= 1024
    assert mask_text(mask_text(text)) == mask_text(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc\r\nd", "a b c  d"),
        ("\x1b[31mred\x07", "\ufffd[31mred\ufffd"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("half \ud83d", "half \ufffd"),
        ("nul\0", "nul\ufffd"),
        ("\x9b31m", "\ufffd31m"),
        ("x" * 2000, "x" * 1023 + "…"),
        ("caf\u00e9 \U0001f44b", "caf\u00e9 \U0001f44b"),
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_a_text_is_shown_on_one_line_without_control_characters_and_not_endlessly(text, shown):
    assert show(text) == str(Untrusted(text)) == shown


def test_a_text_that_is_cut_does_not_show_the_first_digits_of_a_number():
    assert "15555" not in show("x" * 1017 + PERSON)


def test_the_text_itself_takes_an_explicit_call():
    event_id = Untrusted(f"cust_{PERSON}")

    assert event_id.raw == f"cust_{PERSON}"
    assert f"{event_id} {event_id!r}" == "cust_+1555•••5551 'cust_+1555•••5551'"
    assert event_id == Untrusted(f"cust_{PERSON}") != Untrusted("cust")


# --- bodies -------------------------------------------------------------------------------------------------------

JSON_ESCAPES = "".join(f"\\u{ord(character):04x}" for character in PERSON)
BODIES = {
    "JSON": wire(canonical()),
    "JSON with a name that is a number": wire({PERSON: {"x": [PERSON]}}),
    "JSON with a number": b'{"to": 15555555551}',
    "JSON with a number and a fraction": b'{"to": 15555555551.0}',
    "JSON with a negative number": b'{"to": -15555555551}',
    "JSON with an exponent": b'{"to": 1.5555555551e10}',
    "JSON with an escaped plus": b'{"to": "\\u002B15555555551"}',
    "JSON in which all is escaped": f'{{"to": "{JSON_ESCAPES}"}}'.encode(),
    "JSON, written twice": wire(json.dumps({"to": PERSON})),
    "JSON, written three times": wire(json.dumps(json.dumps({"to": PERSON}))),
    "JSON, escaped in a text": wire({"x": f"to {JSON_ESCAPES}"}),
    "a list": wire([PERSON]),
    "a text": wire(PERSON),
    "a number": b"15555555551",
    "UTF-16": json.dumps({"to": PERSON}).encode("utf-16"),
    "UTF-16, big end first": json.dumps({"to": PERSON}).encode("utf-16-be"),
    "UTF-16, little end first": json.dumps({"to": PERSON}).encode("utf-16-le"),
    "UTF-16 with its mark, big end first": b"\xfe\xff" + json.dumps({"to": PERSON}).encode("utf-16-be"),
    "UTF-8 with its mark": b"\xef\xbb\xbf" + wire({"to": PERSON}),
    "base64": b64encode(wire({"to": PERSON})),
    "base64 for addresses": urlsafe_b64encode(wire({"to": PERSON, "x": "???>>>"})),
    "data_base64": wire({"data_base64": b64encode(wire({"to": PERSON})).decode()}),
    "base64 of UTF-16": wire({"x": b64encode(json.dumps({"to": PERSON}).encode("utf-16")).decode()}),
    "base64 of base64": wire({"x": b64encode(b64encode(wire({"to": PERSON}))).decode()}),
    "base64 over several lines": wire({"x": encodebytes(wire({"to": PERSON}) * 9).decode()}),
    "base64 without its end": wire({"x": b64encode(wire({"to": PERSON, "a": 1})).decode().rstrip("=")}),
    "JSON that was cut": wire({"to": PERSON})[:-1],
    "JSON that was cut, escaped": f'{{"to": "{JSON_ESCAPES}"'.encode(),
    "CSV": b"name;phone\r\nAnn;+1 (555) 555-5551\r\n",
    "a form": b"from=%2B18001234567&to=%2B15555555551",
    "XML": b"<to>+15555555551</to>",
    "UTF-16 that begins with a quotation mark": "\u201c+15555555551\u201d".encode("utf-16-le"),
    "UTF-8 with NUL between": "\0".join("+15555555551").encode("ascii"),
    "base64 in a text": b"token: " + b64encode(wire({"to": PERSON})) + b" (end)",
    "blanks that do not break": wire({"to": "+1\u00a0555\u00a0555\u00a05551"}),
    "digits of another script": wire({"to": SPELLINGS["Arabic-Indic digits"]}),
    "a number over two lines": b"+1555\n5555551",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_shows_no_number(body):
    shown = mask_body(body)

    assert "5555555" not in digits(shown)
    assert "15555555551" not in shown
    assert JSON_ESCAPES not in shown
    assert not [part for part in IN_BASE64 if part in shown]
    assert all(character.isprintable() or character == "\n" for character in shown)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"to":"+15555555551","n":[1,null,true,2.5]}', '{"to": "+1555•••5551", "n": [1, null, true, 2.5]}'),
        (
            b'{"specversion":"1.0","time":"2026-01-23T10:00:00Z"}',
            '{"specversion": "1.0", "time": "2026-01-23T10:00:00Z"}',
        ),
        (b'{"text": "caf\xc3\xa9"}', '{"text": "caf\u00e9"}'),
        (b"", ""),
        (b"\xff\xd8\xff\xe0\x00\x10", "<6 bytes that are no text>"),
        (b"plain\x1b[31m text\nand more", "plain\ufffd[31m text\nand more"),
        (b"[" * 3 + b"]" * 3, "[[[]]]"),
        (b"dGhlIHF1aWNrIGJyb3du", "<base64 of 15 characters> the quick brown"),
    ],
)
def test_a_body_stays_as_readable_as_it_can_be(body, shown):
    assert mask_body(body) == shown


@given(
    body=st.binary(max_size=100)
    | st.text(max_size=60).map(str.encode)
    | st.text(max_size=60).map(lambda text: text.encode("utf-16"))
)
def test_any_body_can_be_shown(body):
    assert all(character.isprintable() or character == "\n" for character in mask_body(body))


@pytest.mark.parametrize("depth", [500, 100_000])
def test_a_body_nested_deeply_is_shown_all_the_same(depth):
    body = b"[" * depth + b'"+15555555551"' + b"]" * depth

    assert "15555555551" not in mask_body(body)


# --- looking for a number in a body that cannot be decoded ------------------------------------------------------


@pytest.mark.parametrize("written", SPELLINGS.values(), ids=SPELLINGS)
def test_a_number_is_found_however_it_is_written(written):
    assert find_number(f"to: {written};".encode(), "15555555551")
    assert find_number(written.encode("utf-16"), "15555555551")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe\xff",
        b"1555555555",
        b"1 555 555, 5551",
        b"1555555 a 5551",
        b'{"a": "1555555", "b": "5551"}',
        b"+15555555552",
    ],
)
def test_a_number_that_is_not_there_or_lies_across_two_fields_is_not_found(body):
    assert not find_number(body, "15555555551")


def test_no_digits_are_found_nowhere():
    assert not find_number(b"15555555551", "")
    assert find_number(f'{{"to": "{JSON_ESCAPES}"'.encode(), "15555555551")
