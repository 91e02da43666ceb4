metadata name = 'Event Grid'
metadata description = 'Texts that ACS receives, into the opt-in queue. Deployed to the group of the ACS resource: a system topic lives beside its source.'

param tags object
param topicName string
param communicationServiceName string
param identityName string
param namespaceName string

@description('The resource group of the identity and the namespace.')
param messagingGroup {
  subscriptionId: string
  name: string
}

param nameSuffix string

@description('Address of docs/runbook.md: each description ends in a link to the section of its alert.')
param runbookUrl string

@description('Action group in the group of the namespace that writes the mails.')
param mailActionGroupName string

@description('Action group that hears of severity 1 beside the mail. Empty: none.')
param pagerActionGroupId string

// An alert lies beside what it watches.
var alerts = [
  {
    name: 'texts-dropped'
    severity: 1
    description: 'Event Grid gave up on a text that ACS received: a START or STOP of a person is gone.'
    metric: 'DroppedEventCount'
    threshold: 0
  }
  {
    name: 'texts-delayed'
    severity: 2
    description: 'Event Grid failed to deliver texts more than 10 times in 15 minutes; after 24 hours it drops them.'
    metric: 'DeliveryAttemptFailCount'
    threshold: 10
  }
]
var queues = loadJsonContent('../queues.json')

resource acs 'Microsoft.Communication/communicationServices@2025-09-01' existing = {
  name: communicationServiceName
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
  scope: resourceGroup(messagingGroup.subscriptionId, messagingGroup.name)
}

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: namespaceName
  scope: resourceGroup(messagingGroup.subscriptionId, messagingGroup.name)

  resource optIns 'queues' existing = {
    name: queues.optIns.name
  }
}

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: topicName
  location: 'global'
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    source: acs.id
    topicType: 'Microsoft.Communication.CommunicationServices'
  }
}

resource texts 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: topic
  name: 'texts-to-opt-ins'
  properties: {
    deliveryWithResourceIdentity: {
      identity: {
        type: 'UserAssigned'
        userAssignedIdentity: identity.id
      }
      destination: {
        endpointType: 'ServiceBusQueue'
        properties: {
          resourceId: namespace::optIns.id
        }
      }
    }
    eventDeliverySchema: 'CloudEventSchemaV1_0'
    filter: {
      includedEventTypes: [
        'Microsoft.Communication.SMSReceived'
      ]
      // A keyword fits into one segment. NumberNotIn, because an event without the count passes it and would fail
      // NumberLessThan: a text too many is ignored by the code, a START too few is lost.
      advancedFilters: [
        {
          operatorType: 'NumberNotIn'
          key: 'data.segmentCount'
          values: range(2, 20)
        }
      ]
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440 // the most Event Grid offers
    }
  }
}

resource mail 'Microsoft.Insights/actionGroups@2023-01-01' existing = {
  name: mailActionGroupName
  scope: resourceGroup(messagingGroup.subscriptionId, messagingGroup.name)
}

var quiet = [mail.id]
var loud = empty(pagerActionGroupId) ? quiet : concat(quiet, [pagerActionGroupId])

resource alertRules 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for alert in alerts: {
    name: '${alert.name}-${nameSuffix}'
    location: 'global'
    tags: tags
    properties: {
      description: '${alert.description} ${runbookUrl}#${alert.name}'
      severity: alert.severity
      enabled: true
      autoMitigate: true
      scopes: [
        topic.id
      ]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            criterionType: 'StaticThresholdCriterion'
            name: 'events'
            metricNamespace: 'Microsoft.EventGrid/systemTopics'
            metricName: alert.metric
            timeAggregation: 'Total'
            operator: 'GreaterThan'
            threshold: alert.threshold
          }
        ]
      }
      actions: map(alert.severity == 1 ? loud : quiet, group => { actionGroupId: group })
    }
  }
]
