metadata name = 'Messaging'
metadata description = 'The Service Bus namespace and its three queues, with the properties of ../queues.json: the sandbox reads the same file.'

import { customerKey } from 'types.bicep'

param location string
param tags object
param namespaceName string

@allowed(['Standard', 'Premium'])
param sku string

@description('Most that one queue holds, in MB; more than 5,120 on Premium only.')
param queueSizeMB int

@description('Capacity of a Premium namespace.')
param messagingUnits int

@description('Whether only private endpoints reach the namespace. Premium only.')
param isPrivate bool

@description('Whether the namespace outlives a zone. Fixed when the namespace is made.')
param zoneRedundant bool

@description('The key that encrypts what the queues hold. Premium only.')
param encryption customerKey?

@description('Resource id of the workspace that counts and audit go to.')
param workspaceId string

var queues = loadJsonContent('../queues.json')

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: namespaceName
  location: location
  tags: tags
  sku: {
    name: sku
    tier: sku
    capacity: sku == 'Premium' ? messagingUnits : null
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
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    zoneRedundant: zoneRedundant
    encryption: encryption == null
      ? null
      : {
          keySource: 'Microsoft.KeyVault'
          keyVaultProperties: [
            {
              keyVaultUri: encryption!.vaultUri
              keyName: encryption!.keyName
              identity: {
                userAssignedIdentity: encryption!.identityId
              }
            }
          ]
        }
  }
}

// Event Grid has no private endpoint into our network; as a trusted service with an identity it may still deliver.
resource networkRules 'Microsoft.ServiceBus/namespaces/networkRuleSets@2024-01-01' = if (isPrivate) {
  parent: namespace
  name: 'default'
  properties: {
    publicNetworkAccess: 'Disabled'
    defaultAction: 'Deny'
    trustedServiceAccessEnabled: true
  }
}

// Counts, so that a query can hold what the broker completed against what the function has seen. And who changed a queue;
// on Premium also who received and sent, which is what Azure does not tell of Standard.
// https://learn.microsoft.com/azure/service-bus-messaging/monitor-service-bus-reference
resource countsAndAudit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: namespace
  name: 'counts-and-audit'
  properties: {
    workspaceId: workspaceId
    logAnalyticsDestinationType: 'Dedicated'
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
  }
}

// Where a dead letter spends its last days: an alert says so, and then the broker ends it. Letters that expire in their
// own queue would go to its built-in dead-letter queue, where nothing ever ends.
// https://learn.microsoft.com/azure/service-bus-messaging/service-bus-dead-letter-queues
resource endingDeadLetters 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: namespace
  name: queues.endingDeadLetters.name
  properties: union(queues.endingDeadLetters.properties, { maxSizeInMegabytes: queueSizeMB })
}

resource deadLetters 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: namespace
  name: queues.deadLetters.name
  properties: union(queues.deadLetters.properties, { maxSizeInMegabytes: queueSizeMB })
  dependsOn: [
    endingDeadLetters // forwardDeadLetteredMessagesTo names it
  ]
}

resource optIns 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: namespace
  name: queues.optIns.name
  properties: union(queues.optIns.properties, { maxSizeInMegabytes: queueSizeMB })
  dependsOn: [
    deadLetters // forwardDeadLetteredMessagesTo names it
  ]
}

@description('Host name of the namespace.')
output hostName string = split(replace(namespace.properties.serviceBusEndpoint, 'https://', ''), ':')[0]
