"""Read Bicep templates as values, so that tests can look at what would be deployed.

The compiler is not to be had as a package; tree-sitter-bicep is the public grammar that editors use. What a template
states outright becomes a Python value: literals, variables, `loadJsonContent`, loops over known lists. What only Azure
knows stays as its own source text, in a `Source`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tree_sitter
import tree_sitter_bicep

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
TEMPLATES = sorted([INFRA / "main.bicep", *(INFRA / "modules").glob("*.bicep")])
PARAMETER_FILES = sorted(INFRA.glob("*.bicepparam"))

_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))


class Source(str):
    """An expression that only a deployment can evaluate, as it stands in the template."""

    __slots__ = ()


@dataclass(frozen=True)
class Resource:
    """One resource of a template; a loop over a known list gives one for each turn."""

    symbol: str
    type: str
    api_version: str
    existing: bool
    condition: str | None
    body: Mapping[str, Any]

    @property
    def properties(self) -> Any:
        return self.body.get("properties", {})


@dataclass(frozen=True)
class Module:
    """One use of a module."""

    symbol: str
    path: str
    body: Mapping[str, Any]


@dataclass
class Template:
    """All that one template declares."""

    path: Path
    root: tree_sitter.Node
    parameters: dict[str, "Parameter"] = field(default_factory=dict)
    variables: dict[str, tree_sitter.Node] = field(default_factory=dict)
    types: dict[str, tree_sitter.Node] = field(default_factory=dict)
    resources: list[Resource] = field(default_factory=list)
    modules: list[Module] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    imports: list[str] = field(default_factory=list)

    def of_type(self, kind: str) -> list[Resource]:
        """Give what the template creates of one type."""
        return [resource for resource in self.resources if resource.type == kind and not resource.existing]

    def variable(self, name: str) -> Any:
        """Give the value of a variable."""
        return _value(self.variables[name], self, {})


@dataclass(frozen=True)
class Parameter:
    """A parameter: what decorates it and whether it must be given."""

    required: bool
    type: str
    decorators: Mapping[str, Any]


def text(node: tree_sitter.Node) -> str:
    """Give the source of a node."""
    return (node.text or b"").decode()


def walk(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """Give a node and all below it."""
    yield node
    for child in node.children:
        yield from walk(child)


def bound_names(head: tree_sitter.Node) -> list[str]:
    """Give the names that the head of a loop or of a lambda binds."""
    kinds = {"identifier", "loop_variable", "loop_enumerator"}
    return [text(node) for node in walk(head) if node.type in kinds and not node.named_children]


def parse(source: str) -> tree_sitter.Node:
    """Parse Bicep; say where it is wrong."""
    root = _PARSER.parse(source.encode()).root_node
    for node in walk(root):
        if node.is_error or node.is_missing:
            raise SyntaxError(f"line {node.start_point.row + 1}: {text(node)[:80]!r}")
    return root


def read(path: Path) -> Template:
    """Read one template."""
    template = Template(path, parse(path.read_text()))
    decorators: Mapping[str, Any] = {}
    for node in template.root.named_children:
        if node.type == "decorators":
            decorators = dict(_decorator(each, template) for each in node.named_children)
            continue
        _declare(node, template, decorators)
        if node.type != "comment":
            decorators = {}
    for node in template.root.named_children:
        if node.type == "resource_declaration":
            template.resources.extend(_resources(node, template, None))
        elif node.type == "module_declaration":
            symbol, path_node = node.named_children[0], node.named_children[1]
            body = _value(_unwrap(node.named_children[-1]), template, {})
            template.modules.append(Module(text(symbol), _string(path_node, template, {}), body))
    return template


def read_parameters(path: Path) -> dict[str, Any]:
    """Read a .bicepparam file: its grammar is Bicep's own once `param` is written `var`."""
    lines = path.read_text().splitlines()
    source = "\n".join("var" + line[5:] if line.startswith("param ") else line for line in lines[1:])
    template = Template(path, parse(source))
    for node in template.root.named_children:
        _declare(node, template, {})
    return {name: template.variable(name) for name in template.variables}


def _declare(node: tree_sitter.Node, template: Template, decorators: Mapping[str, Any]) -> None:
    children = node.named_children
    if node.type == "parameter_declaration":
        required = not any(child.type == "=" for child in node.children) and not text(children[1]).endswith("?")
        template.parameters[text(children[0])] = Parameter(required, text(children[1]), decorators)
    elif node.type == "variable_declaration":
        template.variables[text(children[0])] = children[-1]
    elif node.type == "type_declaration":
        template.types[text(children[0])] = children[-1]
    elif node.type == "output_declaration":
        template.outputs[text(children[0])] = text(children[-1])
    elif node.type == "import_functionality":
        template.imports += [text(child) for child in walk(node) if child.type == "identifier"]


def _decorator(node: tree_sitter.Node, template: Template) -> tuple[str, Any]:
    call = node.named_children[0]
    arguments = call.named_children[1].named_children
    return text(call.named_children[0]), _value(arguments[0], template, {}) if arguments else True


def _unwrap(node: tree_sitter.Node) -> tree_sitter.Node:
    return node.named_children[-1] if node.type == "if_statement" else node


def _resources(node: tree_sitter.Node, template: Template, parent: str | None) -> Iterator[Resource]:
    symbol, name, body = text(node.named_children[0]), node.named_children[1], node.named_children[-1]
    kind, _, version = _string(name, template, {}).partition("@")
    kind = f"{parent}/{kind}" if parent else kind
    existing = any(child.type == "existing" for child in node.children)
    turns: list[dict[str, Any]] = [{}]
    if body.type == "for_statement":
        turns = list(_turns(body, template, {}))
        body = body.named_children[-1]
    condition = text(body.named_children[0]) if body.type == "if_statement" else None
    body = _unwrap(body)
    for turn in turns:
        yield Resource(symbol, kind, version, existing, condition, _value(body, template, turn))
    for nested in _nested(body):
        yield from _resources(nested, template, kind)


def _nested(body: tree_sitter.Node) -> list[tree_sitter.Node]:
    # The grammar wraps a resource inside a resource into a property without a key.
    firsts = [child.named_children[0] for child in body.named_children if child.type == "object_property"]
    return [first for first in firsts if first.type == "resource_declaration"]


def _turns(loop: tree_sitter.Node, template: Template, scope: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    head, listed = loop.named_children[0], _value(loop.named_children[1], template, scope)
    names = bound_names(head)
    if not isinstance(listed, list):
        yield dict(scope) | {name: Source(name) for name in names}
        return
    for index, item in enumerate(listed):
        yield dict(scope) | dict(zip(names, (item, index), strict=False))


def _string(node: tree_sitter.Node, template: Template, scope: Mapping[str, Any]) -> str:
    if text(node).startswith("'''"):
        return text(node)[3:-3].removeprefix("\n")
    parts = []
    for child in node.named_children:
        if child.type == "interpolation":
            value = _value(child.named_children[0], template, scope)
            parts.append(f"${{{value}}}" if isinstance(value, Source) else str(value))
        else:
            parts.append(text(child).removeprefix("\\") if child.type == "escape_sequence" else text(child))
    return "".join(parts)


def _object(node: tree_sitter.Node, template: Template, scope: Mapping[str, Any]) -> dict[str, Any]:
    pairs = [child.named_children for child in node.named_children if child.type == "object_property"]
    return {
        _string(key, template, scope) if key.type == "string" else text(key): _value(value, template, scope)
        for key, value in ((pair[0], pair[-1]) for pair in pairs if pair[0].type != "resource_declaration")
    }


def _value(node: tree_sitter.Node, template: Template, scope: Mapping[str, Any]) -> Any:
    read_one = _READERS.get(node.type)
    return read_one(node, template, scope) if read_one else Source(text(node))


def _array(node: tree_sitter.Node, template: Template, scope: Mapping[str, Any]) -> list[Any]:
    return [_value(child, template, scope) for child in node.named_children if child.type != "comment"]


def _loop(node: tree_sitter.Node, template: Template, scope: Mapping[str, Any]) -> list[Any]:
    return [_value(_unwrap(node.named_children[-1]), template, turn) for turn in _turns(node, template, scope)]


def _member(node: tree_sitter.Node, template: Template, scope: Mapping[str, Any]) -> Any:
    owner, name = _value(node.named_children[0], template, scope), text(node.named_children[1])
    return owner.get(name, Source(text(node))) if isinstance(owner, dict) else Source(text(node))


def _named(node: tree_sitter.Node, template: Template, scope: Mapping[str, Any]) -> Any:
    name = text(node)
    if name in scope:
        return scope[name]
    return _value(template.variables[name], template, scope) if name in template.variables else Source(name)


def _call(node: tree_sitter.Node, template: Template, scope: Mapping[str, Any]) -> Any:
    name, arguments = text(node.named_children[0]), node.named_children[1].named_children
    if name == "loadJsonContent":
        return json.loads((template.path.parent / _string(arguments[0], template, scope)).read_text())
    if name == "range":
        first, count = (_value(argument, template, scope) for argument in arguments)
        return list(range(first, first + count))
    if name == "union":
        merged: dict[str, Any] = {}
        for argument in arguments:
            part = _value(argument, template, scope)
            merged |= part if isinstance(part, dict) else {f"...{part}": part}
        return merged
    if name == "subscriptionResourceId":
        return "/".join(str(_value(argument, template, scope)) for argument in arguments)
    return Source(text(node))


_READERS: dict[str, Callable[[tree_sitter.Node, Template, Mapping[str, Any]], Any]] = {
    "string": _string,
    "number": lambda node, _template, _scope: int(text(node)),
    "boolean": lambda node, _template, _scope: text(node) == "true",
    "null": lambda _node, _template, _scope: None,
    "object": _object,
    "array": _array,
    "for_statement": _loop,
    "identifier": _named,
    "member_expression": _member,
    "call_expression": _call,
}
