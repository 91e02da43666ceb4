metadata name = 'Role of Event Grid'
metadata description = 'Lets Event Grid deliver texts to the opt-in queue. Named after the object id of its identity, as in function-roles.bicep.'

@description('Object id of the identity that Event Grid delivers texts with.')
param principalId string

param namespaceName string

var queues = loadJsonContent('../queues.json')

// Azure Service Bus Data Sender: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var sender = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: namespaceName

  resource optIns 'queues' existing = {
    name: queues.optIns.name
  }
}

resource eventGridSendsOptIns 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(namespace::optIns.id, principalId, sender)
  scope: namespace::optIns
  properties: {
    description: 'Event Grid delivers the texts that ACS received.'
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: sender
  }
}
