"""The private network: where each part may be reached, and by which name."""

from ipaddress import ip_network

import pytest

from tests.infra.compiler import CompilationError
from tests.infra.snapshots import deployment

EVERYTHING, REQUIRED = deployment("everything"), deployment("required")
NETWORK = EVERYTHING.only("Microsoft.Network/virtualNetworks")
SUBNETS = {subnet["name"]: subnet["properties"] for subnet in NETWORK["properties"]["subnets"]}
ENDPOINTS = EVERYTHING.of_type("Microsoft.Network/privateEndpoints")


def test_without_the_switch_there_is_no_network():
    assert [each["id"] for each in REQUIRED.resources if each["type"].startswith("Microsoft.Network/")] == []
    assert REQUIRED.only("Microsoft.Web/sites")["properties"].get("virtualNetworkSubnetId") is None


def test_the_app_joins_the_subnet_that_is_lent_to_flex_consumption():
    """https://learn.microsoft.com/azure/azure-functions/flex-consumption-how-to#enable-virtual-network-integration."""
    (delegation,) = SUBNETS["function"]["delegations"]

    assert delegation["properties"]["serviceName"] == "Microsoft.App/environments"
    joined = EVERYTHING.only("Microsoft.Web/sites")["properties"]["virtualNetworkSubnetId"]
    assert joined == f"{NETWORK['id']}/subnets/function"


def test_the_subnets_do_not_overlap_and_lie_in_the_network():
    space = ip_network(NETWORK["properties"]["addressSpace"]["addressPrefixes"][0])
    function, endpoints = (ip_network(SUBNETS[name]["addressPrefix"]) for name in ("function", "private-endpoints"))

    assert function.subnet_of(space)  # type: ignore[arg-type]
    assert endpoints.subnet_of(space)  # type: ignore[arg-type]
    assert not function.overlaps(endpoints)
    assert function.prefixlen <= 27  # the least that Flex Consumption takes


def test_the_function_has_one_way_out_and_the_endpoints_none():
    gateway = EVERYTHING.only("Microsoft.Network/natGateways")
    address = EVERYTHING.only("Microsoft.Network/publicIPAddresses")

    assert SUBNETS["function"]["natGateway"] == {"id": gateway["id"]}
    assert gateway["properties"]["publicIpAddresses"] == [{"id": address["id"]}]
    assert (address["sku"]["name"], address["properties"]["publicIPAllocationMethod"]) == ("Standard", "Static")
    assert {subnet["defaultOutboundAccess"] for subnet in SUBNETS.values()} == {False}


def test_each_resource_is_reached_through_an_endpoint_of_its_own_group():
    """https://learn.microsoft.com/azure/private-link/private-endpoint-overview#private-link-resource"""
    reached = {}
    for endpoint in ENDPOINTS:
        assert endpoint["properties"]["subnet"]["id"] == f"{NETWORK['id']}/subnets/private-endpoints"
        (connection,) = endpoint["properties"]["privateLinkServiceConnections"]
        (group,) = connection["properties"]["groupIds"]
        reached[group] = connection["properties"]["privateLinkServiceId"]

    storage = EVERYTHING.only("Microsoft.Storage/storageAccounts")["id"]
    assert reached == {
        "namespace": EVERYTHING.only("Microsoft.ServiceBus/namespaces")["id"],
        "blob": storage,
        "table": storage,
        "postgresqlServer": EVERYTHING.only("Microsoft.DBforPostgreSQL/flexibleServers")["id"],
    }


def test_event_grid_is_let_in_where_the_public_is_not():
    """It has no private endpoint, and delivers as a trusted service: https://learn.microsoft.com/azure/event-grid/consume-private-endpoints"""
    rules = EVERYTHING.only("Microsoft.ServiceBus/namespaces/networkRuleSets")

    assert rules["properties"]["trustedServiceAccessEnabled"] is True


def test_every_endpoint_has_its_zone_and_every_zone_is_linked():
    zones = {each["name"] for each in EVERYTHING.of_type("Microsoft.Network/privateDnsZones")}
    groups = EVERYTHING.of_type("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
    links = EVERYTHING.of_type("Microsoft.Network/privateDnsZones/virtualNetworkLinks")

    assert len(zones) == len(ENDPOINTS) == len(groups) == len(links)
    for group in groups:
        (config,) = group["properties"]["privateDnsZoneConfigs"]
        assert any(zone.strip("[]") in config["properties"]["privateDnsZoneId"] for zone in zones)
    for link in links:
        assert link["properties"] == {"registrationEnabled": False, "virtualNetwork": {"id": NETWORK["id"]}}


def test_each_zone_has_the_name_that_its_service_looks_for():
    """https://learn.microsoft.com/azure/private-link/private-endpoint-dns"""
    names = "\n".join(each["name"] for each in EVERYTHING.of_type("Microsoft.Network/privateDnsZones"))
    ledger = EVERYTHING.only("Microsoft.DBforPostgreSQL/flexibleServers")["id"]

    assert "[format('privatelink.blob.{0}', environment().suffixes.storage)]" in names
    assert "[format('privatelink.table.{0}', environment().suffixes.storage)]" in names
    assert "[format('privatelink.{0}', substring(split(replace(reference(" in names
    assert f"[format('privatelink.{{0}}', substring(reference('{ledger}'" in names


@pytest.mark.parametrize("prefix", ["10.0.0.0/24", "ten"])
def test_an_address_space_that_does_not_hold_two_subnets_is_refused(prefix, compiler, parameter_file):
    path = parameter_file("everything", f"param virtualNetworkAddressPrefix = '{prefix}'")

    with pytest.raises(CompilationError):
        compiler.snapshot(path)
