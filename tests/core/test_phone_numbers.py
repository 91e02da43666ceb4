"""Numbers: cleaned before they are sent, masked before they are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout_core.numbers import clean, mask, mask_body, mask_text, with_plus
from tests.core.strategies import people, written_numbers


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+15555555551", "+1555•••5551"),
        ("15555555551", "1555•••5551"),
        ("+358401234567890", "+3584•••7890"),
        ("+1 (555) 555-5551", "+1 (5•••5551"),
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

    assert sum(map(str.isdigit, number)) - sum(map(str.isdigit, shown)) >= 3
    assert mask_text(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to +15555555551 failed", "to +1555•••5551 failed"),
        ("'+15555555551','15555555552'", "'+1555•••5551','1555•••5552'"),
        ("call +1 (555) 555-5551.", "call +1 (5•••5551."),
        ("code 55555, +123, HTTP 429", "code 55555, +123, HTTP 429"),
        ("Incoming_20200918002745d29ebbea", "Incoming_20200918002745d29ebbea"),
        ("", ""),
    ],
)
def test_numbers_in_a_text_are_masked_and_nothing_else_is(text, shown):
    assert mask_text(text) == shown


@given(before=st.text("abc .,:'\"(){}[]", max_size=10), number=people, after=st.text("abc .,:'\"(){}[]", max_size=10))
def test_no_person_is_left_in_a_masked_text(before, number, after):
    shown = mask_text(before + number + after)

    assert number not in shown
    assert number[1:] not in shown


@given(number=written_numbers)
def test_cleaning_twice_changes_nothing_more(number):
    assert clean(clean(number)) == clean(number)
    assert with_plus(with_plus(number)) == with_plus(number)


@given(number=st.from_regex(r"\+?[0-9]{1,20}", fullmatch=True), separators=st.data())
def test_separators_may_stand_anywhere(number, separators):
    written = "".join(digit + separators.draw(st.text(" -.()", max_size=2)) for digit in number)

    assert clean(written) == number


@pytest.mark.parametrize(
    "written",
    [
        r'{"to":"\u002B15552345678"}',
        r'{"to":"\u002b15552345678"}',
        '{"to": 15552345678}',
        "(555) 234-5678",
        "555-234-5678",
        "555.234.5678",
        "tel15552345678",
        "+1 (555) 234-5678",
    ],
)
def test_in_what_a_publisher_wrote_a_number_is_masked_in_every_spelling(written):
    shown = mask_body(written)

    assert "•••" in shown
    assert "2345678" not in "".join(filter(str.isdigit, shown))


@pytest.mark.parametrize(
    "text",
    [
        '{"time":"2026-01-23T10:00:00.123456+00:00","day":"2026-01-23"}',
        "00-9a29da02af5978aed1a381e03dab39f9-4667f38b0fbfea6c-00",
        "12345678-1234-4abc-9def-123456789012",
    ],
)
def test_times_traces_and_ids_stay_readable(text):
    assert mask_body(text) == mask_text(text) == text
