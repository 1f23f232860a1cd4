// What somebody may do with the rows and the task hub: the app's identity, and the deployer, who could not look at a row
// otherwise, for there are no keys.

@description('Principal id of whom it is for.')
param principalId string

@description('What that is: `ServicePrincipal` (an identity or an app), `User` or `Group`.')
param principalType string

@description('Storage account.')
param storageName string

@description('Whether it is an account that holds rows alone.')
param tablesOnly bool

var tableRoles = {
  // The rows, and the tables of the task hub.
  'Storage Table Data Contributor': '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
}
var hubRoles = {
  // The host's leases; it makes its containers itself.
  'Storage Blob Data Owner': 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  // The queues of the task hub.
  'Storage Queue Data Contributor': '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageName
}

resource onStorage 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in items(tablesOnly ? tableRoles : union(hubRoles, tableRoles)): {
  name: guid(storage.id, principalId, role.value)
  scope: storage
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.value)
  }
}]
