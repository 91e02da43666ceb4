metadata name = 'Roles'
metadata description = 'What people and other systems may do: every right is given on one queue or one resource. Their ids are known before the deployment, so what-if shows each of them.'

param namespaceName string
param applicationInsightsName string

@description('Object id of the operators\' group. Empty: none.')
param operatorsGroupId string

param publisherIds string[]

@description('Object id of the identity of the smoke test. Empty: none.')
param smokeTesterId string

var queues = loadJsonContent('../queues.json')

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var roles = {
  serviceBusDataReceiver: '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'
  serviceBusDataSender: '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'
  monitoringReader: '43d0d8ad-25c7-4714-9337-8ba259a9fe05'
}

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: namespaceName

  resource optIns 'queues' existing = {
    name: queues.optIns.name
  }

  resource deadLetters 'queues' existing = {
    name: queues.deadLetters.name
  }

  resource endingDeadLetters 'queues' existing = {
    name: queues.endingDeadLetters.name
  }
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
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

resource operatorsReadEndingDeadLetters 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorsGroupId)) {
  name: guid(namespace::endingDeadLetters.id, operatorsGroupId, roles.serviceBusDataReceiver)
  scope: namespace::endingDeadLetters
  properties: {
    description: 'Operators read and complete dead letters in their last days.'
    principalId: operatorsGroupId
    principalType: 'Group'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataReceiver)
  }
}

// The smoke test publishes as well. No principalType: a publisher may be a managed identity, a service principal or, in a test environment, a person.
resource publishersSendOptIns 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for publisherId in union(publisherIds, empty(smokeTesterId) ? [] : [smokeTesterId]): {
    name: guid(namespace::optIns.id, publisherId, roles.serviceBusDataSender)
    scope: namespace::optIns
    properties: {
      description: 'Publishes opt-in events.'
      principalId: publisherId
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
    }
  }
]

resource smokeTesterReadsTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(smokeTesterId)) {
  name: guid(applicationInsights.id, smokeTesterId, roles.monitoringReader)
  scope: applicationInsights
  properties: {
    description: 'The smoke test looks for the log lines of its own event.'
    principalId: smokeTesterId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.monitoringReader)
  }
}
