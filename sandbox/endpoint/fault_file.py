"""Read and write fault files, and say what is wrong with one without repeating what it holds."""

from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from optout_core.masking import mask
from sandbox.endpoint.faults import Fault, Item, Slowness

_FAULTS = TypeAdapter(tuple[Fault, ...])
_FIELDS = {field.alias for model in (Fault, Item, Slowness) for field in model.model_fields.values()}
#: What pydantic adds to the place of a value that may be of several kinds.
_KINDS = {"seconds", "drawn", "constrained-float", "int", "float", "str", "bool"}
_LONGEST_NAME = 40


def parse_faults(text: str | bytes) -> tuple[Fault, ...]:
    """Read faults from a JSON array.

    Raises:
        ValueError: it is not JSON or not faults; one line, which says where and does not repeat what it read.
    """
    try:
        return _FAULTS.validate_json(text)
    except ValidationError as refused:
        # A field that may be of several kinds has an error for each.
        wrong: dict[str, str] = {}
        for error in refused.errors(include_url=False, include_input=False, include_context=False):
            wrong.setdefault(_place(error["loc"]), error["msg"].removeprefix("Value error, "))
        place, why = next(iter(wrong.items()))
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ValueError(f"these faults cannot be used: {place}: {why}{more}") from None


def dump_faults(faults: Iterable[Fault]) -> bytes:
    """Return the JSON array that `parse_faults` reads, numbers in full."""
    return _FAULTS.dump_json(tuple(faults), by_alias=True, exclude_defaults=True)


def load_faults(path: Path) -> tuple[Fault, ...]:
    """Read faults from a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: as `parse_faults`, with the file's name in front.
    """
    try:
        return parse_faults(path.read_bytes())
    except ValueError as refused:
        raise ValueError(f"{path}: {refused}") from None


def _place(location: tuple[int | str, ...]) -> str:
    known = tuple(takewhile(lambda step: isinstance(step, int) or step in _FIELDS, location))
    # The name of an unknown field, or of a message in `errors`, is the text of whoever wrote the file.
    foreign = [_shown(str(step)) for step in location[len(known) :] if step not in _KINDS]
    return ".".join([*map(str, known), *foreign]) or "document"


def _shown(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in mask(name)[:_LONGEST_NAME])
