metadata name = 'Network'
metadata description = 'The virtual network of the function, private endpoints for what it stores and sends, and one way out.'

import { dnsZones, subnets } from 'types.bicep'

param location string
param tags object
param nameSuffix string
param virtualNetworkName string
param addressPrefix string

@description('Subnets that exist. Left out: a network with both is made, with one way out.')
param existingSubnets subnets?

@description('Private DNS zones that exist, linked to the network by whoever has them.')
param existingZones dnsZones
param namespaceName string

@description('Host name of the namespace: the private DNS zone has its domain.')
param namespaceHostName string

param storageName string

param hasLedger bool
param ledgerName string

@description('Host name of the ledger: its private DNS zone has its domain. Empty: there is no ledger.')
param ledgerHostName string

var isOwn = existingSubnets == null
var endpointSubnetId = existingSubnets.?endpoints ?? '${virtualNetwork.id}/subnets/private-endpoints'
var networkId = isOwn ? virtualNetwork.id : split(endpointSubnetId, '/subnets/')[0]
var storageSuffix = environment().suffixes.storage
var alwaysThere = [
  {
    name: 'service-bus'
    group: 'namespace'
    zone: 'privatelink.${substring(namespaceHostName, indexOf(namespaceHostName, '.') + 1)}'
    target: namespace.id
  }
  {
    name: 'blob'
    group: 'blob'
    zone: 'privatelink.blob.${storageSuffix}'
    target: storage.id
  }
  {
    name: 'table'
    group: 'table'
    zone: 'privatelink.table.${storageSuffix}'
    target: storage.id
  }
]
var ofTheLedger = {
  name: 'ledger'
  group: 'postgresqlServer'
  zone: 'privatelink.${substring(ledgerHostName, indexOf(ledgerHostName, '.') + 1)}'
  target: resourceId('Microsoft.DBforPostgreSQL/flexibleServers', ledgerName)
}
var endpoints = concat(alwaysThere, hasLedger ? [ofTheLedger] : [])
var broughtAlong = [for endpoint in endpoints: existingZones[?endpoint.group] ?? '']

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: namespaceName
}

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

// ACS, Entra ID and Application Insights are public endpoints, and a new subnet has no way out of its own.
resource outboundAddress 'Microsoft.Network/publicIPAddresses@2024-05-01' = if (isOwn) {
  name: 'pip-optin-${nameSuffix}'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIPAllocationMethod: 'Static'
  }
}

resource natGateway 'Microsoft.Network/natGateways@2024-05-01' = if (isOwn) {
  name: 'ng-optin-${nameSuffix}'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIpAddresses: [
      {
        id: outboundAddress.id
      }
    ]
  }
}

resource virtualNetwork 'Microsoft.Network/virtualNetworks@2024-05-01' = if (isOwn) {
  name: virtualNetworkName
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [
        addressPrefix
      ]
    }
    subnets: [
      {
        name: 'function'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 24, 0)
          defaultOutboundAccess: false
          natGateway: {
            id: natGateway.id
          }
          delegations: [
            {
              name: 'flex-consumption'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'private-endpoints'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 24, 1)
          defaultOutboundAccess: false
        }
      }
    ]
  }
}

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for (endpoint, index) in endpoints: if (empty(broughtAlong[index])) {
    name: endpoint.zone
    location: 'global'
    tags: tags
  }
]

resource zoneLinks 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (endpoint, index) in endpoints: if (empty(broughtAlong[index])) {
    parent: zones[index]
    name: last(split(networkId, '/'))
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: networkId
      }
    }
  }
]

@batchSize(1) // each one updates the subnet
resource privateEndpoints 'Microsoft.Network/privateEndpoints@2024-05-01' = [
  for endpoint in endpoints: {
    name: 'pep-${endpoint.name}-optin-${nameSuffix}'
    location: location
    tags: tags
    properties: {
      subnet: {
        id: endpointSubnetId
      }
      privateLinkServiceConnections: [
        {
          name: endpoint.name
          properties: {
            privateLinkServiceId: endpoint.target
            groupIds: [
              endpoint.group
            ]
          }
        }
      ]
    }
  }
]

resource zoneGroups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = [
  for (endpoint, index) in endpoints: {
    parent: privateEndpoints[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: endpoint.name
          properties: {
            privateDnsZoneId: empty(broughtAlong[index]) ? zones[index].id : broughtAlong[index]
          }
        }
      ]
    }
  }
]
