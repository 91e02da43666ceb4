"""The page says of the fault file what the model says."""

import json
import re
from typing import get_args

import pytest
from pydantic.alias_generators import to_camel

from sandbox.endpoint.fault_file import parse_faults
from sandbox.endpoint.faults import FIELDS_OF_EFFECT, Body, Drop, Fault, Item, Slowness
from sandbox.endpoint.page import PAGE, refreshed, section


def rows():
    found = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", section(), re.MULTILINE)
    return {name: (values, meaning) for name, values, meaning in found}


def test_the_page_is_what_the_model_makes_it():
    page = PAGE.read_text()

    assert page == refreshed(page), "run: python -m sandbox.endpoint.page"


def test_every_field_has_a_row_that_says_what_it_means():
    fields = [to_camel(name) for model in (Fault, Item, Slowness) for name in model.model_fields]

    assert [name for name in fields if name not in rows()] == []
    assert re.findall(r"\| *\|$", section(), re.MULTILINE) == []


@pytest.mark.parametrize(("field", "literal"), [("body", Body), ("drop", Drop)])
def test_every_body_and_drop_is_explained(field, literal):
    values, meaning = rows()[field]

    assert [value for value in get_args(literal) if f"`{value}`" not in values or f"`{value}`" not in meaning] == []


def test_bounds_and_defaults_are_those_of_the_model():
    made = rows()

    assert {name: made[name][0] for name in ("delay", "after", "mean", "status")} == {
        "delay": "number above 0 to 3600 or Slowness",
        "after": "integer from 0 (default 0)",
        "mean": "number above 0 to 3600, required",
        "status": "integer from 300 to 599",
    }


def test_every_effect_says_what_it_takes():
    assert section().count("nothing else") == 2
    assert [name for name in FIELDS_OF_EFFECT if f"\n| `{to_camel(name)}` | " not in section()] == []


def test_the_example_of_the_page_can_be_used():
    (example,) = re.findall(r"```json\n(.+?)```", PAGE.read_text(), re.DOTALL)

    assert len(parse_faults(example)) == len(json.loads(example))


def test_a_page_without_the_section_is_not_written_over():
    with pytest.raises(ValueError, match="no section"):
        refreshed("# The sandbox")
