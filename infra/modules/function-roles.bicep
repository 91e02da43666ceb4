metadata name = 'Roles of the function'
metadata description = 'What the function may do: every right is given on one queue or one resource.'

@description('Object id of the function\'s identity.')
param principalId string

param namespaceName string
param storageName string
param applicationInsightsName string

var queues = loadJsonContent('../queues.json')

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var roles = {
  serviceBusDataOwner: '090c5cfd-751d-490a-894a-3ce6f1109419'
  serviceBusDataSender: '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'
  storageBlobDataOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  storageTableDataContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
  monitoringMetricsPublisher: '3913510d-42f4-4e42-8a64-420c390055eb'
}

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: namespaceName

  resource optIns 'queues' existing = {
    name: queues.optIns.name
  }

  resource deadLetters 'queues' existing = {
    name: queues.deadLetters.name
  }
}

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

// Named after the object id: an identity that was made anew under its old name gets assignments of its own, where the old
// ones could not be changed (RoleAssignmentUpdateNotPermitted). An object id is known at deployment only, so what-if
// cannot look into this module: whose names are known beforehand is in roles.bicep.
resource functionOwnsOptIns 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(namespace::optIns.id, principalId, roles.serviceBusDataOwner)
  scope: namespace::optIns
  properties: {
    description: 'The function receives opt-ins, sends retries, and reads the length of the queue to scale: that takes Manage, which of the built-in roles only Owner has.'
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataOwner)
  }
}

resource functionSendsDeadLetters 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(namespace::deadLetters.id, principalId, roles.serviceBusDataSender)
  scope: namespace::deadLetters
  properties: {
    description: 'The function sends recipients that failed to the dead-letter queue.'
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
  }
}

resource functionOwnsBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, principalId, roles.storageBlobDataOwner)
  scope: storage
  properties: {
    description: 'The function host keeps its leases in containers it makes itself, and loads its package.'
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataOwner)
  }
}

resource functionWritesTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, principalId, roles.storageTableDataContributor)
  scope: storage
  properties: {
    description: 'The function host writes its diagnostic events to a table of its storage account.'
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageTableDataContributor
    )
  }
}

resource functionPublishesTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(applicationInsights.id, principalId, roles.monitoringMetricsPublisher)
  scope: applicationInsights
  properties: {
    description: 'The function sends metrics, traces and logs; Application Insights takes no key.'
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.monitoringMetricsPublisher
    )
  }
}
