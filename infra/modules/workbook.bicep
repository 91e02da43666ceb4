metadata name = 'Workbook'
metadata description = 'One page for a person: events in, outcomes, reasons, latency, age, depth of both queues.'

param location string
param tags object
param displayName string
param namespaceName string
param applicationInsightsName string

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: namespaceName
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(applicationInsights.id, 'sms-opt-in')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: displayName
    category: 'workbook'
    sourceId: applicationInsights.id
    version: 'Notebook/1.0'
    serializedData: replace(
      replace(loadTextContent('../workbook.json'), '__APPLICATION_INSIGHTS_ID__', applicationInsights.id),
      '__NAMESPACE_ID__',
      namespace.id
    )
  }
}
