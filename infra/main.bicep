targetScope = 'resourceGroup'

metadata name = 'SMS opt-in'
metadata description = 'Removes people who opted in again from the Azure Communication Services SMS opt-out list, event by event.'

import { isObjectId, otherCharacters } from 'modules/input.bicep'
import { customerKey, dnsZones, processorSettings, subnets } from 'modules/types.bicep'

@description('Region of everything that has one. It must offer Flex Consumption.')
param location string = resourceGroup().location

@description('Short name of this environment, such as dev or prod: lower-case letters, digits and hyphens. It is part of every name.')
@minLength(2)
@maxLength(20)
param environmentName string

@description('Resource id of the ACS resource whose opt-out list is kept. It may live in another group or subscription.')
param communicationServiceId string

@description('Who gets mail when an alert fires. At least one.')
@minLength(1)
param alertEmailAddresses string[]

@description('Resource id of an action group that exists, such as the one of a pager: it hears of severity 1 beside the mail. Its secret stays where it is. Empty: mail only.')
param pagerActionGroupId string = ''

@description('Address of docs/runbook.md for who gets an alert.')
param runbookUrl string = 'docs/runbook.md'

@description('Object id of the Entra group that may read and send on both queues. Empty: nobody but the function may.')
param operatorsGroupId string = ''

@description('Object ids of the identities that publish events: they may send to the opt-in queue and nothing else.')
param publisherIds string[] = []

@description('Object id of the identity that runs the smoke test: it may send to the opt-in queue and read telemetry. Empty: nobody.')
param smokeTesterId string = ''

@description('Role of the function on the ACS resource, as the id of its definition. Empty: the built-in one that covers SMS, which is an owner\'s; docs/first-deployment.md says how to try a smaller one.')
param communicationRoleId string = ''

@description('Forbids to delete what holds evidence: the ledger and the workspace, which carry no right that somebody might have to take away. Who deploys needs Locks Contributor as well.')
param deleteLock bool = false

@description('The only senders (our numbers) the processor acts for. Empty: all.')
param allowedSenders string[] = []

@description('Standard is enough for most. Premium adds isolation, larger messages and private endpoints; docs/deploy.md says how to move.')
@allowed(['Standard', 'Premium'])
param serviceBusSku string = 'Standard'

@description('Most that one queue holds, in MB: how long an outage of ACS may last at your rate follows from it, docs/deploy.md. More than 5120 needs Premium. Standard could hold more in partitions, but those number their messages each for themselves, and what pages by number (optout) would miss some.')
@allowed([1024, 2048, 3072, 4096, 5120, 10240, 20480, 40960, 81920])
param queueSizeMB int = 5120

@description('Messaging units of a Premium namespace.')
@allowed([1, 2, 4, 8, 16])
param messagingUnits int = 1

@description('Memory of one instance. CPU comes in proportion: 512 MB serves a test environment, 2048 MB the 16 requests one instance keeps in flight.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Most instances at once. This is the throttle: calls to ACS in flight = instances x MAX_CONCURRENT_REQUESTS (16), so 10 instances are at most 160. Raise it only as far as ACS answers without 429.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 10

@description('Instances that never go to sleep, and are paid for around the clock. 0 is right while a cold start of some seconds does not matter: an opt-in is minutes old at best when it is published.')
@minValue(0)
@maxValue(20)
param alwaysReadyInstanceCount int = 0

@description('Puts the function into a virtual network, reaches storage and Service Bus through private endpoints only, and gives it one outbound address. Needs Premium.')
param privateNetworking bool = false

@description('Address space of that network, /23 or larger.')
param virtualNetworkAddressPrefix string = '10.60.0.0/23'

@description('Subnets of a network that exists, in place of one that is made. Goes with privateNetworking.')
param existingSubnets subnets?

@description('Private DNS zones that exist and are linked to your network; what is left out is made. Goes with privateNetworking.')
param existingDnsZones dnsZones = {}

@description('Everything outlives a zone that fails: storage, function, and the namespace where its region does not do so by itself. Flex Consumption then keeps two always-ready instances at least, and bills them. The region must offer zones; the ledger has ledgerStandby.')
param zoneRedundant bool = false

@description('A key of yours that encrypts what queues, storage and ledger hold. Needs Premium.')
param encryption customerKey?

@description('Resource id of a Log Analytics workspace that exists. Empty: one is made. How long it keeps what, and how much it takes, is then up to it.')
param workspaceId string = ''

@description('How long what is logged is kept, in days: by default as long as a dead letter.')
@allowed([30, 31, 60, 90, 120, 180, 270, 365, 550, 730])
param logRetentionDays int = 90

@description('Most that is logged on a day, in GB; then nothing more until the next day, and an alert says so. docs/metrics.md has what to expect.')
@minValue(1)
param logDailyCapGB int = 5

@description('Logs who uses the ACS resource, its opt-out list among the rest. Also what others do with it.')
param logCommunicationService bool = true

@description('Takes START and STOP texts from ACS itself, through Event Grid. ACS must not have a system topic yet: there can be only one.')
param receiveTexts bool = false

@description('Keeps the newest word of each person in a PostgreSQL server, so that an older opt-in never undoes a STOP. Without it that holds within one invocation only.')
param consentLedger bool = false

@description('Object id of the Entra group that administers the ledger. Who deploys must be a member: it makes the role of the function.')
param ledgerAdministratorsId string = ''

@description('Name of that group: its members sign in to the ledger under it.')
param ledgerAdministratorsName string = ''

@description('Compute of the ledger. Standard_B1ms serves a test environment; a Burstable size takes no standby.')
param ledgerComputeSize string = 'Standard_B1ms'

@description('Storage of the ledger in GB, which grows by itself and never shrinks.')
@minValue(32)
param ledgerStorageGB int = 32

@description('A standby of the ledger that takes over within minutes, and doubles its price. While the ledger is down opt-ins wait and nothing is lost.')
@allowed(['Disabled', 'SameZone', 'ZoneRedundant'])
param ledgerStandby string = 'Disabled'

@description('Keeps the backups of the ledger in the paired region as well. It cannot be changed afterwards.')
param ledgerGeoRedundantBackup bool = false

@description('Settings of the processor that differ from their defaults.')
param processorSettingOverrides processorSettings = {}

@description('Tags of every resource, beside those that azd needs.')
param tags object = {}

// What was given, read once: blanks go, ids are in lower case, and what Azure would refuse late is refused now.
var oddCharacters = otherCharacters(environmentName, 'abcdefghijklmnopqrstuvwxyz0123456789-')
var checkedName = empty(oddCharacters)
  ? environmentName
  : fail('environmentName takes lower-case letters, digits and hyphens, not "${join(oddCharacters, '')}".')
var addresses = filter(map(alertEmailAddresses, address => trim(address)), address => !empty(address))
var checkedAddresses = empty(addresses) || !empty(filter(addresses, address => !contains(address, '@')))
  ? fail('alertEmailAddresses takes at least one mail address, and nothing else: otherwise nobody hears of an alert.')
  : addresses
var checkedPager = empty(trim(pagerActionGroupId)) || contains(
    toLower(pagerActionGroupId),
    '/providers/microsoft.insights/actiongroups/'
  )
  ? trim(pagerActionGroupId)
  : fail('pagerActionGroupId is "${pagerActionGroupId}", and that is not the id of an action group.')
var operators = toLower(trim(operatorsGroupId))
var checkedOperators = empty(operators) && empty(operatorsGroupId) || isObjectId(operators)
  ? operators
  : fail('operatorsGroupId is "${operatorsGroupId}", and that is no object id. Leave it out to name no operators.')
// Two assignments of one name are no valid template, however the id came into the list twice.
var publishers = filter(union([], map(publisherIds, id => toLower(trim(id)))), id => !empty(id))
var noObjectIds = filter(publishers, id => !isObjectId(id))
var checkedPublishers = !empty(noObjectIds)
  ? fail('publisherIds holds "${join(noObjectIds, '", "')}", and that is no object id.')
  : contains(publishers, operators)
      ? fail('publisherIds holds the operators\' group, which may publish already: take it out.')
      : publishers
var smokeTester = toLower(trim(smokeTesterId))
var checkedSmokeTester = !empty(smokeTesterId) && !isObjectId(smokeTester)
  ? fail('smokeTesterId is "${smokeTesterId}", and that is no object id.')
  : !empty(smokeTester) && smokeTester == operators
      ? fail('smokeTesterId is the operators\' group: the smoke test needs less than an operator may.')
      : smokeTester
var senders = filter(map(allowedSenders, sender => trim(sender)), sender => !empty(sender))
var checkedSenders = !empty(allowedSenders) && empty(senders)
  ? fail('allowedSenders holds no number. An empty list means all senders; one that was meant to hold some does not.')
  : !empty(filter(senders, sender => contains(sender, ',')))
      ? fail('allowedSenders is a list: one sender in each place, and no commas.')
      : senders
var idParts = split(trim(communicationServiceId), '/')
var isCommunicationService = length(idParts) == 9 && length(idParts[2]) == 36 && toLower('${idParts[6]}/${idParts[7]}') == 'microsoft.communication/communicationservices' && !empty(idParts[4]) && !empty(idParts[8])
var checkedIdParts = isCommunicationService
  ? idParts
  : fail('communicationServiceId is "${communicationServiceId}", and that is not the id of an ACS resource: /subscriptions/…/resourceGroups/…/providers/Microsoft.Communication/communicationServices/NAME.')
var checkedTags = contains(tags, 'azd-env-name') || contains(tags, 'application')
  ? fail('tags holds azd-env-name or application, which the deployment sets itself: azd finds its resources by them.')
  : tags
var checkedReadyCount = alwaysReadyInstanceCount > maximumInstanceCount
  ? fail('alwaysReadyInstanceCount (${alwaysReadyInstanceCount}) is above maximumInstanceCount (${maximumInstanceCount}): what is always there is more than there may be at most.')
  : alwaysReadyInstanceCount

// Every name is computed here and not taken from a module's output: so what-if can look inside the modules.
var suffix = uniqueString(resourceGroup().id, environmentName)
var names = {
  actionGroup: 'ag-optin-${checkedName}-${suffix}'
  applicationInsights: 'appi-optin-${checkedName}-${suffix}'
  eventGridIdentity: 'id-optin-texts-${checkedName}-${suffix}'
  functionApp: 'func-optin-${checkedName}-${suffix}'
  identity: 'id-optin-${checkedName}-${suffix}'
  ledger: 'psql-optin-${checkedName}-${suffix}'
  namespace: 'sb-optin-${checkedName}-${suffix}'
  plan: 'asp-optin-${checkedName}-${suffix}'
  storage: 'stoptin${suffix}'
  virtualNetwork: 'vnet-optin-${checkedName}-${suffix}'
  workspace: 'log-optin-${checkedName}-${suffix}'
}
var packageContainer = 'packages'
var ledgerDatabase = 'consent'
var allTags = union(checkedTags, { application: 'sms-opt-in', 'azd-env-name': environmentName })
var communicationService = {
  subscriptionId: checkedIdParts[2]
  resourceGroup: checkedIdParts[4]
  name: checkedIdParts[8]
}
var ownGroup = {
  subscriptionId: subscription().subscriptionId
  name: resourceGroup().name
}
// Service Bus has private endpoints on Premium only; half a private network would be a false promise.
var effectiveSku = privateNetworking && serviceBusSku != 'Premium'
  ? fail('privateNetworking needs serviceBusSku Premium: Standard has no private endpoints.')
  : serviceBusSku

// Nobody could make the role of the function on a server without an administrator.
var ledgerAdministrators = {
  objectId: toLower(trim(ledgerAdministratorsId))
  name: trim(ledgerAdministratorsName)
}
var checkedAdministrators = consentLedger && (!isObjectId(ledgerAdministrators.objectId) || empty(ledgerAdministrators.name))
  ? fail('consentLedger needs ledgerAdministratorsId and ledgerAdministratorsName: the Entra group that administers it.')
  : ledgerAdministrators
var effectiveStandby = ledgerStandby != 'Disabled' && startsWith(ledgerComputeSize, 'Standard_B')
  ? fail('ledgerStandby needs a ledgerComputeSize that is not Burstable, such as Standard_D2ds_v5.')
  : ledgerStandby

// Service Bus takes a key of yours on Premium only; half of what holds numbers would be encrypted with it.
var checkedEncryption = encryption != null && effectiveSku != 'Premium'
  ? fail('encryption needs serviceBusSku Premium: Standard takes no key of yours.')
  : encryption
var checkedSubnets = existingSubnets != null && !privateNetworking
  ? fail('existingSubnets goes with privateNetworking, which is off: the function would join none of them.')
  : existingSubnets
var functionSubnetId = privateNetworking
  ? checkedSubnets.?function ?? resourceId(
      'Microsoft.Network/virtualNetworks/subnets',
      names.virtualNetwork,
      'function'
    )
  : ''
var checkedWorkspaceId = empty(trim(workspaceId)) || contains(
    toLower(workspaceId),
    '/providers/microsoft.operationalinsights/workspaces/'
  )
  ? trim(workspaceId)
  : fail('workspaceId is "${workspaceId}", and that is not the id of a Log Analytics workspace.')
var usedWorkspaceId = empty(checkedWorkspaceId)
  ? resourceId('Microsoft.OperationalInsights/workspaces', names.workspace)
  : checkedWorkspaceId

var effectiveQueueSize = queueSizeMB > 5120 && effectiveSku != 'Premium'
  ? fail('queueSizeMB above 5120 needs serviceBusSku Premium.')
  : queueSizeMB

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: names.identity
  location: location
  tags: allTags
}

resource eventGridIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = if (receiveTexts) {
  name: names.eventGridIdentity
  location: location
  tags: allTags
}

module messaging 'modules/messaging.bicep' = {
  params: {
    location: location
    tags: allTags
    namespaceName: names.namespace
    sku: effectiveSku
    queueSizeMB: effectiveQueueSize
    messagingUnits: messagingUnits
    isPrivate: privateNetworking
    zoneRedundant: zoneRedundant
    encryption: checkedEncryption
    workspaceId: usedWorkspaceId
  }
  dependsOn: [
    monitoring
  ]
}

module storage 'modules/storage.bicep' = {
  params: {
    location: location
    tags: allTags
    name: names.storage
    packageContainer: packageContainer
    isPrivate: privateNetworking
    zoneRedundant: zoneRedundant
    encryption: checkedEncryption
  }
}

module ledger 'modules/ledger.bicep' = if (consentLedger) {
  params: {
    location: location
    tags: allTags
    name: names.ledger
    databaseName: ledgerDatabase
    administrators: checkedAdministrators
    computeSize: ledgerComputeSize
    storageSizeGB: ledgerStorageGB
    standby: effectiveStandby
    geoRedundantBackup: ledgerGeoRedundantBackup
    isPrivate: privateNetworking
    encryption: checkedEncryption
    isLocked: deleteLock
  }
}

module monitoring 'modules/monitoring.bicep' = {
  params: {
    location: location
    tags: allTags
    workspaceName: names.workspace
    workspaceId: checkedWorkspaceId
    applicationInsightsName: names.applicationInsights
    retentionDays: logRetentionDays
    dailyCapGB: logDailyCapGB
    isLocked: deleteLock
  }
}

module alerts 'modules/alerts.bicep' = {
  params: {
    location: location
    tags: allTags
    nameSuffix: '${checkedName}-${suffix}'
    namespaceName: names.namespace
    applicationInsightsName: names.applicationInsights
    workspaceId: usedWorkspaceId
    hasLedger: consentLedger
    ledgerName: names.ledger
    queueSizeMB: queueSizeMB
    actionGroupName: names.actionGroup
    emailAddresses: checkedAddresses
    pagerActionGroupId: checkedPager
    runbookUrl: runbookUrl
    maximumInstanceCount: maximumInstanceCount
  }
  dependsOn: [
    ledger
    messaging
    monitoring
  ]
}

module workbook 'modules/workbook.bicep' = {
  params: {
    location: location
    tags: allTags
    displayName: 'SMS opt-in (${environmentName})'
    namespaceName: names.namespace
    applicationInsightsName: names.applicationInsights
  }
  dependsOn: [
    messaging
    monitoring
  ]
}

module roles 'modules/roles.bicep' = {
  params: {
    namespaceName: names.namespace
    applicationInsightsName: names.applicationInsights
    operatorsGroupId: checkedOperators
    publisherIds: checkedPublishers
    smokeTesterId: checkedSmokeTester
  }
  dependsOn: [
    messaging
    monitoring
  ]
}

module functionRoles 'modules/function-roles.bicep' = {
  params: {
    principalId: identity.properties.principalId
    namespaceName: names.namespace
    storageName: names.storage
    applicationInsightsName: names.applicationInsights
  }
  dependsOn: [
    messaging
    storage
    monitoring
  ]
}

module textsRole 'modules/texts-role.bicep' = if (receiveTexts) {
  params: {
    principalId: eventGridIdentity!.properties.principalId
    namespaceName: names.namespace
  }
  dependsOn: [
    messaging
  ]
}

module communicationRole 'modules/communication-role.bicep' = {
  scope: resourceGroup(communicationService.subscriptionId, communicationService.resourceGroup)
  params: {
    communicationServiceName: communicationService.name
    principalId: identity.properties.principalId
    roleId: communicationRoleId
  }
}

module communicationLog 'modules/communication-log.bicep' = if (logCommunicationService) {
  scope: resourceGroup(communicationService.subscriptionId, communicationService.resourceGroup)
  params: {
    communicationServiceName: communicationService.name
    workspaceId: usedWorkspaceId
    name: 'optin-${checkedName}-${suffix}'
  }
  dependsOn: [
    monitoring
  ]
}

module network 'modules/network.bicep' = if (privateNetworking) {
  params: {
    location: location
    tags: allTags
    nameSuffix: '${checkedName}-${suffix}'
    virtualNetworkName: names.virtualNetwork
    addressPrefix: virtualNetworkAddressPrefix
    existingSubnets: checkedSubnets
    existingZones: existingDnsZones
    namespaceName: names.namespace
    namespaceHostName: messaging.outputs.hostName
    storageName: names.storage
    hasLedger: consentLedger
    ledgerName: names.ledger
    ledgerHostName: consentLedger ? ledger!.outputs.hostName : ''
  }
  dependsOn: [
    storage
  ]
}

module processor 'modules/function.bicep' = {
  params: {
    location: location
    tags: allTags
    name: names.functionApp
    planName: names.plan
    identityName: names.identity
    namespaceName: names.namespace
    storageName: names.storage
    packageContainer: packageContainer
    applicationInsightsName: names.applicationInsights
    communicationService: communicationService
    hasLedger: consentLedger
    ledgerName: names.ledger
    ledgerDatabase: ledgerDatabase
    subnetId: functionSubnetId
    zoneRedundant: zoneRedundant
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyInstanceCount: checkedReadyCount
    allowedSenders: join(checkedSenders, ',')
    settingOverrides: processorSettingOverrides
  }
  dependsOn: [
    functionRoles
    communicationRole
    ledger
    network
  ]
}

module texts 'modules/event-grid.bicep' = if (receiveTexts) {
  scope: resourceGroup(communicationService.subscriptionId, communicationService.resourceGroup)
  params: {
    tags: allTags
    topicName: 'evgt-optin-${checkedName}-${suffix}'
    communicationServiceName: communicationService.name
    identityName: names.eventGridIdentity
    namespaceName: names.namespace
    messagingGroup: ownGroup
    nameSuffix: '${checkedName}-${suffix}'
    runbookUrl: runbookUrl
    mailActionGroupName: names.actionGroup
    pagerActionGroupId: checkedPager
  }
  dependsOn: [
    alerts
    textsRole
  ]
}

@description('Name of the function app: where the code goes.')
output functionAppName string = processor.outputs.name

@description('Address of the ACS resource.')
output acsEndpoint string = processor.outputs.acsEndpoint

@description('Name of the function\'s identity: its role on the ledger has this name.')
output identityName string = identity.name

@description('Object id of the function\'s identity.')
output identityObjectId string = identity.properties.principalId

@description('Host name of the consent ledger. Empty: there is none.')
output ledgerHostName string = consentLedger ? ledger!.outputs.hostName : ''

@description('The database of the consent ledger.')
output ledgerDatabase string = ledgerDatabase

@description('Resource id of the Service Bus namespace: where infra/rights.py looks at who may do what.')
output serviceBusNamespaceId string = resourceId('Microsoft.ServiceBus/namespaces', names.namespace)

@description('Object id of the identity that Event Grid delivers texts with. Empty: there is none.')
output textsIdentityObjectId string = receiveTexts ? eventGridIdentity!.properties.principalId : ''

@description('Host name of the Service Bus namespace: what publishers and the operators\' tool connect to.')
output serviceBusNamespace string = messaging.outputs.hostName

@description('Application id of Application Insights: where the smoke test asks for metrics.')
output applicationInsightsAppId string = monitoring.outputs.applicationId
