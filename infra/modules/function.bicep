metadata name = 'Function'
metadata description = 'The function app on Flex Consumption, with every app setting the code reads and no other.'

import { processorSettings } from 'types.bicep'

param location string
param tags object
param name string
param planName string
param identityName string
param namespaceName string
param storageName string
param packageContainer string
param applicationInsightsName string

@description('Where the ACS resource is.')
param communicationService {
  subscriptionId: string
  resourceGroup: string
  name: string
}

@description('Whether there is a consent ledger.')
param hasLedger bool

param ledgerName string
param ledgerDatabase string

@description('Resource id of the subnet that the app joins. Empty: none.')
param subnetId string

@description('Whether the app outlives a zone. The platform then keeps two always-ready instances at least, and bills them.')
param zoneRedundant bool

param instanceMemoryMB int
param maximumInstanceCount int
param alwaysReadyInstanceCount int
param allowedSenders string
param settingOverrides processorSettings

var queues = loadJsonContent('../queues.json')
var functionName = 'process_opt_ins'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: namespaceName
}

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

resource acs 'Microsoft.Communication/communicationServices@2025-09-01' existing = {
  name: communicationService.name
  scope: resourceGroup(communicationService.subscriptionId, communicationService.resourceGroup)
}

resource ledger 'Microsoft.DBforPostgreSQL/flexibleServers@2025-08-01' existing = if (hasLedger) {
  name: ledgerName
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true // Linux
    zoneRedundant: zoneRedundant
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'processor' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReadyInstanceCount == 0
          ? []
          : [
              {
                name: 'function:${functionName}'
                instanceCount: alwaysReadyInstanceCount
              }
            ]
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
    }
  }

  // Publishing with a password is off: deployments come with Entra ID.
  resource ftpPublishing 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: {
      allow: false
    }
  }

  resource scmPublishing 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: {
      allow: false
    }
  }

  // Flex Consumption refuses FUNCTIONS_WORKER_RUNTIME, FUNCTIONS_EXTENSION_VERSION and the build settings: the runtime
  // stands in functionAppConfig. ACS_ACCESS_KEY is absent on purpose: without it the code uses the identity.
  resource appSettings 'config' = {
    name: 'appsettings'
    properties: union(
      {
        AzureWebJobsStorage__accountName: storage.name
        AzureWebJobsStorage__credential: 'managedidentity'
        AzureWebJobsStorage__clientId: identity.properties.clientId
        ServiceBusConnection__fullyQualifiedNamespace: split(
          replace(namespace.properties.serviceBusEndpoint, 'https://', ''),
          ':'
        )[0]
        ServiceBusConnection__credential: 'managedidentity'
        ServiceBusConnection__clientId: identity.properties.clientId
        APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsights.properties.ConnectionString
        APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.properties.clientId};Authorization=AAD'
        PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY: 'true'
        // The worker sends log lines and leaves metrics and traces to optout_core/adapters/azure_monitor.py; each call is
        // traced once, by us; nothing is sent about the library itself. docs/metrics.md says what that costs.
        OTEL_METRICS_EXPORTER: 'none'
        OTEL_TRACES_EXPORTER: 'none'
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS: 'azure_sdk,django,fastapi,flask,httpx,httpx2,psycopg2,requests,urllib,urllib3'
        OTEL_BLRP_SCHEDULE_DELAY: '1000' // ms: what an instance has not sent when it is taken away is gone
        APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED: 'true'
        APPLICATIONINSIGHTS_SDKSTATS_DISABLED: 'true'
        // The version is that of optout_core/__init__.py.
        OTEL_RESOURCE_ATTRIBUTES: 'service.name=acs-opt-in,service.version=1.0.0'
        AZURE_CLIENT_ID: identity.properties.clientId
        ACS_ENDPOINT: 'https://${acs.properties.hostName}'
        OPT_IN_QUEUE: queues.optIns.name
        DEAD_LETTER_QUEUE: queues.deadLetters.name
        ALLOWED_SENDERS: allowedSenders
        // No password: the code signs in with a token of the identity, under its name.
        CONSENT_LEDGER: hasLedger
          ? 'postgresql://${identity.name}@${ledger!.properties.fullyQualifiedDomainName}/${ledgerDatabase}?sslmode=verify-full'
          : ''
      },
      toObject(items(settingOverrides), setting => setting.key, setting => setting.?value ?? '')
    )
  }
}

@description('Address of the ACS resource.')
output acsEndpoint string = 'https://${acs.properties.hostName}'

@description('Name of the function app.')
output name string = app.name
