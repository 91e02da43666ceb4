metadata name = 'Monitoring'
metadata description = 'The workspace and Application Insights. Both take telemetry with Entra ID only.'

param location string
param tags object
param workspaceName string
param applicationInsightsName string

@description('Resource id of a workspace that exists. Empty: one is made.')
param workspaceId string

@description('How long what is logged is kept, in days. Of a workspace that is made here.')
param retentionDays int

@description('Most that is taken in on a day, in GB; then nothing more until the next. Of a workspace that is made here.')
param dailyCapGB int

@description('Whether the workspace may not be deleted.')
param isLocked bool

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = if (empty(workspaceId)) {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    workspaceCapping: {
      dailyQuotaGb: dailyCapGB
    }
    features: {
      disableLocalAuth: true
      enableLogAccessUsingOnlyResourcePermissions: true
    }
  }
}

var usedWorkspaceId = empty(workspaceId) ? workspace.id : workspaceId

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = {
  name: applicationInsightsName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    DisableLocalAuth: true
    WorkspaceResourceId: usedWorkspaceId
  }
}

// On the workspace and not on Application Insights: that one carries role assignments, which a lock makes irrevocable.
resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (isLocked && empty(workspaceId)) {
  scope: workspace
  name: 'keep-the-logs'
  properties: {
    level: 'CanNotDelete'
    notes: 'Holds who did what. docs/deploy.md#remove says how to lift this.'
  }
}

@description('Application id of Application Insights: what its query API calls it.')
output applicationId string = applicationInsights.properties.AppId
