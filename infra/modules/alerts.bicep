// What somebody should be told. The sentences are those that the app logs; a test holds them against its code.

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Log Analytics workspace.')
param workspaceName string

@description('Where alerts are sent; empty: they are only shown in the portal.')
param email string

@description('Failed runs or failed requests in a quarter of an hour that are no alert yet.')
param failuresTolerated int

var rules = [
  {
    name: 'failures'
    question: 'a-bad-deploy-over-running-work'
    text: 'Runs that failed, and requests that the app answered with 500 or more, within 15 minutes'
    severity: 2
    every: 'PT15M'
    within: 'PT15M'
    query: 'union (AppTraces | where Message matches regex "^run [^ ]+ is failed$"), (AppRequests | where toint(ResultCode) >= 500)'
    above: failuresTolerated
  }
  {
    // A sweep that finds a run late wakes it; one that is found late again, or a sweep without an end, needs somebody.
    name: 'overdue'
    question: 'a-run-is-stuck'
    text: 'Runs that were found overdue more than once within 15 minutes, or sweeps that did not come to an end'
    severity: 1
    every: 'PT15M'
    within: 'PT15M'
    query: 'AppTraces | where Message has "is overdue since" or Message startswith "the sweep ran into its limit of" | extend what = extract("^run ([^ ]+) ", 1, Message) | summarize times = sum(ItemCount) by what | where times > 1'
    above: 0
  }
  {
    name: 'provider-denied'
    question: 'the-provider-is-down-slow-or-throttling'
    text: 'The model provider has refused this app more than five times within 15 minutes (401, 403, no credential): runs fail after ten minutes of that'
    severity: 1
    every: 'PT15M'
    within: 'PT15M'
    query: 'AppMetrics | where Name == "dormouse.provider.errors" | where tostring(Properties["dormouse.kind"]) == "access_denied" | summarize times = sum(Sum) | where times > 5'
    above: 0
  }
  {
    name: 'late'
    question: 'storage-is-throttled'
    text: 'Wakes have begun more than a minute late in the mean of 15 minutes'
    severity: 2
    every: 'PT15M'
    within: 'PT15M'
    query: 'AppMetrics | where Name == "dormouse.wake.lag" | summarize late = sum(Sum) / sum(ItemCount) | where late > 60'
    above: 0
  }
  {
    // It goes on where it was at the next full hour; three of six without an end are a backlog that does not shrink.
    name: 'retention-behind'
    question: 'storage-is-throttled'
    text: 'Retention did not come to an end three times within six hours: what should be deleted is still there'
    severity: 2
    every: 'PT1H'
    within: 'PT6H'
    query: 'AppTraces | where Message startswith "retention ran into its limit of" | summarize times = sum(ItemCount) | where times > 2'
    above: 0
  }
  {
    name: 'daily-cap'
    question: 'the-bill-is-too-high'
    text: 'The workspace has taken as much as its daily cap allows: until tomorrow nothing of the app is logged, and no other alert comes'
    severity: 1
    every: 'PT1H'
    within: 'PT1H'
    query: '_LogOperation | where Category =~ "Ingestion" | where Detail contains "OverQuota"'
    above: 0
  }
]

resource workspace 'Microsoft.OperationalInsights/workspaces@2022-10-01' existing = {
  name: workspaceName
}

resource receivers 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'dormouse-alerts'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'dormouse'
    emailReceivers: [
      {
        name: 'email'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2022-06-15' = [for rule in rules: {
  name: 'dormouse-${rule.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'Dormouse: ${rule.name}'
    description: '${rule.text}. What to do: docs/operations.md#${rule.question}'
    enabled: true
    severity: rule.severity
    scopes: [workspace.id]
    evaluationFrequency: rule.every
    windowSize: rule.within
    autoMitigate: true
    // A new workspace has not seen a trace yet, and would refuse a query for one.
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: rule.above
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroups: empty(email) ? [] : [receivers.id]
    }
  }
}]
