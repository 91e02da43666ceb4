using 'main.bicep'

// A test environment: the smallest instances, at most two of them, and it sleeps when nobody publishes.
// azd sets AZURE_ENV_NAME; what differs between tenants comes from the environment too, so that no id stands here.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'dev')
param communicationServiceId = readEnvironmentVariable('COMMUNICATION_SERVICE_ID')
param alertEmailAddresses = split(readEnvironmentVariable('ALERT_EMAIL_ADDRESSES'), ',')
param operatorsGroupId = readEnvironmentVariable('OPERATORS_GROUP_ID', '')
param publisherIds = split(readEnvironmentVariable('PUBLISHER_IDS', ''), ',')
param allowedSenders = readEnvironmentVariable('ALLOWED_SENDERS', '')
param instanceMemoryMB = 512
param maximumInstanceCount = 2
param processorSettingOverrides = {
  MAX_CONCURRENT_REQUESTS: '4'
}
