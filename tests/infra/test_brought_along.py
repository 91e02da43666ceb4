"""A landing zone's own network, DNS zones, workspace and key are used, and nothing is then made twice."""

import pytest

from tests.infra.compiler import CompilationError
from tests.infra.snapshots import deployment

EVERYTHING, REQUIRED, BROUGHT = deployment("everything"), deployment("required"), deployment("brought")
OTHERS = "/subscriptions/00000000-0000-0000-0000-0000000000af/"
SPOKE = f"{OTHERS}resourceGroups/rg-hub/providers/Microsoft.Network/virtualNetworks/vnet-spoke"
LOG_OF_EVERYBODY = f"{OTHERS}resourceGroups/rg-logs/providers/Microsoft.OperationalInsights/workspaces/log-of-everybody"
KEYS = "/subscriptions/00000000-0000-0000-0000-0000000000ae/resourceGroups/rg-keys/providers/"


def test_no_network_is_made_beside_the_one_that_is_there():
    for kind in ("virtualNetworks", "natGateways", "publicIPAddresses"):
        assert BROUGHT.of_type(f"Microsoft.Network/{kind}") == []
        assert len(EVERYTHING.of_type(f"Microsoft.Network/{kind}")) == 1

    assert BROUGHT.only("Microsoft.Web/sites")["properties"]["virtualNetworkSubnetId"] == f"{SPOKE}/subnets/flex"
    endpoints = BROUGHT.of_type("Microsoft.Network/privateEndpoints")
    assert len(endpoints) == 4
    assert {each["properties"]["subnet"]["id"] for each in endpoints} == {f"{SPOKE}/subnets/pe"}


def test_only_the_dns_zone_that_nobody_has_is_made_and_linked_to_that_network():
    (zone,) = BROUGHT.of_type("Microsoft.Network/privateDnsZones")
    (link,) = BROUGHT.of_type("Microsoft.Network/privateDnsZones/virtualNetworkLinks")
    groups = BROUGHT.of_type("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
    used = {
        group["name"].split("-")[1]: group["properties"]["privateDnsZoneConfigs"][0]["properties"]["privateDnsZoneId"]
        for group in groups
    }

    assert "privatelink.table." in zone["name"]
    assert link["properties"]["virtualNetwork"] == {"id": SPOKE}
    zones = f"{OTHERS}resourceGroups/rg-dns/providers/Microsoft.Network/privateDnsZones"
    assert used == {
        "service": f"{zones}/zone-of-the-namespace",
        "blob": f"{zones}/zone-of-blobs",
        "ledger": f"{zones}/zone-of-the-ledger",
        "table": zone["id"],
    }


def test_no_workspace_is_made_or_locked_beside_the_one_that_is_there():
    rules = BROUGHT.of_type("Microsoft.Insights/scheduledQueryRules")
    sinks = BROUGHT.of_type("Microsoft.Insights/diagnosticSettings")

    assert BROUGHT.of_type("Microsoft.OperationalInsights/workspaces") == []
    assert [lock["name"] for lock in BROUGHT.of_type("Microsoft.Authorization/locks")] == ["keep-the-ledger"]
    application = BROUGHT.only("Microsoft.Insights/components")
    assert application["properties"]["WorkspaceResourceId"] == LOG_OF_EVERYBODY
    assert {sink["properties"]["workspaceId"] for sink in sinks} == {LOG_OF_EVERYBODY}
    assert {scope for rule in rules for scope in rule["properties"]["scopes"]} == {application["id"], LOG_OF_EVERYBODY}


def test_who_read_a_queue_and_who_used_the_opt_out_list_is_logged():
    for deployed in (EVERYTHING, REQUIRED):
        sinks = deployed.of_type("Microsoft.Insights/diagnosticSettings")
        logged = {sink["id"].partition("/providers/Microsoft.Insights")[0]: sink["properties"] for sink in sinks}

        namespace = deployed.only("Microsoft.ServiceBus/namespaces")["id"]
        acs = next(scope for scope in logged if scope.endswith("/communicationServices/acs-of-the-snapshot"))
        assert set(logged) == {namespace, acs}
        workspace = deployed.only("Microsoft.OperationalInsights/workspaces")["id"]
        for properties in logged.values():
            assert properties["logs"] == [{"categoryGroup": "allLogs", "enabled": True}]
            assert properties["workspaceId"] == workspace
            assert properties["logAnalyticsDestinationType"] == "Dedicated"  # tables of their own


def test_the_log_of_the_acs_resource_can_be_left_to_its_owner(compiler, parameter_file):
    made = compiler.snapshot(parameter_file("required", "param logCommunicationService = false"))

    assert [each["name"] for each in made if each["type"] == "Microsoft.Insights/diagnosticSettings"] == [
        "counts-and-audit"
    ]


def test_a_key_of_yours_encrypts_all_that_holds_numbers_and_what_the_function_stores():
    identity = f"{KEYS}Microsoft.ManagedIdentity/userAssignedIdentities/id-keys"
    namespace, storage, ledger = (
        EVERYTHING.only(kind)
        for kind in (
            "Microsoft.ServiceBus/namespaces",
            "Microsoft.Storage/storageAccounts",
            "Microsoft.DBforPostgreSQL/flexibleServers",
        )
    )

    for each in (namespace, storage, ledger):
        assert each["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}
    assert namespace["properties"]["encryption"] == {
        "keySource": "Microsoft.KeyVault",
        "keyVaultProperties": [
            {
                "keyVaultUri": "https://vault.of.the.snapshot/",
                "keyName": "opt-ins",
                "identity": {"userAssignedIdentity": identity},
            }
        ],
    }
    assert storage["properties"]["encryption"] == {
        "keySource": "Microsoft.Keyvault",
        "keyvaultproperties": {"keyvaulturi": "https://vault.of.the.snapshot/", "keyname": "opt-ins"},
        "identity": {"userAssignedIdentity": identity},
    }
    assert ledger["properties"]["dataEncryption"] == {
        "type": "AzureKeyVault",
        "primaryKeyURI": "https://vault.of.the.snapshot/keys/opt-ins",
        "primaryUserAssignedIdentityId": identity,
    }


def test_without_a_key_of_yours_nothing_asks_for_one():
    assert REQUIRED.only("Microsoft.ServiceBus/namespaces")["properties"].get("encryption") is None
    assert REQUIRED.only("Microsoft.Storage/storageAccounts")["properties"].get("encryption") is None
    assert (
        deployment("smallest").only("Microsoft.DBforPostgreSQL/flexibleServers")["properties"].get("dataEncryption")
        is None
    )
    assert {REQUIRED.only(f"Microsoft.{kind}").get("identity") for kind in ("ServiceBus/namespaces",)} == {None}


@pytest.mark.parametrize(
    ("deployed", "zones", "storage"), [(EVERYTHING, True, "Standard_ZRS"), (REQUIRED, False, "Standard_LRS")]
)
def test_a_zone_that_fails_takes_everything_along_or_nothing(deployed, zones, storage):
    assert deployed.only("Microsoft.Web/serverfarms")["properties"]["zoneRedundant"] is zones
    assert deployed.only("Microsoft.ServiceBus/namespaces")["properties"]["zoneRedundant"] is zones
    assert deployed.only("Microsoft.Storage/storageAccounts")["sku"]["name"] == storage


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "param encryption = { vaultUri: 'https://v/', keyName: 'k', identityId: '/i' }",
            "encryption needs serviceBusSku Premium",
        ),
        (
            "param existingSubnets = { function: '/f', endpoints: '/e' }",
            "existingSubnets goes with privateNetworking, which is off",
        ),
        ("param workspaceId = 'log-of-everybody'", "that is not the id of a Log Analytics workspace"),
    ],
)
def test_what_would_be_half_done_is_refused(line, sentence, compiler, parameter_file):
    with pytest.raises(CompilationError, match=sentence):
        compiler.snapshot(parameter_file("required", line))
