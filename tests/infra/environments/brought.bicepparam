using '../../../infra/main.bicep'

// A landing zone: network, DNS zones and workspace are there already and belong to somebody else; one zone is not.
param environmentName = 'brought'
param communicationServiceId = '/subscriptions/00000000-0000-0000-0000-0000000000ac/resourceGroups/rg-acs/providers/Microsoft.Communication/communicationServices/acs-of-the-snapshot'
param alertEmailAddresses = [
  'one@example.com'
]
param deleteLock = true
param serviceBusSku = 'Premium'
param privateNetworking = true
param existingSubnets = {
  function: '/subscriptions/00000000-0000-0000-0000-0000000000af/resourceGroups/rg-hub/providers/Microsoft.Network/virtualNetworks/vnet-spoke/subnets/flex'
  endpoints: '/subscriptions/00000000-0000-0000-0000-0000000000af/resourceGroups/rg-hub/providers/Microsoft.Network/virtualNetworks/vnet-spoke/subnets/pe'
}
param existingDnsZones = {
  namespace: '/subscriptions/00000000-0000-0000-0000-0000000000af/resourceGroups/rg-dns/providers/Microsoft.Network/privateDnsZones/zone-of-the-namespace'
  blob: '/subscriptions/00000000-0000-0000-0000-0000000000af/resourceGroups/rg-dns/providers/Microsoft.Network/privateDnsZones/zone-of-blobs'
  postgresqlServer: '/subscriptions/00000000-0000-0000-0000-0000000000af/resourceGroups/rg-dns/providers/Microsoft.Network/privateDnsZones/zone-of-the-ledger'
}
param workspaceId = '/subscriptions/00000000-0000-0000-0000-0000000000af/resourceGroups/rg-logs/providers/Microsoft.OperationalInsights/workspaces/log-of-everybody'
param consentLedger = true
param ledgerAdministratorsId = '00000000-0000-0000-0000-0000000000f3'
param ledgerAdministratorsName = 'ledger administrators'
