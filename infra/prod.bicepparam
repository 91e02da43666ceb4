using 'main.bicep'
import { partsOf } from 'modules/input.bicep'

// Nothing here may be left out: a variable that GitHub does not know is empty, and empty must not come to mean "all".
// At most 10 instances x 16 requests = 160 calls to ACS in flight.
param environmentName = 'prod'

var communicationServiceIdGiven = trim(readEnvironmentVariable('COMMUNICATION_SERVICE_ID', ''))
param communicationServiceId = empty(partsOf(communicationServiceIdGiven))
  ? fail('COMMUNICATION_SERVICE_ID is empty or not set. It takes the resource id of the ACS resource.')
  : communicationServiceIdGiven

var alertEmailAddressesGiven = partsOf(readEnvironmentVariable('ALERT_EMAIL_ADDRESSES', ''))
param alertEmailAddresses = empty(alertEmailAddressesGiven)
  ? fail('ALERT_EMAIL_ADDRESSES is empty or not set. It takes who gets mail when an alert fires, separated by commas.')
  : alertEmailAddressesGiven

var operatorsGroupIdGiven = trim(readEnvironmentVariable('OPERATORS_GROUP_ID', ''))
param operatorsGroupId = empty(partsOf(operatorsGroupIdGiven))
  ? fail('OPERATORS_GROUP_ID is empty or not set. It takes the object id of the Entra group of the operators.')
  : operatorsGroupIdGiven

var publisherIdsGiven = partsOf(readEnvironmentVariable('PUBLISHER_IDS', ''))
param publisherIds = empty(publisherIdsGiven)
  ? fail('PUBLISHER_IDS is empty or not set. It takes the object ids of who may publish, separated by commas.')
  : publisherIdsGiven

var allowedSendersGiven = partsOf(readEnvironmentVariable('ALLOWED_SENDERS', ''))
param allowedSenders = empty(allowedSendersGiven)
  ? fail('ALLOWED_SENDERS is empty or not set. It takes our numbers, separated by commas.')
  : allowedSendersGiven

param consentLedger = true

var ledgerAdministratorsIdGiven = trim(readEnvironmentVariable('LEDGER_ADMINISTRATORS_ID', ''))
param ledgerAdministratorsId = empty(partsOf(ledgerAdministratorsIdGiven))
  ? fail('LEDGER_ADMINISTRATORS_ID is empty or not set. It takes the object id of the Entra group that administers the consent ledger.')
  : ledgerAdministratorsIdGiven

var ledgerAdministratorsNameGiven = trim(readEnvironmentVariable('LEDGER_ADMINISTRATORS_NAME', ''))
param ledgerAdministratorsName = empty(partsOf(ledgerAdministratorsNameGiven))
  ? fail('LEDGER_ADMINISTRATORS_NAME is empty or not set. It takes the name of that group.')
  : ledgerAdministratorsNameGiven

param ledgerComputeSize = 'Standard_D2ds_v5'
param runbookUrl = readEnvironmentVariable('RUNBOOK_URL', 'docs/runbook.md')
param pagerActionGroupId = readEnvironmentVariable('PAGER_ACTION_GROUP_ID', '')
param smokeTesterId = readEnvironmentVariable('SMOKE_TESTER_ID', '')
param instanceMemoryMB = 2048
param maximumInstanceCount = 10
