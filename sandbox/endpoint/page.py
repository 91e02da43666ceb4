"""The tables of the fault file in docs/sandbox.md, made from the model.

Refreshed by `python -m sandbox.endpoint.page`.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from sandbox.endpoint.faults import FIELDS_OF_EFFECT, Fault, Item, Slowness

PAGE = Path(__file__).parents[2] / "docs" / "sandbox.md"

BEGIN = "<!-- Made by `python -m sandbox.endpoint.page` from sandbox/endpoint/faults.py: do not edit by hand. -->"
END = "<!-- End of what is made. -->"

_CLASSES: Mapping[str, type[BaseModel]] = {"Item": Item, "Slowness": Slowness}


def section() -> str:
    """Return the tables of every field of the fault file, in Markdown."""
    lines = [BEGIN, "", *_table(Fault), "", "Which fields go together:", ""]
    lines += ["| Effect | takes |", "|---|---|"]
    for effect, fields in FIELDS_OF_EFFECT.items():
        lines.append(f"| `{to_camel(effect)}` | {_names(fields) or 'nothing else'} |")
    for name, model in _CLASSES.items():
        first = (model.__doc__ or "").rstrip(".")
        lines += ["", f"{name}: {first[0].lower()}{first[1:]}.", "", *_table(model)]
    return "\n".join([*lines, "", END])


def refreshed(page: str) -> str:
    """Return the page with its made section as the model has it now.

    Raises:
        ValueError: the page has no such section.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has no section that begins and ends with the two comments of {__name__}")
    return before + section() + after


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "| Field | Value | Meaning |"
    yield "|---|---|---|"
    schema = model.model_json_schema()
    for name, field in schema["properties"].items():
        required = name in schema.get("required", [])
        meaning = re.sub(r"\s+", " ", field["description"]).replace("|", "\\|")
        default = "" if required or field.get("default") is None else f" (default {field['default']:g})"
        yield f"| `{name}` | {_values(field)}{default}{', required' if required else ''} | {meaning} |"


def _values(field: dict[str, Any]) -> str:
    """Say in words what a part of a JSON schema lets pass."""
    if either := field.get("anyOf") or field.get("oneOf"):
        kinds = [_values(one) for one in either if one.get("type") != "null"]
        return " or ".join(kind for kind in kinds if (kind, "number" in kinds) != ("integer", True))
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        return f"array of {_values(field['items'])}"
    if field["type"] == "object":
        return "object"
    return {"string": "text", "boolean": "true or false"}.get(field["type"]) or f"{field['type']}{_bounds(field)}"


def _bounds(field: dict[str, Any]) -> str:
    least, above = field.get("minimum"), field.get("exclusiveMinimum")
    most, below = field.get("maximum"), field.get("exclusiveMaximum")
    bounds = (("from", least), ("above", above), ("to", most), ("below", below))
    return "".join(f" {word} {bound:g}" for word, bound in bounds if bound is not None)


def _names(fields: set[str]) -> str:
    in_order = [name for name in Fault.model_fields if name in fields]
    return ", ".join(f"`{to_camel(name)}`" for name in in_order)


if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text()))
