"""JSON that an operator hands to us, and that we show. Pure."""

import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from optout_ops.exits import Mistake

_Model = TypeVar("_Model", bound=BaseModel)


def write(document: object, *, indent: int | None = None) -> str:
    """Write JSON that no terminal acts on: what is not printable is escaped, everything else is as people read it."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(document, ensure_ascii=False, indent=indent, separators=separators)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    return json.dumps(character)[1:-1]


def read_line(kind: type[_Model], line: str, where: str, safe: str) -> _Model:
    """Read one line.

    Args:
        kind: What it holds.
        line: The line.
        where: What an error calls it, such as "line 3 of the plan".
        safe: What an error says was not done, such as "nothing was sent".

    Raises:
        Mistake: It does not hold that.
    """
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        # Of what is no JSON, such as a line that was cut off, no field can be named.
        field = "".join(f"{step}." for step in problem["loc"])
        at = f"{field.removesuffix('.')}: " if field else ""
        raise Mistake(f"{where} cannot be read: {at}{problem['msg']}; {safe}") from None
