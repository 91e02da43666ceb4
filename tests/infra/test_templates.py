"""What the compiler would say, as far as it can be said without it."""

import json
import re
from itertools import groupby

import pytest
import tree_sitter

from tests.infra.bicep_tree import (
    INFRA,
    PARAMETER_FILES,
    ROOT,
    TEMPLATES,
    Source,
    Template,
    bound_names,
    parse,
    read,
    read_parameters,
    text,
    walk,
)

every_template = pytest.mark.parametrize("template", [read(path) for path in TEMPLATES], ids=lambda t: t.path.name)
every_parameter_file = pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda path: path.name)

# https://learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions
FUNCTIONS = {
    *("cidrSubnet", "empty", "environment", "fail", "filter", "guid", "indexOf", "items", "last", "loadJsonContent"),
    *("loadTextContent", "map", "range", "replace", "resourceGroup", "resourceId", "split", "string", "subscription"),
    *("subscriptionResourceId", "substring", "toObject", "trim", "union", "uniqueString"),
}
# Where an identifier is a name of its own and not a use of another.
NAMES_ITSELF = {
    *("parameter_declaration", "variable_declaration", "resource_declaration", "module_declaration"),
    *("output_declaration", "type_declaration", "metadata_declaration", "import_functionality", "object_property"),
    *("target_scope_assignment", "loop_variable", "loop_enumerator"),
}


def _uses(template: Template) -> set[str]:
    """Give the names that expressions of a template use, outside of decorators."""
    used: set[str] = set()
    for node in walk(template.root):
        parent = node.parent
        if (
            not node.is_named
            or node.type not in {"identifier", "type"}
            or parent is None
            or "decorator" in _ancestors(node)
        ):
            continue
        if node.type == "type":
            used.add(text(node))
        elif parent.type in NAMES_ITSELF and parent.named_children[0] == node:
            continue
        elif parent.type == "call_expression" and parent.named_children[0] == node:
            assert text(node) in FUNCTIONS, f"{text(node)} is no function this project uses"
        elif parent.type != "lambda_expression" or parent.named_children[0] != node:
            used.add(text(node))
    return used


def _ancestors(node: tree_sitter.Node) -> set[str]:
    parent = node.parent
    return {parent.type} | _ancestors(parent) if parent else set()


def _locals(template: Template) -> set[str]:
    """Give the names that loops and lambdas bind."""
    bound: set[str] = set()
    for node in walk(template.root):
        if node.type in {"for_statement", "lambda_expression"}:
            bound |= set(bound_names(node.named_children[0]))
    return bound


def test_the_grammar_refuses_what_is_no_bicep():
    with pytest.raises(SyntaxError, match="line 2"):
        parse("param a string\nresource = {")


@every_template
def test_every_name_is_declared(template: Template):
    declared = {*template.parameters, *template.variables, *template.types, *template.imports}
    declared |= {resource.symbol for resource in template.resources} | {module.symbol for module in template.modules}
    primitive = {"string", "int", "bool", "object", "array", "string[]"}

    undeclared = {name for name in _uses(template) if not name.startswith("{")} - declared - _locals(template)

    assert undeclared - primitive == set()


@every_template
def test_nothing_is_declared_that_nothing_uses(template: Template):
    existing = {resource.symbol for resource in template.resources if resource.existing}

    unused = {*template.parameters, *template.variables, *template.imports, *existing} - _uses(template)

    assert unused == set()


@every_template
def test_a_module_gets_every_parameter_it_needs_and_no_other(template: Template):
    for module in template.modules:
        parameters = read(template.path.parent / module.path).parameters
        given = set(module.body["params"])

        assert given <= set(parameters), module.symbol
        assert given >= {name for name, parameter in parameters.items() if parameter.required}, module.symbol


@every_template
def test_an_output_of_a_module_that_is_used_exists(template: Template):
    paths = {module.symbol: module.path for module in template.modules}

    for symbol, output in re.findall(r"(\w+)\.outputs\.(\w+)", template.path.read_text()):
        assert output in read(template.path.parent / paths[symbol]).outputs


@every_template
def test_every_module_is_described(template: Template):
    assert re.search(r"^metadata description = '.+'$", template.path.read_text(), re.MULTILINE)


def test_every_parameter_of_the_deployment_is_described():
    parameters = read(INFRA / "main.bicep").parameters

    assert [name for name, parameter in parameters.items() if "description" not in parameter.decorators] == []


@every_parameter_file
def test_a_parameter_file_sets_what_must_be_set_to_what_is_allowed(path):
    parameters = read(INFRA / "main.bicep").parameters
    values = read_parameters(path)

    assert path.read_text().startswith("using 'main.bicep'\n")
    assert set(values) <= set(parameters)
    assert set(values) >= {name for name, parameter in parameters.items() if parameter.required}
    for name, value in values.items():
        decorators = parameters[name].decorators
        if not isinstance(value, Source):
            assert value in decorators.get("allowed", [value]), name
        if isinstance(value, int):
            assert decorators.get("minValue", value) <= value <= decorators.get("maxValue", value), name


def test_production_names_its_senders_publishers_and_operators():
    values = read_parameters(INFRA / "prod.bicepparam")

    # Without a second argument the file does not compile while the variable is missing.
    for name in ("allowedSenders", "publisherIds", "operatorsGroupId", "alertEmailAddresses", "communicationServiceId"):
        assert re.search(r"readEnvironmentVariable\('\w+'\)", values[name]), name


@every_template
def test_versions_are_dated_stable_and_one_for_each_type(template: Template):
    for resource in template.resources:
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", resource.api_version) or resource.api_version == ""


def test_one_type_has_one_version_everywhere():
    used = {(r.type, r.api_version) for path in TEMPLATES for r in read(path).resources if r.api_version}

    assert [kind for kind, versions in groupby(sorted(used), lambda each: each[0]) if len(list(versions)) > 1] == []


def test_the_function_is_named_alike_in_code_and_template():
    assert read(INFRA / "modules/function.bicep").variable("functionName") == "process_opt_ins"
    assert '@app.function_name("process_opt_ins")' in (ROOT / "function_app.py").read_text()


def test_every_linter_rule_is_an_error():
    rules = json.loads((INFRA / "bicepconfig.json").read_text())["analyzers"]["core"]["rules"]

    assert {rule["level"] for rule in rules.values()} == {"error"}
    assert {"outputs-should-not-contain-secrets", "no-hardcoded-env-urls", "no-unused-params"} <= set(rules)


def test_nothing_compiled_is_kept():
    templates = [path for path in INFRA.rglob("*.json") if "deploymentTemplate" in path.read_text()]

    assert templates == []


def test_every_resource_that_can_have_tags_has_them():
    # These types take none: they are part of another resource.
    parts = {
        "Microsoft.Authorization/roleAssignments",
        "Microsoft.EventGrid/systemTopics/eventSubscriptions",
        "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
        "Microsoft.ServiceBus/namespaces/networkRuleSets",
        "Microsoft.ServiceBus/namespaces/queues",
        "Microsoft.Storage/storageAccounts/blobServices",
        "Microsoft.Storage/storageAccounts/blobServices/containers",
        "Microsoft.Web/sites/basicPublishingCredentialsPolicies",
        "Microsoft.Web/sites/config",
    }
    created = [resource for path in TEMPLATES for resource in read(path).resources if not resource.existing]

    assert {r.symbol for r in created if "tags" not in r.body and r.type not in parts} == set()
