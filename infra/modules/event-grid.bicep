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
