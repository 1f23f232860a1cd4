// A Durable Task Scheduler with one task hub, in place of the queues and tables of a storage hub. Not tried.

@description('Name of the scheduler: 3 to 64 letters, digits and hyphens.')
@minLength(3)
@maxLength(64)
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Consumption (billed by action) or Dedicated (one capacity unit, billed by the month).')
param sku string

@description('Name of the task hub: what host.json says.')
param hubName string

@description('Principal id of the identity that the app works as.')
param principalId string

var roles = {
  'Durable Task Data Contributor': '0ad04412-c4d5-4796-b79c-f76d14c8d402'
}

resource scheduler 'Microsoft.DurableTask/schedulers@2025-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    sku: sku == 'Dedicated' ? { name: sku, capacity: 1 } : { name: sku }
    // An empty list lets nobody in. There are no keys: who comes in still needs a token and a role.
    ipAllowlist: ['0.0.0.0/0']
  }
}

resource hub 'Microsoft.DurableTask/schedulers/taskHubs@2025-11-01' = {
  parent: scheduler
  name: hubName
  properties: {}
}

resource onScheduler 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in items(roles): {
  name: guid(scheduler.id, principalId, role.value)
  scope: scheduler
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.value)
  }
}]

@description('Where the app reaches it.')
output endpoint string = scheduler.properties.endpoint
