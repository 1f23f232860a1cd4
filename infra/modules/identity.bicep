// An identity: the app's, or the deployment's. User-assigned, so that its roles are there before the app is.

@description('Name of the identity.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: name
  location: location
  tags: tags
}

@description('Resource id.')
output id string = identity.id

@description('What an SDK names it by.')
output clientId string = identity.properties.clientId

@description('What a role assignment names it by.')
output principalId string = identity.properties.principalId
