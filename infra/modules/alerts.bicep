metadata name = 'Alerts'
metadata description = 'Who is told, and when it hurts. Each description ends in a link to the section of the runbook that says what to do.'

param location string
param tags object
param nameSuffix string
param namespaceName string
param applicationInsightsName string

@description('Resource id of the workspace, which others may use as well.')
param workspaceId string

param hasLedger bool
param ledgerName string

@description('Most that one queue holds, in MB.')
param queueSizeMB int

param actionGroupName string
param emailAddresses string[]

@description('Resource id of an action group of yours, such as the one of a pager. It hears of severity 1. Empty: mail only.')
param pagerActionGroupId string

@description('Address of docs/runbook.md: each description ends in a link to the section of its alert.')
param runbookUrl string

param maximumInstanceCount int

var queues = loadJsonContent('../queues.json')
var host = loadJsonContent('../../host.json')
// What all instances have in hand: a batch each.
var inHand = maximumInstanceCount * host.extensions.serviceBus.maxMessageBatchSize
var bytesInMB = 1024 * 1024
// 20 % of an hour: more than what is still on its way at the edges of the window.
var unseenShare = 20

// Service Bus counts, point in time, and 0 while the namespace is throttled: a resolved alert is no proof of an empty queue.
// https://learn.microsoft.com/azure/service-bus-messaging/monitor-service-bus-reference
var metricAlerts = [
  {
    name: 'dead-letters-waiting'
    severity: 2
    description: 'Dead letters wait in ${queues.deadLetters.name}: somebody\'s opt-in was not applied.'
    window: 'PT15M'
    conditions: [
      {
        name: 'waiting'
        metric: 'ActiveMessages'
        queues: [queues.deadLetters.name]
        aggregation: 'Maximum'
        operator: 'GreaterThan'
        threshold: 0
      }
    ]
  }
  {
    name: 'dead-letters-ending'
    severity: 1
    description: 'Dead letters are in their last days: what lies in ${queues.endingDeadLetters.name} is deleted two weeks after it came there.'
    window: 'PT15M'
    conditions: [
      {
        name: 'waiting'
        metric: 'ActiveMessages'
        queues: [queues.endingDeadLetters.name]
        aggregation: 'Maximum'
        operator: 'GreaterThan'
        threshold: 0
      }
    ]
  }
  {
    name: 'dead-letters-out-of-reach'
    severity: 1
    description: 'Messages lie where the operators\' tool does not look and nothing ever ends: they could not be forwarded, or were given back 2,000 times in their last days.'
    window: 'PT15M'
    conditions: [
      {
        name: 'expired'
        metric: 'DeadletteredMessages'
        queues: [queues.deadLetters.name, queues.optIns.name, queues.endingDeadLetters.name]
        // What the broker dead-letters passes through the opt-in queue on its way: only what stays counts.
        aggregation: 'Minimum'
        operator: 'GreaterThan'
        threshold: 0
      }
    ]
  }
  {
    name: 'nothing-processed'
    severity: 1
    description: 'Opt-ins wait in ${queues.optIns.name} and none was completed for 15 minutes: the function does not run.'
    window: 'PT15M'
    conditions: [
      {
        name: 'waiting'
        metric: 'ActiveMessages'
        queues: [queues.optIns.name]
        aggregation: 'Minimum'
        operator: 'GreaterThan'
        threshold: 0
      }
      {
        name: 'completed'
        metric: 'CompleteMessage'
        queues: [queues.optIns.name]
        aggregation: 'Total'
        operator: 'LessThan'
        threshold: 1
      }
    ]
  }
  {
    // Messages in hand count as active too, so a function that keeps up with steady traffic never shows 0.
    name: 'queue-not-draining'
    severity: 2
    description: 'More messages waited in ${queues.optIns.name} for an hour than all instances have in hand (${inHand}): we are slower than the publishers, or stopped.'
    window: 'PT1H'
    conditions: [
      {
        name: 'waiting'
        metric: 'ActiveMessages'
        queues: [queues.optIns.name]
        aggregation: 'Minimum'
        operator: 'GreaterThan'
        threshold: inHand
      }
    ]
  }
  {
    name: 'queue-filling'
    severity: 2
    description: 'A queue is more than 60 % full (of ${queueSizeMB} MB): at this rate it does not hold as long as an opt-in may wait; the alert carries the queue.'
    window: 'PT15M'
    conditions: [
      {
        name: 'size'
        metric: 'Size'
        queues: [queues.optIns.name, queues.deadLetters.name, queues.endingDeadLetters.name]
        aggregation: 'Average'
        operator: 'GreaterThan'
        threshold: queueSizeMB * 60 / 100 * bytesInMB
      }
    ]
  }
  {
    name: 'queue-almost-full'
    severity: 1
    description: 'A queue is more than 80 % full (of ${queueSizeMB} MB): full, it refuses publishers and our own retries; the alert carries the queue.'
    window: 'PT15M'
    conditions: [
      {
        name: 'size'
        metric: 'Size'
        queues: [queues.optIns.name, queues.deadLetters.name, queues.endingDeadLetters.name]
        aggregation: 'Average'
        operator: 'GreaterThan'
        threshold: queueSizeMB * 80 / 100 * bytesInMB
      }
    ]
  }
  {
    name: 'service-bus-throttles'
    severity: 2
    description: 'Service Bus throttled more than 100 requests in 15 minutes: publishers or we are too fast for the tier.'
    window: 'PT15M'
    conditions: [
      {
        name: 'throttled'
        metric: 'ThrottledRequests'
        queues: [queues.optIns.name, queues.deadLetters.name]
        aggregation: 'Total'
        operator: 'GreaterThan'
        threshold: 100
      }
    ]
  }
  {
    // A failed invocation gives back its whole batch. Two batches: one that a restart cut off is no news.
    name: 'deliveries-failing'
    severity: 2
    description: 'Invocations fail and give their messages back: after ${queues.optIns.properties.maxDeliveryCount} deliveries they are dead letters.'
    window: 'PT15M'
    conditions: [
      {
        name: 'abandoned'
        metric: 'AbandonMessage'
        queues: [queues.optIns.name]
        aggregation: 'Total'
        operator: 'GreaterThan'
        threshold: 2 * host.extensions.serviceBus.maxMessageBatchSize
      }
    ]
  }
  {
    // What the broker dead-letters is not in our own metrics: one message that cannot be decoded takes up to a batch along.
    name: 'dead-letters-burst'
    severity: 1
    description: 'Some 100 dead letters came at once, of ours or of the broker: a batch was delivered too often, or ACS refuses many.'
    window: 'PT15M'
    conditions: [
      {
        name: 'arrived'
        metric: 'IncomingMessages'
        queues: [queues.deadLetters.name]
        aggregation: 'Total'
        operator: 'GreaterThan'
        threshold: 90
      }
    ]
  }
  {
    // The net under nothing-processed: whether a metric that emits nothing counts as 0 is not documented.
    name: 'queue-never-empty'
    severity: 2
    description: 'The queue ${queues.optIns.name} was never empty for six hours: the function is stopped, or just keeps up.'
    window: 'PT6H'
    conditions: [
      {
        name: 'waiting'
        metric: 'ActiveMessages'
        queues: [queues.optIns.name]
        aggregation: 'Minimum'
        operator: 'GreaterThan'
        threshold: 0
      }
    ]
  }
]

// Of the ledger. Each has one condition and no dimension.
var ledgerAlerts = [
  {
    name: 'ledger-out-of-reach'
    severity: 1
    description: 'The consent ledger does not answer: nothing is called, STOPs from upstream included, and everything waits.'
    metric: 'is_db_alive'
    aggregation: 'Maximum'
    operator: 'LessThan'
    threshold: 1
  }
  {
    name: 'ledger-filling'
    severity: 2
    description: 'More than 80 % of the storage of the consent ledger is used; at 95 % the server becomes read-only unless it can grow.'
    metric: 'storage_percent'
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: 80
  }
]

// Lines and metrics of optout_core/adapters/telemetry.py. Each query gives a column `measured`. What tells of one event is
// asked of the lines: a metric is exported within a minute, and lost with an instance that is taken away before. Either can
// be asked for some minutes later: a window of five minutes would often miss it.
var logAlerts = [
  {
    name: 'dead-letters-rising'
    severity: 1
    description: 'More than 25 new dead letters of one reason in 15 minutes; the alert carries the reason.'
    window: 'PT15M'
    query: '''
traces
| where message startswith 'settled '
| mv-expand key = bag_keys(customDimensions) to typeof(string)
| where key matches regex @'^optout\.[A-Z]'
| project timestamp, reason = substring(key, 7), measured = toint(customDimensions[key])
'''
    aggregation: 'Total'
    threshold: 25
    dimensions: [
      {
        name: 'reason'
        operator: 'Include'
        values: ['*']
      }
    ]
    periods: 1
    failing: 1
  }
  {
    name: 'unclear-opt-out'
    severity: 1
    description: 'A STOP names no number that is one person\'s for certain: it holds back no opt-in until somebody corrects it.'
    window: 'PT15M'
    query: '''
traces
| where message startswith 'settled '
| project timestamp, measured = toint(customDimensions['optout.UnclearOptOut'])
| where measured > 0
'''
    aggregation: 'Total'
    threshold: 0
    dimensions: []
    periods: 1
    failing: 1
  }
  {
    name: 'opt-outs-failing'
    severity: 1
    description: 'ACS does not take STOPs: they are dead letters, and these people may get texts.'
    window: 'PT15M'
    query: '''
traces
| where message startswith 'settled '
| mv-expand key = bag_keys(customDimensions) to typeof(string)
| where key startswith 'optout.OptOut' or key == 'optout.NotOptedOut'
| project timestamp, measured = toint(customDimensions[key])
'''
    aggregation: 'Total'
    threshold: 0
    dimensions: []
    periods: 1
    failing: 1
  }
  {
    // The count is of STOPs older than twice CALL_HORIZON, and made at most once a minute.
    name: 'stops-unsettled'
    severity: 1
    description: 'People said STOP a while ago and the list of ACS is not known to say so.'
    window: 'PT15M'
    query: '''
customMetrics
| where name == 'optout.consent.unsettled_stops'
| project timestamp, measured = valueMax
'''
    aggregation: 'Maximum'
    threshold: 0
    dimensions: []
    periods: 2
    failing: 2
  }
  {
    name: 'ledger-fails'
    severity: 1
    description: 'Statements to the consent ledger fail: nothing is called, STOPs included, and everybody waits.'
    window: 'PT15M'
    query: '''
traces
| where isnotempty(customDimensions['optout.statement'])
| project timestamp, measured = 1
'''
    aggregation: 'Total'
    threshold: 5
    dimensions: []
    periods: 1
    failing: 1
  }
  {
    name: 'queue-refuses'
    severity: 1
    description: 'A queue takes no message of ours and the other one does: it is full, disabled, or we may not send to it; the alert carries the queue.'
    window: 'PT15M'
    query: '''
traces
| where isnotempty(customDimensions['optout.detours'])
| project timestamp, queue = tostring(customDimensions['optout.queue']), measured = toint(customDimensions['optout.detours'])
'''
    aggregation: 'Total'
    threshold: 0
    dimensions: [
      {
        name: 'queue'
        operator: 'Include'
        values: ['*']
      }
    ]
    periods: 1
    failing: 1
  }
  {
    // The whole retry schedule lasts at most 3 h 15 min, jitter included: what is older than 6 h waited for a reason of its own.
    name: 'oldest-opt-in-too-old'
    severity: 2
    description: 'An opt-in is more than 6 hours old and still waits for its next try; after OPT_IN_MAX_AGE it is dead-lettered.'
    window: 'PT15M'
    query: '''
customMetrics
| where name == 'optout.waiting.age'
| project timestamp, measured = valueMax
'''
    aggregation: 'Maximum'
    threshold: 21600
    dimensions: []
    periods: 1
    failing: 1
  }
  {
    name: 'endpoint-refuses'
    severity: 1
    description: 'ACS refuses us (401, 403, 404 or the API version): every opt-in fails until our configuration is mended.'
    window: 'PT15M'
    query: '''
traces
| where message startswith 'ACS refuses us'
| project timestamp, measured = 1
'''
    aggregation: 'Total'
    threshold: 0
    dimensions: []
    periods: 1
    failing: 1
  }
  {
    // 429 is honoured and uses up no attempt: without this nobody would hear of it before opt-ins are six hours old.
    name: 'acs-throttles'
    severity: 2
    description: 'ACS answered more than 100 requests with 4xx in an hour, most likely 429: we ask too much at a time.'
    window: 'PT1H'
    query: '''
customMetrics
| where name == 'optout.requests'
| where tostring(customDimensions.status_class) == '4xx'
| project timestamp, measured = valueSum
'''
    aggregation: 'Total'
    threshold: 100
    dimensions: []
    periods: 1
    failing: 1
  }
  {
    // A breaker is open for half a minute at a time, and a sample is taken each minute: with little traffic it is never
    // seen open, so five minutes in which ACS answered nothing count as well. Two of them in an hour: one blip is not
    // worth a mail, since nothing is lost by waiting, and opt-ins that wait are tried every 18 minutes at least.
    name: 'breaker-open'
    severity: 2
    description: 'The breaker opens, or ACS answers nothing: it is down or unreachable and opt-ins are put off.'
    window: 'PT1H'
    query: '''
customMetrics
| where name == 'optout.breaker.open' or name == 'optout.requests'
| extend status_class = tostring(customDimensions.status_class)
| summarize
    open = countif(name == 'optout.breaker.open' and valueSum > 0),
    failed = sumif(valueSum, status_class in ('5xx', 'none')),
    answered = sumif(valueSum, status_class in ('2xx', '4xx', 'refused'))
    by timestamp = bin(timestamp, 5m)
| project timestamp, measured = iff(open > 0 or (failed > 0 and answered == 0), 1, 0)
'''
    aggregation: 'Total'
    threshold: 1
    dimensions: []
    periods: 1
    failing: 1
  }
]

// Lines of the Functions host about receiving and settling (docs/facts/real-host.md, "Log").
var listenerQuery = '''
union traces, exceptions
| where strcat(message, outerMessage) has 'message batch receive loop'
| project timestamp, measured = itemCount
'''
// What Service Bus completed, over all queues: exported metrics lose their dimension. What operators complete counts too.
// The workspace may be everybody's: only what our own resources wrote counts.
var completedQuery = '''
AzureMetrics
| where _ResourceId =~ '{namespace}' and MetricName == 'CompleteMessage'
| summarize completed = sum(Total), TimeGenerated = max(TimeGenerated)
| extend seen = coalesce(toscalar(
    AppTraces
    | where _ResourceId =~ '{applicationInsights}' and Message startswith 'settled '
    | summarize sum(toint(Properties['optout.messages']))
  ), 0)
'''
var completedOfOurs = replace(
  replace(completedQuery, '{namespace}', namespace.id),
  '{applicationInsights}',
  applicationInsights.id
)
// https://learn.microsoft.com/azure/azure-monitor/logs/daily-cap
var cappedQuery = '''
_LogOperation
| where Category =~ 'Ingestion' and Detail contains 'OverQuota'
| project TimeGenerated, measured = 1
'''
var hostAlerts = [
  {
    name: 'listener-errors'
    severity: 2
    description: 'The host could not receive or settle more than 20 times in 15 minutes: a lock was lost, or a message cannot be decoded.'
    window: 'PT15M'
    query: listenerQuery
    threshold: 20
    onWorkspace: false
  }
  {
    name: 'listener-floods'
    severity: 1
    description: 'The host fails to receive more than 1,000 times in 15 minutes: the queue is gone or we may not listen, and each line costs money.'
    window: 'PT15M'
    query: listenerQuery
    threshold: 1000
    onWorkspace: false
  }
  {
    name: 'telemetry-silent'
    severity: 2
    description: 'Service Bus completed messages for an hour and the function said nothing: the alerts that rest on what it says are blind.'
    window: 'PT1H'
    query: '${completedOfOurs}| project TimeGenerated, measured = iff(completed >= 50 and seen == 0, 1, 0)\n'
    threshold: 0
    onWorkspace: true
  }
  {
    name: 'completed-unseen'
    severity: 2
    description: 'Service Bus completed more messages than the function has seen: some are gone and nobody acted on them.'
    window: 'PT1H'
    query: '${completedOfOurs}| project TimeGenerated, measured = iff(seen > 0 and completed - seen > max_of(50, completed * ${unseenShare} / 100), completed - seen, 0)\n'
    threshold: 0
    onWorkspace: true
  }
  {
    name: 'log-capped'
    severity: 1
    description: 'The workspace has taken in all that it may on one day: nothing more is logged until the next, and the alerts that rest on it are blind.'
    window: 'PT15M'
    query: cappedQuery
    threshold: 0
    onWorkspace: true
  }
]

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: namespaceName
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

resource operators 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: actionGroupName
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'sms-opt-in'
    emailReceivers: [
      for (address, index) in emailAddresses: {
        name: 'mail-${index}'
        emailAddress: address
        useCommonAlertSchema: true
      }
    ]
  }
}

var quiet = [operators.id]
var loud = empty(pagerActionGroupId) ? quiet : concat(quiet, [pagerActionGroupId])

resource metricAlertRules 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for alert in metricAlerts: {
    name: '${alert.name}-${nameSuffix}'
    location: 'global'
    tags: tags
    properties: {
      description: '${alert.description} ${runbookUrl}#${alert.name}'
      severity: alert.severity
      enabled: true
      autoMitigate: true
      scopes: [
        namespace.id
      ]
      evaluationFrequency: 'PT5M'
      windowSize: alert.window
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          for condition in alert.conditions: {
            criterionType: 'StaticThresholdCriterion'
            name: condition.name
            metricNamespace: 'Microsoft.ServiceBus/namespaces'
            metricName: condition.metric
            dimensions: [
              {
                name: 'EntityName'
                operator: 'Include'
                values: condition.queues
              }
            ]
            timeAggregation: condition.aggregation
            operator: condition.operator
            threshold: condition.threshold
          }
        ]
      }
      actions: map(alert.severity == 1 ? loud : quiet, group => { actionGroupId: group })
    }
  }
]

resource ledgerAlertRules 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for alert in hasLedger ? ledgerAlerts : []: {
    name: '${alert.name}-${nameSuffix}'
    location: 'global'
    tags: tags
    properties: {
      description: '${alert.description} ${runbookUrl}#${alert.name}'
      severity: alert.severity
      enabled: true
      autoMitigate: true
      scopes: [
        resourceId('Microsoft.DBforPostgreSQL/flexibleServers', ledgerName)
      ]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            criterionType: 'StaticThresholdCriterion'
            name: 'server'
            metricNamespace: 'Microsoft.DBforPostgreSQL/flexibleServers'
            metricName: alert.metric
            timeAggregation: alert.aggregation
            operator: alert.operator
            threshold: alert.threshold
          }
        ]
      }
      actions: map(alert.severity == 1 ? loud : quiet, group => { actionGroupId: group })
    }
  }
]

resource hostAlertRules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for alert in hostAlerts: {
    name: '${alert.name}-${nameSuffix}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${alert.name}-${nameSuffix}'
      description: '${alert.description} ${runbookUrl}#${alert.name}'
      severity: alert.severity
      enabled: true
      autoMitigate: true
      skipQueryValidation: true // a workspace that was made a moment ago has no tables yet
      scopes: [
        alert.onWorkspace ? workspaceId : applicationInsights.id
      ]
      targetResourceTypes: [
        alert.onWorkspace ? 'microsoft.operationalinsights/workspaces' : 'microsoft.insights/components'
      ]
      evaluationFrequency: 'PT5M'
      windowSize: alert.window
      criteria: {
        allOf: [
          {
            query: alert.query
            metricMeasureColumn: 'measured'
            timeAggregation: 'Total'
            operator: 'GreaterThan'
            threshold: alert.threshold
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: alert.severity == 1 ? loud : quiet
      }
    }
  }
]

resource logAlertRules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for alert in logAlerts: {
    name: '${alert.name}-${nameSuffix}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${alert.name}-${nameSuffix}'
      description: '${alert.description} ${runbookUrl}#${alert.name}'
      severity: alert.severity
      enabled: true
      autoMitigate: true
      skipQueryValidation: true // a workspace that was made a moment ago has no tables yet
      scopes: [
        applicationInsights.id
      ]
      targetResourceTypes: [
        'microsoft.insights/components'
      ]
      evaluationFrequency: 'PT5M'
      windowSize: alert.window
      criteria: {
        allOf: [
          {
            query: alert.query
            metricMeasureColumn: 'measured'
            timeAggregation: alert.aggregation
            operator: 'GreaterThan'
            threshold: alert.threshold
            dimensions: alert.dimensions
            failingPeriods: {
              numberOfEvaluationPeriods: alert.periods
              minFailingPeriodsToAlert: alert.failing
            }
          }
        ]
      }
      actions: {
        actionGroups: alert.severity == 1 ? loud : quiet
      }
    }
  }
]
