using '../../../infra/main.bicep'

// What must be said, and the ledger with what it takes by itself: the smallest server, and no private network.
param environmentName = 'smallest'
param communicationServiceId = '/subscriptions/00000000-0000-0000-0000-0000000000ac/resourceGroups/rg-acs/providers/Microsoft.Communication/communicationServices/acs-of-the-snapshot'
param alertEmailAddresses = [
  'one@example.com'
]
param consentLedger = true
param ledgerAdministratorsId = '00000000-0000-0000-0000-0000000000f3'
param ledgerAdministratorsName = 'ledger administrators'
