metadata name = 'Storage'
metadata description = 'What the function host needs: its leases and the deployed package. No keys; nothing of the people it serves.'

import { customerKey } from 'types.bicep'

param location string
param tags object
param name string

@description('Container that holds the deployed package.')
param packageContainer string

@description('Whether only private endpoints reach the account.')
param isPrivate bool

@description('Whether the account outlives a zone.')
param zoneRedundant bool

@description('The key that encrypts what the account holds.')
param encryption customerKey?

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS' // leases and a package: the next deployment writes them anew
  }
  identity: encryption == null
    ? null
    : {
        type: 'UserAssigned'
        userAssignedIdentities: {
          '${encryption!.identityId}': {}
        }
      }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    encryption: encryption == null
      ? null
      : {
          keySource: 'Microsoft.Keyvault'
          keyvaultproperties: {
            keyvaulturi: encryption!.vaultUri
            keyname: encryption!.keyName
          }
          identity: {
            userAssignedIdentity: encryption!.identityId
          }
        }
    networkAcls: {
      bypass: 'None'
      defaultAction: isPrivate ? 'Deny' : 'Allow'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource packages 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: packageContainer
  properties: {
    publicAccess: 'None'
  }
}
