"""What number is this: one answer for every way in which people and programs write one."""

from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout_core.numbers import person_key, read_number, read_number_of_acs, read_sender, sender_key
from tests.build import PERSON
from tests.core.strategies import people

#: Every character that a number may hold without being another number: blanks, line breaks, dashes, invisible marks.
MARKS = [
    character
    for character in map(chr, range(0x30000))
    if character.isspace() or category(character) in {"Cf", "Zs", "Zl", "Zp", "Pd"} or character in ".()/"
]
#: The ten digits of every script that has some.
SCRIPTS = [
    "".join(chr(zero + digit) for digit in range(10))
    for zero in range(0x30000)
    if chr(zero).isdecimal() and int(chr(zero)) == 0
]

#: One person, as people, phones, contact lists, spreadsheets, web forms and programs write the number.
SPELLINGS = {
    "E.164": "+15555555551",
    "no plus": "15555555551",
    "zeros for the plus": "0015555555551",
    "blanks": "+1 555 555 5551",
    "no-break blanks": "+1\u00a0555\u00a0555\u00a05551",
    "narrow no-break blanks": "+1\u202f555\u202f555\u202f5551",
    "ideographic blanks": "+1\u3000555\u3000555\u30005551",
    "a tab and a line break": "+1\t555\t555\r\n5551\n",
    "dashes": "+1-555-555-5551",
    "no-break hyphens": "+1\u2011555\u2011555\u20115551",
    "an en dash and an em dash": "+1\u2013555\u2014555\u20145551",
    "minus signs": "+1\u2212555\u2212555\u22125551",
    "full-width dashes": "+1\uff0d555\uff0d555\uff0d5551",
    "the mark of a long Japanese vowel": "+1\u30fc555\u30fc555\u30fc5551",
    "brackets": "+1 (555) 555-5551",
    "full-width brackets": "+1\uff08555\uff095555551",
    "dots": "+1.555.555.5551",
    "slashes": "+1/555/5555551",
    "zeros and blanks": "00 1 555 555 5551",
    "brackets around all": "(+1) 555 555 5551",
    "tel": "tel:+15555555551",
    "TEL, with dashes": "TEL:+1-555-555-5551",
    "tel without the plus": "tel:15555555551",
    "sms": "sms:+15555555551",
    "sms as an address": "sms://+15555555551",
    "an extension": "+1-555-555-5551;ext=12",
    "tel and an extension": "tel:+1-555-555-5551;ext=0",
    "marks of direction, as contact lists paste them": "\u202a+15555555551\u202c",
    "right-to-left marks": "\u200f+1\u200f5555555551",
    "isolates": "\u2068+1 555-555-5551\u2069",
    "soft hyphens": "+1\u00ad555\u00ad5555551",
    "blanks of no width": "+1\u200b555\u200b5555551",
    "a joiner": "+1\u2060555\u20605555551",
    "a byte order mark": "\ufeff+15555555551",
    "a plus that became a blank": " 15555555551",
    "a full-width plus": "\uff0b15555555551",
    "a small plus": "\ufe6215555555551",
    "full-width digits": "\uff0b\uff11\uff15\uff15\uff15\uff15\uff15\uff15\uff15\uff15\uff15\uff11",
    "Arabic-Indic digits": "+\u0661\u0665\u0665\u0665\u0665\u0665\u0665\u0665\u0665\u0665\u0661",
    "Persian digits": "\u06f1\u06f5\u06f5\u06f5\u06f5\u06f5\u06f5\u06f5\u06f5\u06f5\u06f1",
    "Devanagari digits": "+\u0967\u096b\u096b\u096b\u096b\u096b\u096b\u096b\u096b\u096b\u0967",
    "mathematical digits": "+\U0001d7cf\U0001d7d3\U0001d7d35555555\U0001d7cf",
    "superscript": "+\u00b9555555555\u00b9",
}


@pytest.mark.parametrize("written", SPELLINGS.values(), ids=SPELLINGS)
def test_however_a_number_is_written_it_is_the_same_number(written):
    number = read_number(written)

    assert (number.text, number.is_clear, number.is_international) == (PERSON, True, True)
    assert number == read_number(PERSON)
    assert hash(number) == hash(read_number(PERSON))


@pytest.mark.parametrize("written", SPELLINGS.values(), ids=SPELLINGS)
def test_a_sender_is_read_as_a_person_is(written):
    assert read_sender(written) == read_number(PERSON)


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: f"U+{ord(mark):04X}")
def test_every_blank_dash_and_invisible_mark_may_stand_anywhere_in_a_number(mark):
    assert read_number(mark.join(f"{mark}{PERSON}{mark}")).text == PERSON


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda digits: f"U+{ord(digits[0]):04X}")
def test_the_digits_of_every_script_are_digits(script):
    assert read_number("+" + "".join(script[int(digit)] for digit in "12345678901")).text == "+12345678901"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("+44 (0)7700 900123", "+447700900123"),
        ("+44(0)7700900123", "+447700900123"),
        ("0044 (0) 7700 900123", "+447700900123"),
        ("44 (0)7700 900123", "+447700900123"),
        ("+49 (0) 30 901820", "+4930901820"),
        ("+353 (0)20 910 0000", "+353209100000"),
        ("tel:+44-(0)7700-900123", "+447700900123"),
        # a zero without brackets is part of an Italian number
        ("+39 06 6982 0000", "+390669820000"),
        # and brackets around more than a zero are a part of the number like others
        ("+1 (05) 5555555", "+1055555555"),
    ],
)
def test_a_zero_in_brackets_behind_the_country_code_is_no_part_of_the_number(written, text):
    assert read_number(written).text == text


@pytest.mark.parametrize(
    ("written", "text", "of_acs"),
    [
        # so many digits without "+" can be nothing else
        ("1" * 16, None, None),
        ("1" * 15, "+" + "1" * 15, "+" + "1" * 15),
        ("1" * 11, "+" + "1" * 11, "+" + "1" * 11),
        # ten digits are a number of the United States without its country, or one of Denmark with it: ACS knows
        ("4520123456", "4520123456", "+4520123456"),
        ("2912345", "2912345", "+2912345"),
        ("291234", "291234", "291234"),
        ("55555", "55555", "55555"),
        ("123", "123", "123"),
        ("+123", "+123", "+123"),
        ("12", None, None),
        # no country code begins with zero
        ("01234567890", None, None),
        ("+0123456789", None, None),
        ("000123456789", None, None),
    ],
)
def test_who_left_out_the_plus_gets_it_where_the_number_can_only_be_international(written, text, of_acs):
    for number, expected in ((read_number(written), text), (read_number_of_acs(written), of_acs)):
        assert (number.text, number.is_clear) == (expected or written, expected is not None)


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "\u200f",
        "+",
        "++15555555551",
        "+1+5555555551",
        "15555555551+",
        "n/a",
        "null",
        "+1555CALLNOW",
        "*67",
        "#31#15555555551",
        "+15555555551 x12",
        "+15555555551,+15555555552",
        "1.5555555551E+10",
        "+1\N{VULGAR FRACTION ONE HALF}555555555",
        "+15555555551\u20e3",
        "+15555555551\0",
        "+1555\ud83d5555551",
        "12345678901234567890",
        "x" * 10_000,
    ],
    ids=lambda written: ascii(written[:20]),
)
def test_what_is_no_number_is_known_to_be_none(written):
    number = read_number(written)

    assert not number.is_clear
    assert not number.is_international
    assert number.text.encode().decode() == number.text


def test_two_texts_that_are_no_number_are_told_apart():
    assert len({read_number(""), read_number("n/a"), read_number("null"), read_number("n/a")}) == 3


@given(
    written=st.text(st.characters(codec=None), max_size=60)
    | st.text("+0123456789 -.()/tel:;ext=smx\u200f\u0661", max_size=30)
)
def test_any_text_can_be_read_and_what_was_read_is_read_again_as_the_same(written):
    for read in (read_number, read_number_of_acs, read_sender):
        number = read(written)

        assert read(number.text) == number
        assert read(number.text).is_clear is number.is_clear
        assert number.text.encode().decode() == number.text
        if number.is_clear and not number.is_name:
            assert 3 <= len(number.digits) <= 15
            assert number.digits.isascii()
            assert number.digits.isdecimal()


@given(number=people, marks=st.data())
def test_marks_of_all_kinds_at_once_change_nothing(number, marks):
    between = st.text(st.sampled_from(MARKS), max_size=3).filter(lambda text: "(" not in text)
    written = "".join(digit + marks.draw(between) for digit in number)

    assert read_number(written).text == number


# --- senders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "text", "is_name"),
    [
        ("55555", "55555", False),
        ("5 55 55", "55555", False),
        ("Contoso", "Contoso", True),
        ("  Contoso ", "Contoso", True),
        ("Contoso Co-op.", "Contoso Co-op.", True),
        ("24-7 Shop", "24-7 Shop", True),
        ("\u30b3\u30f3\u30c8\u30bd", "\u30b3\u30f3\u30c8\u30bd", True),
    ],
)
def test_a_sender_is_a_number_a_short_code_or_a_name_and_a_name_stays_as_it_is_written(written, text, is_name):
    sender = read_sender(written)

    assert (sender.text, sender.is_clear, sender.is_name) == (text, True, is_name)


@pytest.mark.parametrize(
    "written", ["", "12", "()", "-", "\u200fContoso\u200f", "Con\ntoso", "Shop\0", "Shop\ud83d", "!"]
)
def test_a_sender_without_letters_or_digits_or_with_invisible_ones_is_none(written):
    assert not read_sender(written).is_clear


def test_a_sender_of_an_event_of_acs_gets_its_plus_back_and_a_short_code_does_not():
    assert read_sender("4520123456", of_acs=True).text == "+4520123456"
    assert read_sender("55555", of_acs=True).text == "55555"
    assert read_sender("Contoso", of_acs=True).text == "Contoso"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Contoso", "CONTOSO", True),
        ("Contoso", " contoso ", True),
        ("Stra\u00dfe", "STRASSE", True),
        ("Contoso", "Contoso2", False),
        ("+18001234567", "1 800 123 4567", True),
        ("55555", "+55555", False),
        ("55555", "55556", False),
    ],
)
def test_two_senders_are_one_whatever_the_case_of_a_name(one, other, same):
    assert (sender_key(read_sender(one)) == sender_key(read_sender(other))) is same


# --- one line, written in two ways ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("+525512345678", "+5215512345678"),
        ("52 1 55 1234 5678", "0052 55 1234 5678"),
        ("+541123456789", "+5491123456789"),
        ("+551187654321", "+5511987654321"),
    ],
    ids=["Mexico", "Mexico, written oddly", "Argentina", "Brazil"],
)
def test_three_countries_write_one_line_in_two_ways_and_both_are_one_person(one, other):
    assert person_key(read_number(one)) == person_key(read_number(other))
    # but what is sent is what was written
    assert read_number(one) != read_number(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("+525512345678", "+525512345679"),
        ("+5215512345678", "+521551234567"),  # too short for the old way: a number of its own
        ("+551187654321", "+5511887654321"),  # the ninth digit is a 9
        ("+541123456789", "+5411923456789"),
        ("+15255123456", "+1525512345"),
        ("+15555555551", "+15555555552"),
    ],
)
def test_other_numbers_are_two_people(one, other):
    assert person_key(read_number(one)) != person_key(read_number(other))


@given(number=st.from_regex(r"\+(52|54|55|1)[0-9]{8,11}", fullmatch=True))
def test_the_key_of_a_key_is_the_key(number):
    key = person_key(read_number(number))

    assert person_key(read_number(key)) == key


# --- what is shown ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", SPELLINGS.values(), ids=SPELLINGS)
def test_a_number_shows_itself_masked_and_nothing_else(written):
    number = read_number(written)

    assert (str(number), repr(number), f"{number}") == ("+1555•••5551", "<+1555•••5551>", "+1555•••5551")


def test_a_short_code_and_a_name_are_shown_and_a_number_inside_a_name_is_not():
    assert str(read_sender("55555")) == "55555"
    assert str(read_sender("Contoso")) == "Contoso"
    assert "5555551" not in str(read_sender("Shop 15555555551"))


def test_what_is_no_number_is_shown_without_the_numbers_in_it():
    number = read_number("call 1-555-555-5551 or\x1b[31m +15555555552")

    assert "\x1b" not in str(number)
    assert "5555551" not in str(number).replace("-", "")
    assert "15555555552" not in str(number)
