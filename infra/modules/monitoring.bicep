metadata name = 'Monitoring'
metadata description = 'The workspace and Application Insights. Both take telemetry with Entra ID only.'

param location string
param tags object
param workspaceName string
param applicationInsightsName string

@description('Whether the workspace may not be deleted.')
param isLocked bool

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: 90 // as long as a dead letter lives (queues.json), so that its trace can still be found
    features: {
      disableLocalAuth: true
      enableLogAccessUsingOnlyResourcePermissions: true
    }
  }
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = {
  name: applicationInsightsName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    DisableLocalAuth: true
    WorkspaceResourceId: workspace.id
  }
}

// On the workspace and not on Application Insights: that one carries role assignments, which a lock makes irrevocable.
resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (isLocked) {
  scope: workspace
  name: 'keep-the-logs'
  properties: {
    level: 'CanNotDelete'
    notes: 'Holds who did what. docs/deploy.md#remove says how to lift this.'
  }
}

@description('Application id of Application Insights: what its query API calls it.')
output applicationId string = applicationInsights.properties.AppId
