"""Hold a resource against Azure's own type data, which the compiler has and whose enums it does not enforce.

azure-types/ has the data, the list of types and the program that wrote it (.NET), in the notation its first lines
explain. It is public data of NuGet `Azure.Bicep.Types.Az`, MIT licence, Microsoft. To add a type, add its line to
types.txt and run the command of tests/infra/azure-types/README.md where .NET is.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TYPES: dict[str, Any] = json.loads(Path(__file__).with_name("azure-types").joinpath("azure-types.json").read_text())
_SCALARS: dict[str, type | tuple[type, ...]] = {"string": str, "integer": int, "boolean": bool}


def faults(resource: dict[str, Any]) -> list[str]:
    """Say what Azure's types do not allow about a resource of a snapshot."""
    kind = f"{resource['type']}@{resource['apiVersion']}"
    known = next((name for name in TYPES if name.lower() == kind.lower()), None)
    if known is None:
        return [f"{kind}: no such type in azure-types.json"]
    body = {name: value for name, value in resource.items() if name not in {"id", "type", "apiVersion"}}
    body["name"] = resource["name"].rpartition("/")[2]  # a part of a resource is chosen by its own name
    return [f"{resource['type']} {resource['name']}{fault}" for fault in _faults(body, TYPES[known])]


def _faults(value: Any, kind: Any) -> Iterator[str]:
    if value is None or kind in ("any", "…") or (isinstance(value, str) and value.startswith("[")):
        return  # absent, unchecked, or known to the deployment only
    if isinstance(kind, list):
        yield from _of_union(value, kind)
    elif isinstance(kind, dict) and kind.keys() == {"items"}:
        if not isinstance(value, list):
            yield f" is no list: {value!r}"
            return
        for index, item in enumerate(value):
            yield from (f"[{index}]{fault}" for fault in _faults(item, kind["items"]))
    elif isinstance(kind, dict):
        yield from _of_object(value, kind)
    elif kind.startswith("'"):
        if value != kind[1:-1]:
            yield f" is {value!r} and not {kind}"
    elif not isinstance(value, _SCALARS.get(kind, object)) or (kind == "integer" and isinstance(value, bool)):
        yield f" is {value!r} and no {kind}"


def _of_union(value: Any, kinds: list[Any]) -> Iterator[str]:
    # With "string" among them Azure publishes the values and may take others; we use published ones only.
    literals = [kind[1:-1] for kind in kinds if isinstance(kind, str) and kind.startswith("'")]
    if literals and isinstance(value, str):
        if value not in literals:
            yield f" is {value!r} and none of {', '.join(literals)}"
    elif all(list(_faults(value, kind)) for kind in kinds):
        yield f" is {value!r} and none of {kinds}"


def _of_object(value: Any, kind: dict[str, Any]) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f" is no object: {value!r}"
        return
    choices = {name: each for name, each in kind.items() if "=" in name}
    fields = {name: each for name, each in kind.items() if "=" not in name}
    if choices:
        chooser = next(iter(choices)).partition("=")[0]
        chosen = choices.get(f"{chooser}={value.get(chooser)}")
        if chosen is None:
            yield f".{chooser} is {value.get(chooser)!r} and none of {', '.join(choices)}"
            return
        fields |= chosen
    types = {name.rstrip("!"): each for name, each in fields.items()}
    for name, each in value.items():
        if name in types or "*" in types:
            yield from (f".{name}{fault}" for fault in _faults(each, types.get(name, types.get("*"))))
        elif each is not None:
            yield f".{name} is unknown or read-only"
    for name in fields:
        if name.endswith("!") and value.get(name[:-1]) is None:
            yield f".{name[:-1]} is missing"


def _writable(kind: Any) -> Any:
    if isinstance(kind, list):
        return [_writable(each) for each in kind]
    if isinstance(kind, dict):
        return {name: _writable(each) for name, each in kind.items() if not name.endswith("~")}
    return kind


def main() -> None:
    """Reduce the program's output to what a template can set, one type a line."""
    types = json.load(sys.stdin)
    lines = (f"{json.dumps(name)}: {json.dumps(_writable(types[name]), ensure_ascii=False)}" for name in sorted(types))
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
