"""What holds for every resource that would be deployed."""

import json
import re
from itertools import groupby

import pytest

from tests.infra import azure_types
from tests.infra.snapshots import Resource, deployment, read
from tests.infra.sources import INFRA, TEMPLATES

DEPLOYMENTS = {name: deployment(name) for name in ("everything", "smallest", "required")}
RESOURCES = [resource for each in DEPLOYMENTS.values() for resource in each.resources]
every_template = pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)

#: Most characters of a name, and which: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
NAMES = {
    "Microsoft.DBforPostgreSQL/flexibleServers": (63, r"[a-z][a-z0-9-]+[a-z0-9]"),
    "Microsoft.EventGrid/systemTopics": (128, r"[a-zA-Z0-9-]+"),
    "Microsoft.Insights/actionGroups": (260, r"[^/&%?]+"),
    "Microsoft.Insights/components": (260, r"[^/&%?]+"),
    "Microsoft.Insights/metricAlerts": (260, r"[^*#&+:<>?@%{}\\/|]+"),
    "Microsoft.Insights/scheduledQueryRules": (260, r"[^*#&+:<>?@%{}\\/|]+"),
    "Microsoft.ManagedIdentity/userAssignedIdentities": (128, r"[a-zA-Z0-9][a-zA-Z0-9_-]{2,}"),
    "Microsoft.Network/natGateways": (80, r"[a-zA-Z0-9][\w.-]*\w"),
    "Microsoft.Network/privateEndpoints": (64, r"[a-zA-Z0-9][\w.-]*\w"),
    "Microsoft.Network/publicIPAddresses": (80, r"[a-zA-Z0-9][\w.-]*\w"),
    "Microsoft.Network/virtualNetworks": (64, r"[a-zA-Z0-9][\w.-]*\w"),
    "Microsoft.OperationalInsights/workspaces": (63, r"[a-zA-Z0-9][a-zA-Z0-9-]{2,}[a-zA-Z0-9]"),
    "Microsoft.ServiceBus/namespaces": (50, r"[a-zA-Z][a-zA-Z0-9-]{4,}[a-zA-Z0-9]"),
    "Microsoft.Storage/storageAccounts": (24, r"[a-z0-9]{3,}"),
    "Microsoft.Web/serverfarms": (60, r"[a-zA-Z0-9-]+"),
    "Microsoft.Web/sites": (60, r"[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]"),
}
LONGEST_ENVIRONMENT = 20
#: The newest stable version of these is older than what we need of them.
PREVIEWS = {"Microsoft.Insights/diagnosticSettings@2021-05-01-preview"}


def _flat(resource: Resource) -> Resource:
    """Give a resource as Azure gets it: the workbook is text."""
    if resource["type"] != "Microsoft.Insights/workbooks":
        return resource
    properties = resource["properties"] | {"serializedData": json.dumps(resource["properties"]["serializedData"])}
    return resource | {"properties": properties}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_azures_own_types_allow_every_property_and_every_value(name):
    faults = [fault for each in DEPLOYMENTS[name].resources for fault in azure_types.faults(_flat(each))]

    assert faults == []


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Microsoft.Storage/storageAccounts", "kind", "StorageV3"),
        ("Microsoft.Storage/storageAccounts", "sku.name", "Standard_XRS"),
        ("Microsoft.Storage/storageAccounts", "properties.minimumTlsVersion", "TLS9"),
        ("Microsoft.ServiceBus/namespaces", "properties.minimumTlsVersion", "TLS1_2"),
        ("Microsoft.OperationalInsights/workspaces", "properties.sku.name", "PerGB2081"),
        ("Microsoft.Insights/metricAlerts", "properties.criteria.allOf.0.operator", "LesserThan"),
        ("Microsoft.Insights/scheduledQueryRules", "properties.criteria.allOf.0.timeAggregation", "Sum"),
        ("Microsoft.EventGrid/systemTopics/eventSubscriptions", "properties.eventDeliverySchema", "CloudEvents"),
        ("Microsoft.EventGrid/systemTopics", "identity.type", "UserAssign"),
        ("Microsoft.Authorization/roleAssignments", "properties.principalType", "Service"),
        ("Microsoft.Web/sites", "properties.siteConfig.minTlsVersion", "1.4"),
        ("Microsoft.Web/sites", "properties.httpOnly", True),
        ("Microsoft.Web/sites", "properties.functionAppConfig.scaleAndConcurrency.instanceMemoryMB", "2048"),
    ],
)
def test_a_value_that_the_compiler_lets_pass_is_a_fault(kind, path, value):
    resource = json.loads(json.dumps(DEPLOYMENTS["everything"].of_type(kind)[0]))
    *above, last = path.split(".")
    part = resource
    for name in above:
        part = part[int(name)] if isinstance(part, list) else part[name]
    part[last] = value

    (fault,) = azure_types.faults(resource)
    assert last in fault


def test_a_version_that_azure_does_not_have_is_a_fault():
    resource = DEPLOYMENTS["everything"].only("Microsoft.Web/serverfarms") | {"apiVersion": "2099-01-01"}

    assert azure_types.faults(resource) == ["Microsoft.Web/serverfarms@2099-01-01: no such type in azure-types.json"]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_no_resource_is_deployed_twice(name):
    ids = sorted(resource["id"].lower() for resource in DEPLOYMENTS[name].resources)

    assert [each for each, same in groupby(ids) if len(list(same)) > 1] == []


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each["name"].rpartition("/")[2][:40])
def test_a_name_is_one_that_azure_takes_however_long_the_environments_name_is(resource):
    if resource["type"] not in NAMES:
        return
    longest, allowed = NAMES[resource["type"]]
    name = re.sub("everything|smallest|required", "e" * LONGEST_ENVIRONMENT, resource["name"])

    assert re.fullmatch(allowed, name)
    assert len(name) <= longest


def test_the_longest_name_of_an_environment_is_the_one_names_are_made_for():
    assert read("template")["parameters"]["environmentName"]["maxLength"] == LONGEST_ENVIRONMENT


def test_every_name_that_can_be_taken_by_somebody_else_has_a_suffix_of_its_group():
    for kind in ("ServiceBus/namespaces", "Storage/storageAccounts", "Web/sites"):
        names = [each.only(f"Microsoft.{kind}")["name"] for each in DEPLOYMENTS.values()]
        assert all(re.search(r"[a-z0-9]{13}$", name) for name in names)
        assert len({name[-13:] for name in names}) == len(names)


@every_template
def test_every_module_is_described(path):
    assert re.search(r"^metadata description = '.+'$", path.read_text(), re.MULTILINE)


def test_every_parameter_of_the_deployment_is_described():
    parameters = read("template")["parameters"]

    assert [name for name, parameter in parameters.items() if "description" not in parameter["metadata"]] == []


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_a_parameter_file_gives_only_what_the_deployment_has(environment):
    parameters = read("template")["parameters"]

    assert set(read(environment)) <= set(parameters)
    assert set(read(environment)) >= {
        name for name, each in parameters.items() if "defaultValue" not in each and not each.get("nullable")
    }


def test_versions_are_dated_stable_and_one_for_each_type():
    source = "".join(path.read_text() for path in TEMPLATES)
    used = set(re.findall(r"'(Microsoft\.[\w./]+@[\w-]+)'", source))

    assert used
    assert {each for each in used if not re.search(r"@\d{4}-\d{2}-\d{2}$", each)} <= PREVIEWS
    assert len(used) == len({each.partition("@")[0] for each in used})


def test_a_part_has_the_version_of_its_whole():
    for resource in RESOURCES:
        whole = [each for each in RESOURCES if resource["type"].startswith(f"{each['type']}/")]
        if not resource["type"].startswith("Microsoft.Network/privateDnsZones"):
            assert {each["apiVersion"] for each in whole} <= {resource["apiVersion"]}, resource["type"]


def test_every_linter_rule_is_an_error():
    rules = json.loads((INFRA / "bicepconfig.json").read_text())["analyzers"]["core"]["rules"]

    assert {rule["level"] for rule in rules.values()} == {"error"}
    assert {"outputs-should-not-contain-secrets", "no-hardcoded-env-urls", "no-unused-params"} <= set(rules)
    assert {"no-unused-types", "no-unused-vars", "no-unused-imports"} <= set(rules)


def test_nothing_compiled_is_kept():
    templates = [path for path in INFRA.rglob("*.json") if "deploymentTemplate" in path.read_text()]

    assert templates == []


def test_every_resource_that_can_have_tags_has_them_and_those_of_the_caller():
    taggable = [each for each in DEPLOYMENTS["everything"].resources if _takes_tags(each)]

    assert len(taggable) > 20
    for resource in taggable:
        assert (
            resource["tags"].items()
            >= {
                "application": "sms-opt-in",
                "azd-env-name": "everything",
                "costCentre": "of-the-snapshot",
            }.items()
        ), resource["id"]


def _takes_tags(resource: Resource) -> bool:
    kind = azure_types.TYPES[f"{resource['type']}@{resource['apiVersion']}"]
    return any(name.rstrip("!") == "tags" for name in kind)


def test_the_app_starts_when_it_has_its_rights_and_its_network():
    graph = read("graph")["main"]

    assert {"functionRoles", "communicationRole", "network"} <= set(graph["processor"])
    assert {"identity", "messaging", "storage", "monitoring"} <= set(graph["functionRoles"])
    assert {"messaging", "monitoring"} <= set(graph["roles"])
    assert {"eventGridIdentity", "messaging"} <= set(graph["textsRole"])
    assert "textsRole" in graph["texts"]


def test_nothing_that_is_made_waits_for_itself():
    for name, graph in read("graph").items():
        waits = {each: set(others) for each, others in graph.items()}
        while free := [each for each, others in waits.items() if not others & waits.keys()]:
            for each in free:
                del waits[each]
        assert waits == {}, name
