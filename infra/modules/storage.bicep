// A storage account without shared keys and public blobs: one for the rows and the task hub, and one for the package of
// the app, so that the identity that works with the rows has no right to change the code.

@description('Name of the account: 3 to 24 lower-case letters and digits.')
@minLength(3)
@maxLength(24)
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Redundancy.')
param sku string

@description('Container to make; empty: none.')
param container string

@description('Reachable through private endpoints alone; else from everywhere, by identity only.')
param isPrivate bool

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: sku }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: isPrivate ? 'None' : 'AzureServices'
      defaultAction: isPrivate ? 'Deny' : 'Allow'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = if (!empty(container)) {
  parent: account
  name: 'default'
}

resource made 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = if (!empty(container)) {
  parent: blobs
  name: empty(container) ? 'none' : container
  properties: {
    publicAccess: 'None'
  }
}

@description('Name of the account.')
output name string = account.name
