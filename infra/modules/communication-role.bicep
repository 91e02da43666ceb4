metadata name = 'Communication role'
metadata description = 'Lets the function call the one ACS resource. Deployed to the group of that resource.'

param communicationServiceName string

@description('Object id of the function\'s identity.')
param principalId string

// ACS honours built-in roles only, and this is the one that covers SMS:
// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var communicationAndEmailServiceOwner = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '09976791-48a7-449e-bb21-39d1a415f350'
)

resource acs 'Microsoft.Communication/communicationServices@2025-09-01' existing = {
  name: communicationServiceName
}

// Named after the object id: this assignment outlives the group of the identity, and one for an identity made anew
// under the same name must not collide with it.
resource functionCallsAcs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(acs.id, principalId, communicationAndEmailServiceOwner)
  scope: acs
  properties: {
    description: 'The function removes numbers from the SMS opt-out list.'
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: communicationAndEmailServiceOwner
  }
}
