"""Read and write fault files, and say what is wrong with one without repeating what it holds."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sandbox.endpoint.faults import Fault

_FAULTS = TypeAdapter(tuple[Fault, ...])


def parse_faults(text: str | bytes) -> tuple[Fault, ...]:
    """Read faults from a JSON array.

    Raises:
        ValueError: it is not JSON or not faults; one line, which says where and does not repeat what it read.
    """
    try:
        return _FAULTS.validate_json(text)
    except ValidationError as refused:
        wrong: list[Any] = refused.errors(include_url=False, include_input=False, include_context=False)
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ValueError(f"these faults cannot be used: {_place(wrong[0])}: {wrong[0]['msg']}{more}") from None


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


def _place(wrong: dict[str, Any]) -> str:
    # The name of an unknown field is somebody's text, and may be a number.
    place = wrong["loc"][:-1] if wrong["type"] == "extra_forbidden" else wrong["loc"]
    return ".".join(map(str, place)) or "document"
