"""Every switch that closes something is set, in every deployment."""

import pytest

from tests.infra.snapshots import deployment

EVERYTHING, REQUIRED = deployment("everything"), deployment("required")
every_deployment = pytest.mark.parametrize("deployed", [EVERYTHING, REQUIRED], ids=["everything", "required"])


@every_deployment
def test_nothing_takes_a_key_or_a_password(deployed):
    assert deployed.only("Microsoft.ServiceBus/namespaces")["properties"]["disableLocalAuth"] is True
    storage = deployed.only("Microsoft.Storage/storageAccounts")["properties"]
    assert (storage["allowSharedKeyAccess"], storage["defaultToOAuthAuthentication"]) == (False, True)
    assert deployed.only("Microsoft.Insights/components")["properties"]["DisableLocalAuth"] is True
    workspace = deployed.only("Microsoft.OperationalInsights/workspaces")["properties"]
    assert workspace["features"]["disableLocalAuth"] is True
    policies = deployed.of_type("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    assert {each["name"].rpartition("/")[2]: each["properties"]["allow"] for each in policies} == {
        "ftp": False,
        "scm": False,
    }


@every_deployment
def test_who_may_read_one_resource_reads_its_log_and_no_other(deployed):
    """https://learn.microsoft.com/azure/azure-monitor/logs/manage-access#access-control-mode"""
    workspace = deployed.only("Microsoft.OperationalInsights/workspaces")["properties"]

    assert workspace["features"]["enableLogAccessUsingOnlyResourcePermissions"] is True


@every_deployment
def test_nothing_speaks_old_tls_or_none(deployed):
    storage, site = deployed.only("Microsoft.Storage/storageAccounts"), deployed.only("Microsoft.Web/sites")

    assert deployed.only("Microsoft.ServiceBus/namespaces")["properties"]["minimumTlsVersion"] == "1.2"
    assert storage["properties"]["minimumTlsVersion"] == "TLS1_2"
    assert storage["properties"]["supportsHttpsTrafficOnly"] is True
    assert site["properties"]["httpsOnly"] is True
    assert site["properties"]["siteConfig"] == {"minTlsVersion": "1.2", "scmMinTlsVersion": "1.2"}


@every_deployment
def test_storage_shows_nothing_to_the_public(deployed):
    account = deployed.only("Microsoft.Storage/storageAccounts")["properties"]
    containers = deployed.of_type("Microsoft.Storage/storageAccounts/blobServices/containers")

    assert account["allowBlobPublicAccess"] is False
    assert account["allowCrossTenantReplication"] is False
    assert {each["properties"]["publicAccess"] for each in containers} == {"None"}


@pytest.mark.parametrize(("deployed", "access"), [(EVERYTHING, "Disabled"), (REQUIRED, "Enabled")])
def test_with_the_private_network_nothing_of_ours_has_a_public_door(deployed, access):
    storage = deployed.only("Microsoft.Storage/storageAccounts")["properties"]
    rules = deployed.of_type("Microsoft.ServiceBus/namespaces/networkRuleSets")

    assert storage["publicNetworkAccess"] == access
    assert storage["networkAcls"]["defaultAction"] == ("Deny" if access == "Disabled" else "Allow")
    assert deployed.only("Microsoft.ServiceBus/namespaces")["properties"]["publicNetworkAccess"] == access
    assert [rule["properties"]["defaultAction"] for rule in rules] == (["Deny"] if access == "Disabled" else [])
    assert {rule["properties"]["publicNetworkAccess"] for rule in rules} <= {"Disabled"}
