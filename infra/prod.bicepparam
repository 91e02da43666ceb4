using 'main.bicep'

// At most 10 instances x 16 requests = 160 calls to ACS in flight.
param environmentName = 'prod'
param communicationServiceId = readEnvironmentVariable('COMMUNICATION_SERVICE_ID')
param alertEmailAddresses = split(readEnvironmentVariable('ALERT_EMAIL_ADDRESSES'), ',')
param operatorsGroupId = readEnvironmentVariable('OPERATORS_GROUP_ID')
param publisherIds = split(readEnvironmentVariable('PUBLISHER_IDS'), ',')
param allowedSenders = readEnvironmentVariable('ALLOWED_SENDERS')
param consentLedger = true
param ledgerAdministratorsId = readEnvironmentVariable('LEDGER_ADMINISTRATORS_ID')
param ledgerAdministratorsName = readEnvironmentVariable('LEDGER_ADMINISTRATORS_NAME')
param ledgerComputeSize = 'Standard_D2ds_v5'
param instanceMemoryMB = 2048
param maximumInstanceCount = 10
