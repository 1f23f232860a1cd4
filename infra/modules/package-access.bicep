// Lets the deployment's identity write and read the package, in that container and nowhere else.

@description('Principal id of the identity.')
param principalId string

@description('Storage account of the package.')
param storageName string

@description('Container of the package.')
param container string

var roles = {
  'Storage Blob Data Contributor': 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
}

resource packages 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' existing = {
  name: '${storageName}/default/${container}'
}

resource onContainer 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in items(roles): {
  name: guid(packages.id, principalId, role.value)
  scope: packages
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.value)
  }
}]
