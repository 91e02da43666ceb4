metadata name = 'Types'
metadata description = 'Types that more than one template uses.'

@export()
@description('A key of yours that encrypts what Azure stores for us. It must exist, in a vault with purge protection, and the identity must be allowed to use it (Key Vault Crypto Service Encryption User).')
@sealed()
type customerKey = {
  @description('Address of the vault, with a slash at its end.')
  vaultUri: string

  @description('Name of the key. Its newest version counts.')
  keyName: string

  @description('Resource id of a user-assigned identity that may use the key.')
  identityId: string
}

@export()
@description('Subnets of a network that exists. The one of the function is delegated to Microsoft.App/environments, /27 or larger, and has a way out.')
@sealed()
type subnets = {
  @description('Resource id of the subnet that the function joins.')
  function: string

  @description('Resource id of the subnet of the private endpoints.')
  endpoints: string
}

@export()
@description('Resource ids of private DNS zones that exist and are linked to the network. What is left out is made.')
@sealed()
type dnsZones = {
  @description('privatelink.servicebus.…')
  namespace: string?

  @description('privatelink.blob.…')
  blob: string?

  @description('privatelink.table.…')
  table: string?

  @description('privatelink.postgres.…')
  postgresqlServer: string?
}

@export()
@description('Settings of the processor that have a default in optout_core/settings.py. What is left out keeps that default.')
@sealed()
type processorSettings = {
  @description('ISO 8601 duration: an older opt-in is dead-lettered and not sent. Also the longest outage of ACS without one dead letter.')
  OPT_IN_MAX_AGE: string?

  @description('Texts that count as an opt-in, separated by commas, in any case.')
  OPT_IN_KEYWORDS: string?

  @description('Texts that count as a STOP beside those of ACS, separated by commas.')
  OPT_OUT_KEYWORDS: string?

  @description('For whose messages a STOP counts: sender, or all of ALLOWED_SENDERS, which must then be set.')
  OPT_OUT_SCOPE: string?

  @description('ISO 8601 durations, separated by commas: the delay before each new try of a recipient that failed.')
  RETRY_SCHEDULE: string?

  @description('ISO 8601 duration: the delay when the endpoint itself fails at the first try of an event. It doubles with each re-send.')
  OUTAGE_BACKOFF_FIRST: string?

  @description('ISO 8601 duration: the longest such delay.')
  OUTAGE_BACKOFF_MAX: string?

  @description('ISO 8601 duration, at most PT2M: how long one invocation may call ACS. Sending may take as long again, and the lock of its messages lasts PT5M.')
  INVOCATION_BUDGET: string?

  @description('ISO 8601 duration, shorter than INVOCATION_BUDGET: how long one request to ACS may take.')
  HTTP_TIMEOUT: string?

  @description('ISO 8601 duration: how long after a word was taken in a call for it may still act. At least INVOCATION_BUDGET, HTTP_TIMEOUT and two minutes.')
  CALL_HORIZON: string?

  @description('Whole number, 1 to 64: requests in flight on one instance. Beyond 16 each costs more CPU.')
  MAX_CONCURRENT_REQUESTS: string?

  @description('Whole number, 1 to 1000: failed requests in a row after which an instance stops calling ACS.')
  BREAKER_FAILURES: string?

  @description('ISO 8601 duration: how long it then waits before it tries again.')
  BREAKER_COOLDOWN: string?
}
