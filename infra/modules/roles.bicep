metadata name = 'Roles'
metadata description = 'Who may do what: every right is given on one queue or one resource.'

param identityName string

@description('Identity that Event Grid delivers texts with. Empty: none.')
param eventGridIdentityName string

param namespaceName string
param storageName string
param applicationInsightsName string

@description('Object id of the operators\' group. Empty: none.')
param operatorsGroupId string

param publisherIds string[]

var queues = loadJsonContent('../queues.json')

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var roles = {
  serviceBusDataOwner: '090c5cfd-751d-490a-894a-3ce6f1109419'
  serviceBusDataReceiver: '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'
  serviceBusDataSender: '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'
  storageBlobDataOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  storageTableDataContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
  monitoringMetricsPublisher: '3913510d-42f4-4e42-8a64-420c390055eb'
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource eventGridIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = if (!empty(eventGridIdentityName)) {
  name: eventGridIdentityName
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

resource functionOwnsOptIns 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(namespace::optIns.id, identity.id, roles.serviceBusDataOwner)
  scope: namespace::optIns
  properties: {
    description: 'The function receives opt-ins, sends retries, and reads the length of the queue to scale: that takes Manage, which of the built-in roles only Owner has.'
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataOwner)
  }
}

resource functionSendsDeadLetters 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(namespace::deadLetters.id, identity.id, roles.serviceBusDataSender)
  scope: namespace::deadLetters
  properties: {
    description: 'The function sends recipients that failed to the dead-letter queue.'
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
  }
}

resource functionOwnsBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, identity.id, roles.storageBlobDataOwner)
  scope: storage
  properties: {
    description: 'The function host keeps its leases in containers it makes itself, and loads its package.'
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataOwner)
  }
}

resource functionWritesTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, identity.id, roles.storageTableDataContributor)
  scope: storage
  properties: {
    description: 'The function host writes its diagnostic events to a table of its storage account.'
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageTableDataContributor
    )
  }
}

resource functionPublishesTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(applicationInsights.id, identity.id, roles.monitoringMetricsPublisher)
  scope: applicationInsights
  properties: {
    description: 'The function sends metrics, traces and logs; Application Insights takes no key.'
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.monitoringMetricsPublisher
    )
  }
}

resource operatorsUseOptIns 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in [roles.serviceBusDataReceiver, roles.serviceBusDataSender]: if (!empty(operatorsGroupId)) {
    name: guid(namespace::optIns.id, operatorsGroupId, role)
    scope: namespace::optIns
    properties: {
      description: 'Operators look at opt-ins and replay dead letters.'
      principalId: operatorsGroupId
      principalType: 'Group'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    }
  }
]

resource operatorsUseDeadLetters 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in [roles.serviceBusDataReceiver, roles.serviceBusDataSender]: if (!empty(operatorsGroupId)) {
    name: guid(namespace::deadLetters.id, operatorsGroupId, role)
    scope: namespace::deadLetters
    properties: {
      description: 'Operators read, complete and import dead letters.'
      principalId: operatorsGroupId
      principalType: 'Group'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    }
  }
]

// No principalType: a publisher may be a managed identity, a service principal or, in a test environment, a person.
resource publishersSendOptIns 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for publisherId in publisherIds: {
    name: guid(namespace::optIns.id, publisherId, roles.serviceBusDataSender)
    scope: namespace::optIns
    properties: {
      description: 'Publishes opt-in events.'
      principalId: publisherId
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
    }
  }
]

resource eventGridSendsOptIns 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(eventGridIdentityName)) {
  name: guid(namespace::optIns.id, eventGridIdentityName, roles.serviceBusDataSender)
  scope: namespace::optIns
  properties: {
    description: 'Event Grid delivers the texts that ACS received.'
    principalId: eventGridIdentity!.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
  }
}
