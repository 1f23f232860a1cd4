// A key that the app encrypts the texts in its rows with, and its right to use it. Whoever loses the key loses the texts:
// a deleted vault or key can be recovered for 90 days, and nobody can purge it before.

@description('Name of the vault.')
param vaultName string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Principal id of the app\'s identity.')
param principalId string

var roles = {
  // Reads the public half, and unwraps; it can neither change nor delete the key.
  'Key Vault Crypto User': '12338af0-0e69-4776-bea7-57ae8d297424'
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: vaultName
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
  }
}

resource key 'Microsoft.KeyVault/vaults/keys@2023-07-01' = {
  parent: vault
  name: 'texts'
  properties: {
    kty: 'RSA'
    keySize: 2048
    keyOps: ['wrapKey', 'unwrapKey']
  }
}

resource onKey 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in items(roles): {
  name: guid(key.id, principalId, role.value)
  scope: key
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.value)
  }
}]

@description('What DORMOUSE_ENCRYPTION_KEY must be: the id of the key without a version, so that a rotation needs no deployment.')
output keyId string = key.properties.keyUri
