metadata name = 'Log of the ACS resource'
metadata description = 'Who used the opt-out list of ACS, and when. Deployed to the group of that resource.'

param communicationServiceName string

@description('Resource id of the workspace that it goes to.')
param workspaceId string

@description('Name of the setting: a resource takes five, each under a name of its own.')
param name string

resource acs 'Microsoft.Communication/communicationServices@2025-09-01' existing = {
  name: communicationServiceName
}

// The table is ACSOptOutManagementOperations. No page says under which category it comes, so everything is asked for:
// docs/first-deployment.md. https://learn.microsoft.com/azure/azure-monitor/reference/tables/acsoptoutmanagementoperations
resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: acs
  name: name
  properties: {
    workspaceId: workspaceId
    logAnalyticsDestinationType: 'Dedicated'
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
  }
}
