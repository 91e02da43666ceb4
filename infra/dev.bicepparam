using 'main.bicep'
import { partsOf } from 'modules/input.bicep'

// A test environment: the smallest instances, at most two of them, and it sleeps when nobody publishes.
// azd sets AZURE_ENV_NAME; what differs between tenants comes from the environment too, so that no id stands here.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'dev')

var communicationServiceIdGiven = trim(readEnvironmentVariable('COMMUNICATION_SERVICE_ID', ''))
param communicationServiceId = empty(partsOf(communicationServiceIdGiven))
  ? fail('COMMUNICATION_SERVICE_ID is empty or not set. It takes the resource id of the ACS resource.')
  : communicationServiceIdGiven

var alertEmailAddressesGiven = partsOf(readEnvironmentVariable('ALERT_EMAIL_ADDRESSES', ''))
param alertEmailAddresses = empty(alertEmailAddressesGiven)
  ? fail('ALERT_EMAIL_ADDRESSES is empty or not set. It takes who gets mail when an alert fires, separated by commas.')
  : alertEmailAddressesGiven

param operatorsGroupId = readEnvironmentVariable('OPERATORS_GROUP_ID', '')
param publisherIds = partsOf(readEnvironmentVariable('PUBLISHER_IDS', ''))
param allowedSenders = partsOf(readEnvironmentVariable('ALLOWED_SENDERS', ''))
param runbookUrl = readEnvironmentVariable('RUNBOOK_URL', 'docs/runbook.md')
param pagerActionGroupId = readEnvironmentVariable('PAGER_ACTION_GROUP_ID', '')
param smokeTesterId = readEnvironmentVariable('SMOKE_TESTER_ID', '')
param instanceMemoryMB = 512
param maximumInstanceCount = 2
param processorSettingOverrides = {
  MAX_CONCURRENT_REQUESTS: '4'
}
