using '../../../infra/main.bicep'

// All that can be switched on and is made here (brought.bicepparam has the rest), and lists as people write them: blanks, one id twice and in two cases.
param environmentName = 'everything'
param communicationServiceId = '/subscriptions/00000000-0000-0000-0000-0000000000ac/resourceGroups/rg-acs/providers/Microsoft.Communication/communicationServices/acs-of-the-snapshot'
param alertEmailAddresses = [
  'one@example.com'
  ' two@example.com '
]
param pagerActionGroupId = '/subscriptions/00000000-0000-0000-0000-0000000000ad/resourceGroups/rg-pager/providers/Microsoft.Insights/actionGroups/pager'
param runbookUrl = 'https://example.com/docs/runbook.md'
param operatorsGroupId = '00000000-0000-0000-0000-0000000000f0'
param publisherIds = [
  '00000000-0000-0000-0000-0000000000f1'
  ' 00000000-0000-0000-0000-0000000000f2 '
  '00000000-0000-0000-0000-0000000000F1'
  ''
]
param smokeTesterId = '00000000-0000-0000-0000-0000000000f4'
param communicationRoleId = '00000000-0000-0000-0000-0000000000f5'
param deleteLock = true
param allowedSenders = [
  '+18005550100'
  ' +18005550101 '
]
param serviceBusSku = 'Premium'
param queueSizeMB = 81920
param messagingUnits = 2
param instanceMemoryMB = 4096
param maximumInstanceCount = 40
param alwaysReadyInstanceCount = 1
param privateNetworking = true
param virtualNetworkAddressPrefix = '10.70.0.0/23'
param zoneRedundant = true
param encryption = {
  vaultUri: 'https://vault.of.the.snapshot/'
  keyName: 'opt-ins'
  identityId: '/subscriptions/00000000-0000-0000-0000-0000000000ae/resourceGroups/rg-keys/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-keys'
}
param logRetentionDays = 180
param logDailyCapGB = 20
param logCommunicationService = true
param receiveTexts = true
param consentLedger = true
param ledgerAdministratorsId = '00000000-0000-0000-0000-0000000000f3'
param ledgerAdministratorsName = 'ledger administrators'
param ledgerComputeSize = 'Standard_D2ds_v5'
param ledgerStorageGB = 64
param ledgerStandby = 'ZoneRedundant'
param ledgerGeoRedundantBackup = true
param processorSettingOverrides = {
  OPT_IN_MAX_AGE: 'PT48H'
  MAX_CONCURRENT_REQUESTS: '8'
}
param tags = {
  costCentre: 'of-the-snapshot'
}
