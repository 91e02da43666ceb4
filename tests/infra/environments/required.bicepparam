using '../../../infra/main.bicep'

// What must be said and nothing else: what a condition leaves out shows here.
param environmentName = 'required'
param communicationServiceId = '/subscriptions/00000000-0000-0000-0000-0000000000ac/resourceGroups/rg-acs/providers/Microsoft.Communication/communicationServices/acs-of-the-snapshot'
param alertEmailAddresses = [
  'one@example.com'
]
