metadata name = 'Ledger'
metadata description = 'The consent ledger: a PostgreSQL server that takes Entra ID only, and the database on it. The role of the function is made by infra/ledger-rights: Azure Resource Manager cannot.'

import { customerKey } from 'types.bicep'

param location string
param tags object

@minLength(3)
param name string

param databaseName string

@description('Who administers the server: object id and name of an Entra group. Its members sign in under its name.')
param administrators {
  objectId: string
  name: string
}

@description('Compute of the server; the first letter behind the underscore says which tier.')
param computeSize string

param storageSizeGB int

@description('Whether a standby takes over, and where it stands.')
param standby 'Disabled' | 'SameZone' | 'ZoneRedundant'

@description('Whether backups are kept in the paired region too. Fixed when the server is made.')
param geoRedundantBackup bool

@description('Whether only private endpoints reach the server. Fixed when the server is made.')
param isPrivate bool

@description('The key that encrypts what the server holds. Fixed when the server is made.')
param encryption customerKey?

@description('Whether the server may not be deleted.')
param isLocked bool

var tiers = {
  B: 'Burstable'
  D: 'GeneralPurpose'
  E: 'MemoryOptimized'
}

resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2025-08-01' = {
  name: name
  location: location
  tags: tags
  identity: encryption == null
    ? null
    : {
        type: 'UserAssigned'
        userAssignedIdentities: {
          '${encryption!.identityId}': {}
        }
      }
  sku: {
    name: computeSize
    tier: tiers[substring(computeSize, length('Standard_'), 1)]
  }
  properties: {
    createMode: 'Default'
    version: '17'
    authConfig: {
      activeDirectoryAuth: 'Enabled'
      passwordAuth: 'Disabled'
      tenantId: tenant().tenantId
    }
    storage: {
      storageSizeGB: storageSizeGB
      autoGrow: 'Enabled'
    }
    backup: {
      backupRetentionDays: 35 // the most there is: the ledger is the proof of consent
      geoRedundantBackup: geoRedundantBackup ? 'Enabled' : 'Disabled'
    }
    dataEncryption: encryption == null
      ? null
      : {
          type: 'AzureKeyVault'
          primaryKeyURI: '${encryption!.vaultUri}keys/${encryption!.keyName}'
          primaryUserAssignedIdentityId: encryption!.identityId
        }
    highAvailability: {
      mode: standby
    }
    network: {
      publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    }
  }
}

// The server takes one change at a time: each part waits for the one before.
resource database 'Microsoft.DBforPostgreSQL/flexibleServers/databases@2025-08-01' = {
  parent: server
  name: databaseName
  properties: {
    charset: 'UTF8'
    collation: 'en_US.utf8'
  }
}

resource administrator 'Microsoft.DBforPostgreSQL/flexibleServers/administrators@2025-08-01' = {
  parent: server
  name: administrators.objectId
  properties: {
    principalName: administrators.name
    principalType: 'Group'
    tenantId: tenant().tenantId
  }
  dependsOn: [
    database
  ]
}

resource encryptedOnly 'Microsoft.DBforPostgreSQL/flexibleServers/configurations@2025-08-01' = {
  parent: server
  name: 'require_secure_transport'
  properties: {
    value: 'on'
    source: 'user-override'
  }
  dependsOn: [
    administrator
  ]
}

resource oldestTls 'Microsoft.DBforPostgreSQL/flexibleServers/configurations@2025-08-01' = {
  parent: server
  name: 'ssl_min_protocol_version'
  properties: {
    value: 'TLSv1.2'
    source: 'user-override'
  }
  dependsOn: [
    encryptedOnly
  ]
}

// Flex Consumption has no fixed addresses outside a virtual network. This rule lets in whatever runs on Azure, of any
// tenant; what it then needs is a token for a role of this server.
resource azureMayConnect 'Microsoft.DBforPostgreSQL/flexibleServers/firewallRules@2025-08-01' = if (!isPrivate) {
  parent: server
  name: 'azure'
  properties: {
    startIpAddress: '0.0.0.0'
    endIpAddress: '0.0.0.0'
  }
  dependsOn: [
    oldestTls
  ]
}

// No right of anybody is assigned on the server or below: a lock forbids to delete role assignments too, and would make
// one irrevocable. https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources
resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (isLocked) {
  scope: server
  name: 'keep-the-ledger'
  properties: {
    level: 'CanNotDelete'
    notes: 'Holds the proof of every consent. docs/deploy.md#remove says how to lift this.'
  }
  dependsOn: [
    oldestTls
    azureMayConnect
  ]
}

@description('Host name of the server.')
output hostName string = server.properties.fullyQualifiedDomainName
