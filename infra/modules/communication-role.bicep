metadata name = 'Communication role'
metadata description = 'Lets the function call the one ACS resource. Deployed to the group of that resource.'

param communicationServiceName string

@description('Object id of the function\'s identity.')
param principalId string

@description('Id of the role definition, without its path. Empty: the built-in role.')
param roleId string

// The built-in role that covers SMS. No page ties a role to the opt-out list; whether a smaller one will do has to be
// tried: docs/first-deployment.md. https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var communicationAndEmailServiceOwner = '09976791-48a7-449e-bb21-39d1a415f350'

var role = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  empty(roleId) ? communicationAndEmailServiceOwner : roleId
)

resource acs 'Microsoft.Communication/communicationServices@2025-09-01' existing = {
  name: communicationServiceName
}

// Named after the object id: this assignment outlives the group of the identity, and one for an identity made anew
// under the same name must not collide with it.
resource functionCallsAcs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(acs.id, principalId, role)
  scope: acs
  properties: {
    description: 'The function removes numbers from the SMS opt-out list.'
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: role
  }
}
