"""Lines of JSON that an operator hands to us. Pure."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from optout_ops.exits import Mistake

_Model = TypeVar("_Model", bound=BaseModel)


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
        field = ".".join(str(step) for step in problem["loc"])
        raise Mistake(f"{where} cannot be read: {field}: {problem['msg']}; {safe}") from None
