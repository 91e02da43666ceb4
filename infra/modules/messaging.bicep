metadata name = 'Messaging'
metadata description = 'The Service Bus namespace and its two queues, with the properties of ../queues.json: the sandbox reads the same file.'

param location string
param tags object
param namespaceName string

@allowed(['Standard', 'Premium'])
param sku string

@description('Most that one queue holds, in MB; more than 5,120 on Premium only.')
param queueSizeMB int

@description('Capacity of a Premium namespace.')
param messagingUnits int

@description('Whether only private endpoints reach the namespace. Premium only.')
param isPrivate bool

var queues = loadJsonContent('../queues.json')

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: namespaceName
  location: location
  tags: tags
  sku: {
    name: sku
    tier: sku
    capacity: sku == 'Premium' ? messagingUnits : null
  }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
  }
}

// Event Grid has no private endpoint into our network; as a trusted service with an identity it may still deliver.
resource networkRules 'Microsoft.ServiceBus/namespaces/networkRuleSets@2024-01-01' = if (isPrivate) {
  parent: namespace
  name: 'default'
  properties: {
    publicNetworkAccess: 'Disabled'
    defaultAction: 'Deny'
    trustedServiceAccessEnabled: true
  }
}

resource deadLetters 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: namespace
  name: queues.deadLetters.name
  properties: union(queues.deadLetters.properties, { maxSizeInMegabytes: queueSizeMB })
}

resource optIns 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: namespace
  name: queues.optIns.name
  properties: union(queues.optIns.properties, { maxSizeInMegabytes: queueSizeMB })
  dependsOn: [
    deadLetters // forwardDeadLetteredMessagesTo names it
  ]
}

@description('Host name of the namespace.')
output hostName string = split(replace(namespace.properties.serviceBusEndpoint, 'https://', ''), ':')[0]
